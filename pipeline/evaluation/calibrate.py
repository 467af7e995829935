"""A checkpoint's threshold, calibrated with the normal videos of a store that it did not learn from."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint, amend_checkpoint, amending
from ssrl_pipeline.data import Annotations, Labels, check_videos
from ssrl_pipeline.disk import find_checkpoint
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.evaluation.by_camera import Cell, Footage, thresholds_by
from ssrl_pipeline.events import (
    THRESHOLD,
    AlarmUnit,
    Calibration,
    EventRule,
    FalseAlarms,
    ThresholdsBy,
    calibrate,
    count_false_alarms,
    share_detected,
)
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import Cameras, require_scorable, score_stored
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.times import FrameTimes


class Tried(NamedTuple):
    """One threshold and what it does."""

    asked: float | None  # false alarms; None: the threshold without a calibration
    found: FalseAlarms
    detected: float  # share of abnormal videos with an event; nan where there are none


class Calibrated(NamedTuple):
    checkpoint: Checkpoint  # with the threshold
    calibration: Calibration
    tried: list[Tried]  # the calibration itself, others about it, and none
    abnormal_videos: int
    split: str
    cells: list[Cell]  # of adapted cameras; of others and of hours, where these were asked for

    def summary(self) -> dict[str, Any]:
        """What `--json` prints; None stands for what is not known."""
        return {
            "split": self.split,
            "threshold": self.checkpoint.provenance["threshold"],
            "note": self.calibration.note,
            "abnormal_videos": self.abnormal_videos,
            "tried": [
                {
                    "asked": line.asked,
                    "threshold": line.found.threshold,
                    "share": line.found.share,
                    "per_hour": line.found.per_hour,
                    "most_per_hour": line.found.most_per_hour,
                    "detected": None if np.isnan(line.detected) else line.detected,
                }
                for line in self.tried
            ],
            "by": [cell.summary() for cell in self.cells],
        }


def calibrate_run(
    settings: Settings,
    checkpoint: Path | None,
    false_alarms: float,
    unit: AlarmUnit,
    split: str = "val",
    device: str = "auto",
    by: Collection[ThresholdsBy] = (),
) -> tuple[Path, Calibrated]:
    """:func:`calibrate_checkpoint` with what the settings name; the threshold is written into the file.

    Args:
        checkpoint: a file, or a run's folder; None: the newest run's best.
        by: "group", "hour" or both: what gets thresholds of its own, where there is enough footage of it.

    Returns:
        The checkpoint's file, and what was found.
    """
    path = find_checkpoint(checkpoint, Path(settings.data.runs))
    with amending(path) as loaded:
        store = open_features(settings.data.features, settings.data.layout)
        rule = EventRule(**{**vars(settings.events), "threshold": THRESHOLD})
        labels = Annotations(settings.data, store).labels
        found = calibrate_checkpoint(
            loaded, store, labels, false_alarms, unit, split, rule, find_device(device), by
        )
        amend_checkpoint(path, found.checkpoint)
    return path, found


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    store: Features,
    labels: Labels,
    false_alarms: float,
    unit: AlarmUnit,
    split: str,
    rule: EventRule,
    device: torch.device,
    by: Collection[ThresholdsBy] = (),
) -> Calibrated:
    """Scores held-out videos and calibrates with the normal ones; see :func:`calibrate` for the figures.

    A camera that the checkpoint was adapted to is calibrated by its own detector, where there is footage
    enough that this has not looked at; else its threshold stays.

    Args:
        split: val or test. Where the labels name no val video, those stand for
            them that training set aside.
        by: as of :func:`calibrate_run`.

    Raises:
        LabelError: there are no such videos, or the model learned from one.
        StoreError: the store lacks a video, or its recipe, but for the precision, is not the checkpoint's.
        PipelineError: no threshold does what is asked.
    """
    require_scorable(checkpoint.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    videos = held_out_videos(checkpoint, labels, split)
    check_videos(store, list(videos))
    cameras = Cameras(checkpoint, device)
    times = {video: store.times(video) for video in videos}

    def score(chosen: Iterable[str], groups: bool = False) -> dict[str, np.ndarray]:
        of = {video: cameras.of(labels[video].group if groups else None).model for video in chosen}
        return {video: score_stored(video, model, store, device) for video, model in of.items()}

    normal = score(video for video, abnormal in videos.items() if not abnormal)
    abnormal = score(video for video, abnormal in videos.items() if abnormal)
    calibration = calibrate(normal, times, false_alarms, unit, rule)
    tried = _try_around(calibration, normal, abnormal, times, rule)
    own = {v: normal[v] for v in normal if labels[v].group not in checkpoint.cameras}
    own |= score(_of_adapted(checkpoint, labels, normal), groups=True)
    footage = Footage(normal, own, times, {video: labels[video] for video in normal})
    cells = thresholds_by(footage, calibration, by, checkpoint.cameras)
    fitted = with_threshold(checkpoint, calibration, split, cells)
    return Calibrated(fitted, calibration, tried, len(abnormal), split, cells)


def _of_adapted(checkpoint: Checkpoint, labels: Labels, videos: Iterable[str]) -> list[str]:
    """Those of adapted cameras that their own detectors have not looked at."""
    known = {group: checkpoint.for_camera(group).provenance for group in checkpoint.cameras}
    looked_at = {(group, video) for group, said in known.items() for video in said.get("adapted_to", ())}
    of = {video: labels[video].group for video in videos}
    return [v for v, group in of.items() if group in known and (group, v) not in looked_at]


def _try_around(
    calibration: Calibration,
    normal: Mapping[str, np.ndarray],
    abnormal: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    rule: EventRule,
) -> list[Tried]:
    """What was asked for, others about it as far as they can be had, and the threshold without any."""
    asked, tried = calibration.asked, []
    for other in dict.fromkeys((asked / 5, asked / 2, asked, 2 * asked, 5 * asked)):
        try:
            one = calibrate(normal, times, other, calibration.unit, rule)
        except PipelineError:  # more than there can be, or fewer than any threshold gives
            continue
        tried.append(Tried(other, one.found, share_detected(abnormal, times, one.rule)))
    plain = dataclasses.replace(rule, threshold=THRESHOLD)
    detected = share_detected(abnormal, times, plain)
    return [*tried, Tried(None, count_false_alarms(normal, times, plain), detected)]


def with_threshold(
    checkpoint: Checkpoint, calibration: Calibration, split: str, cells: Sequence[Cell] = ()
) -> Checkpoint:
    """The checkpoint with a calibrated threshold, and how it was come by, in its provenance.

    Args:
        split: that the normal videos are of.
        cells: cameras and hours that were looked at by themselves.
    """
    found = calibration.found
    said = {"asked": calibration.asked, "unit": calibration.unit, "split": split}
    record: dict[str, Any] = {
        "value": calibration.rule.threshold,
        **said,
        "videos": found.videos,
        "frames": found.of_frames,
        "hours": found.hours,
        "share": found.share,
        "per_hour": found.per_hour,
        "most_per_hour": found.most_per_hour,
        "rule": dataclasses.asdict(calibration.rule),
        **({"by": [cell.record() | said for cell in cells]} if cells else {}),
    }
    return dataclasses.replace(checkpoint, provenance={**checkpoint.provenance, "threshold": record})


def held_out_videos(checkpoint: Checkpoint, labels: Labels, split: str) -> dict[str, bool]:
    """Videos to calibrate with: name -> whether abnormal.

    Raises:
        LabelError: none of them is normal, or the model learned from one.
    """
    chosen = {video: label.abnormal for video, label in labels.items() if label.split == split}
    if split == "val" and not chosen:
        aside = checkpoint.videos("val")
        chosen = {video: labels[video].abnormal for video in aside if video in labels}
    if all(chosen.values()):
        raise LabelError(
            f"no normal {split} videos to calibrate with"
            + (
                ": the labels name none, and training set none aside. Give --labels a table with normal "
                "videos of split val that were not trained on, or calibrate on --split test, which is then "
                "no longer judged fairly"
                if split == "val"
                else "; the labels name none"
            )
        )
    if learned := sorted(set(chosen) & set(checkpoint.videos("train"))):
        raise LabelError(
            f"{learned[0]!r} is labelled as of split {split!r}, but the model learned from it, and scores it "
            "as it will score no other video; take videos that were not trained on"
        )
    return chosen
