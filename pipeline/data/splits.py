"""Which videos train and which choose, and whether the store has them."""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.data.labels import Intervals, Labels, frame_labels
from ssrl_pipeline.errors import LabelError, PipelineError, StoreError
from ssrl_pipeline.features import Features
from ssrl_pipeline.scales import scale_of

MOST_NAMED = 10  # of the videos that are missing
FEWEST_TO_DRAW_FROM = 10  # videos of either class


class Split(NamedTuple):
    """Videos to learn from and to choose the best checkpoint by: name -> whether abnormal."""

    train: dict[str, bool]
    val: dict[str, bool]


def split_videos(labels: Labels, val_fraction: float, seed: int) -> Split:
    """Training and validation videos.

    Validation videos are those that the labels name, or else a share of each
    class of the training videos, drawn by the seed. Where a class has fewer than
    ten videos none are drawn: all are needed for training, and one or two would
    choose by chance.

    Raises:
        LabelError: a class has no video to train on.
    """
    train = {video: label.abnormal for video, label in labels.items() if label.split in (None, "train")}
    val = {video: label.abnormal for video, label in labels.items() if label.split == "val"}
    if not val:
        val = _draw(train, val_fraction, seed)
        train = {video: abnormal for video, abnormal in train.items() if video not in val}
    for abnormal, name in ((False, "normal"), (True, "abnormal")):
        if abnormal not in train.values():
            raise LabelError(f"no {name} video to train on: the labels need both normal and abnormal ones")
    if len(set(val.values())) == 1:
        raise LabelError("the val split has videos of one class only; it needs both, or leave it out")
    return Split(train, val)


def _draw(videos: dict[str, bool], fraction: float, seed: int) -> dict[str, bool]:
    kinds = {a: sorted(video for video, abnormal in videos.items() if abnormal == a) for a in (False, True)}
    if not fraction or min(map(len, kinds.values())) < FEWEST_TO_DRAW_FROM:
        return {}
    rng = np.random.default_rng([seed, len(videos)])
    drawn: dict[str, bool] = {}
    for abnormal, kind in kinds.items():
        count = max(1, round(fraction * len(kind)))
        drawn |= {video: abnormal for video in rng.permutation(kind)[:count].tolist()}
    return drawn


def store_scales(store: Features) -> tuple[str, ...]:
    """The patch scales that the store holds, in its order."""
    return tuple(scale for view in store.recipe["views"] if (scale := scale_of(view)))


def check_scales(wanted: tuple[str, ...] | None, store: Features) -> tuple[str, ...]:
    """The scales to train with; None stands for all that the store holds.

    Raises:
        PipelineError: the store lacks one, or has no crops.
    """
    available = store_scales(store)
    if "clip" not in store.recipe["views"]:
        raise PipelineError(f"{store.root}: holds no clip features, which SSRL starts from")
    if wanted is None:
        return available
    if missing := [scale for scale in wanted if scale not in available]:
        raise PipelineError(
            f"model.scales: {store.root} has no scale {missing[0]!r}; it has {', '.join(available)}"
        )
    return wanted


def check_videos(
    store: Features, videos: Collection[str], leave_out: str = "leave them out with `train --skip-missing`"
) -> None:
    """Raises StoreError, which names them, where the store lacks some of the videos.

    Args:
        leave_out: what to do where they cannot be extracted.
    """
    stored = store.videos()
    missing = sorted(set(videos) - set(stored))
    if not missing:
        return
    named = ", ".join(map(repr, missing[:MOST_NAMED]))
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    lacks = f"{store.root}: lacks {len(missing)} of {len(videos)} labelled videos: {named}{more}; "
    if pair := _named_otherwise(missing, sorted(set(stored) - set(videos))):
        raise StoreError(
            f"{lacks}it has {pair[1]!r}, and names are paths below the folder given to `extract --videos`: "
            f"is that {pair[0]!r}?"
        )
    raise StoreError(f"{lacks}extract them (`extract` says why a video fails), or {leave_out}")


def _named_otherwise(missing: list[str], others: list[str]) -> tuple[str, str] | None:
    """A video that is missing, and one in the store that may be the same below another folder."""
    by_file: dict[str, list[str]] = {}
    for other in others:
        by_file.setdefault(PurePosixPath(other).name, []).append(other)
    for video in missing:
        for other in by_file.get(PurePosixPath(video).name, ()):
            if f"/{video}".endswith(f"/{other}") or f"/{other}".endswith(f"/{video}"):
                return video, other
    return None


def ground_truth(store: Features, labels: Labels, intervals: Intervals, split: str) -> dict[str, np.ndarray]:
    """video -> bool [N], whether each frame is anomalous, for the videos of a split.

    Raises:
        LabelError: the split has no videos, or intervals and labels contradict each other.
        StoreError: the store lacks a video.
    """
    chosen = {video: label for video, label in labels.items() if label.split == split}
    if not chosen:
        raise LabelError(
            f"no video is labelled as of split {split!r}; give labels.csv a column split (train, val, test)"
        )
    check_videos(store, chosen, f"take them out of the {split} split")
    unknown = sorted(set(intervals) - set(labels))
    if unknown:
        raise LabelError(f"anomalous intervals name {unknown[0]!r}, which the labels do not know")
    return {v: frame_labels(v, label, intervals, store.meta(v).frames) for v, label in chosen.items()}
