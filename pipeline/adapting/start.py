"""Adapting as a user asks for it: to a folder of a camera's videos, or to stored features.

ssrl-pipeline adapt runs/first/best.pt --videos gate/
"""

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from ssrl_pipeline.adapting.adapt import Adapted, adapt_checkpoint
from ssrl_pipeline.checkpoint import Checkpoint, amend_checkpoint, amending
from ssrl_pipeline.console import FAILED, Progress, Workload, say
from ssrl_pipeline.data import Annotations, Label, Labels, grouped, labels_path
from ssrl_pipeline.disk import checkpoint_file, one_name
from ssrl_pipeline.errors import ConfigError, LabelError, PipelineError
from ssrl_pipeline.extraction import extract, find_videos
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import ScorerOptions
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training import usual_words

KEPT = "cameras"  # the folder, beside the checkpoint, of the features of cameras' footage


def adapt_run(
    settings: Settings,
    checkpoint: Path,
    videos: Path | None,
    group: str | None,
    device: str = "auto",
    show: Callable[[Workload], Progress] = lambda workload: Progress(),
) -> list[Adapted]:
    """Adapts a checkpoint, in its file, to one camera or to each that the labels name.

    Args:
        checkpoint: a file, or a run's folder for its best.pt.
        videos: a folder of one camera's normal footage; None: the store that the settings name has it.
        group: the camera; None: the folder's name or, of a store, each group of its videos.
        show: told the workload of an extraction, gives what shows the progress.

    Raises:
        PipelineError: there is no such checkpoint, or too little footage of a camera that was named.
        ConfigError: nothing says which camera it is.
    """
    path = checkpoint_file(checkpoint)
    with amending(path) as loaded:
        if not settings.train.false_alarms:
            raise ConfigError(
                "train.false_alarms is 0: adapting needs a share of frames that may alarm, as 0.01"
            )
        if videos is not None:
            group = group or one_name(videos.resolve().name)
            store, names = _extracted(settings, path, videos, group, device, show)
            footage = {group: names}
        else:
            store = open_features(settings.data.features, settings.data.layout)
            footage = _stored(settings, loaded, store, group)
        found = _adapted(loaded, store, footage, settings, find_device(device))
        amend_checkpoint(path, found[-1].checkpoint)
    return found


def _adapted(
    checkpoint: Checkpoint,
    store: Features,
    footage: dict[str, list[str]],
    settings: Settings,
    device: torch.device,
) -> list[Adapted]:
    """One camera after the other, each into the checkpoint of the one before; at least one."""
    found: list[Adapted] = []
    for name, normal in footage.items():
        known, seed = checkpoint.cameras.get(name), settings.train.seed
        try:
            words, _ = usual_words(store, normal, settings.actions, settings.extract.weights, seed)
            one = adapt_checkpoint(
                checkpoint,
                store,
                name,
                normal,
                settings.train.false_alarms,
                memory=settings.memory,
                device=device,
                seed=seed,
                words=words,
            )
        except LabelError:
            raise
        except PipelineError as error:
            if len(footage) == 1:
                raise
            kept = "the common detector" if known is None else "what it was adapted to before"
            say(f"camera {name!r} keeps {kept}: {error}", logging.WARNING)
            continue
        checkpoint = one.checkpoint
        found.append(one)
    if not found:
        raise PipelineError("no camera has footage enough; give more, or one by --group")
    return found


def _extracted(
    settings: Settings,
    path: Path,
    videos: Path,
    group: str,
    device: str,
    show: Callable[[Workload], Progress],
) -> tuple[Features, list[str]]:
    """The features of a folder's videos, which are kept beside the checkpoint: a later command goes on."""
    of = settings.extract
    scorer = ScorerOptions.of(path, settings).build(device)
    inputs = find_videos(videos, note=say, pictures=of.frames is not None)
    folder = path.parent / KEPT / group.replace("/", "_")
    say(f"{len(inputs)} videos of camera {group!r}, all taken for normal; features in {folder}")
    store, outcomes = extract(inputs, folder, scorer.extractor, of.dtype, show)
    failed = {one.video: one.reason for one in outcomes if one.status == FAILED}
    for video, reason in failed.items():
        say(f"left out: {reason if video in reason else f'{video}: {reason}'}", logging.WARNING)
    if len(failed) == len(inputs):
        raise PipelineError(f"{videos}: none of its {len(inputs)} videos can be read")
    return store, sorted(inputs.keys() - failed.keys())


def _stored(
    settings: Settings, checkpoint: Checkpoint, store: Features, group: str | None
) -> dict[str, list[str]]:
    """Camera -> its normal videos that may be looked at."""
    data, stored = settings.data, set(store.videos())
    if labels_path(data) or data.dataset:
        labels = {video: one for video, one in Annotations(data, store).labels.items() if video in stored}
    else:
        say(f"no labels: all {len(stored)} videos of {store.root} are taken for normal")
        plain: Labels = {video: Label(False, None) for video in stored}
        labels = grouped(plain, data)
    named = {one.group for one in labels.values() if one.group is not None}
    if group is not None and not named:
        of = {video: group for video in labels}
    else:
        of = {video: one.group for video, one in labels.items() if one.group and group in (None, one.group)}
    if not of:
        known = ", ".join(map(repr, sorted(named))) or "none"
        raise ConfigError(
            f"no videos of camera {group!r}; the labels name {known}"
            if group is not None
            else "which camera is it? Name it with --group, or say what is of which: a column group in the "
            "labels, or -o data.group=folder"
        )
    return _allowed(checkpoint, labels, of)


def _allowed(checkpoint: Checkpoint, labels: Labels, of: dict[str, str]) -> dict[str, list[str]]:
    learned = set(checkpoint.videos("train"))
    reasons = {
        "are labelled abnormal": {video for video in of if labels[video].abnormal},
        "are of split test": {video for video in of if labels[video].split == "test"},
        "were learned from": learned & of.keys(),
    }
    left_out: set[str] = set()
    for reason, videos in reasons.items():
        if videos - left_out:
            say(f"left out, since they {reason}: {len(videos - left_out)} videos")
        left_out |= videos
    footage: dict[str, list[str]] = {}
    for video, camera in sorted(of.items()):
        footage.setdefault(camera, [])
        if video not in left_out:
            footage[camera].append(video)
    if not any(footage.values()):
        raise LabelError(
            "no normal videos of these cameras are left that the detector did not learn from; those it "
            "scores as it will score no others: give footage of another day"
        )
    return footage
