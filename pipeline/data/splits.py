"""Which videos train, which choose and which are held out in turn."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ssrl_pipeline.data.labels import SPLITS, Intervals, Labels, frame_labels
from ssrl_pipeline.data.stored import check_videos
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.features import Features

FEWEST_TO_DRAW_FROM = 10  # videos of either class, where nobody says how many


class Split(NamedTuple):
    """Videos to learn from and to choose the best checkpoint by: name -> whether abnormal."""

    train: dict[str, bool]
    val: dict[str, bool]


def split_videos(labels: Labels, val_fraction: float, seed: int, fewest: int = FEWEST_TO_DRAW_FROM) -> Split:
    """Training and validation videos.

    Validation videos are those that the labels name, or else a share of each
    class of the training videos, drawn by the seed; those of a group stay together, unless
    it is the only one of a class (:func:`sole_groups`).
    Where a class has fewer than `fewest` videos none are drawn: all are needed for training,
    and a few would choose by chance. Nor are they where a class has fewer groups than
    the share has room for: one group would then be far more than the share.

    Raises:
        LabelError: a class has no video to train on.
    """
    train = training_videos(labels)
    val = {video: label.abnormal for video, label in labels.items() if label.split == "val"}
    if not val:
        val = _draw(train, labels, val_fraction, seed, fewest)
        train = {video: abnormal for video, abnormal in train.items() if video not in val}
    for abnormal, name in ((False, "normal"), (True, "abnormal")):
        if abnormal not in train.values():
            raise LabelError(f"no {name} video to train on: the labels need both normal and abnormal ones")
    if len(set(val.values())) == 1:
        raise LabelError("the val split has videos of one class only; it needs both, or leave it out")
    return Split(train, val)


def training_videos(labels: Labels) -> dict[str, bool]:
    """Those that the labels leave for training, to draw validation videos from: name -> whether abnormal."""
    return {video: label.abnormal for video, label in labels.items() if label.split in (None, "train")}


def fold_videos(labels: Labels, folds: int, seed: int) -> list[list[str]]:
    """The training videos in parts of much the same size and share of abnormal ones; no group is parted.

    But for those that :func:`sole_groups` names: no two parts could both have the class.

    Args:
        folds: how many parts, at least two; fewer come back where a class has fewer groups.

    Raises:
        LabelError: a class has fewer than two videos, so that a part would leave none of it to learn from.
    """
    videos = training_videos(labels)
    names = sorted(videos)
    truth, groups = np.array([videos[v] for v in names], bool), _drawn_groups(labels)
    units = np.array([f"group {groups[v]}" if v in groups else f"video {v}" for v in names])
    classes = set(truth.tolist())
    most = min((len(set(units[truth == abnormal])) for abnormal in classes), default=0)
    if most < 2:
        raise LabelError("folds need two training videos or more of each class")
    drawer = StratifiedGroupKFold(min(folds, most), shuffle=True, random_state=seed)
    parts = [held.tolist() for _, held in drawer.split(names, truth, units) if len(held)]
    if any(set(np.delete(truth, part).tolist()) != classes for part in parts):
        raise LabelError(
            f"{folds} folds: the groups cannot be shared out so that every fold leaves normal and abnormal "
            "videos to learn from; take fewer folds, or finer groups"
        )
    return [[names[row] for row in part] for part in parts]


def possible_folds(labels: Labels, folds: int, seed: int) -> list[list[str]]:
    """:func:`fold_videos`, or none where there are too few videos to hold any out."""
    try:
        return fold_videos(labels, folds, seed)
    except LabelError:
        return []


def tell_parted_groups(labels: Labels, note: Callable[[str], object]) -> None:
    """Says in one line which groups the labels themselves part, if any."""
    if parted := parted_groups(labels):
        group, splits = next(iter(parted.items()))
        more = f", and so are {len(parted) - 1} other groups" if len(parted) > 1 else ""
        note(
            f"group {group!r} is in the splits {' and '.join(splits)}{more}: a model that knows a camera is "
            "judged more kindly on it than on a new one"
        )


def parted_groups(labels: Labels) -> dict[str, list[str]]:
    """Groups of which the labels put videos in several splits -> these splits."""
    found: dict[str, set[str]] = {}
    for label in labels.values():
        if label.group is not None:
            found.setdefault(label.group, set()).add(label.split or "train")
    return {group: [s for s in SPLITS if s in splits] for group, splits in found.items() if len(splits) > 1}


def sole_groups(labels: Labels) -> list[str]:
    """Groups that all training videos of a class are of, two or more: no draw could keep one together."""
    found = set()
    for abnormal in (False, True):
        own = [labels[video].group for video, kind in training_videos(labels).items() if kind == abnormal]
        if len(own) > 1 and own[0] is not None and len(set(own)) == 1:
            found.add(own[0])
    return sorted(found)


def tell_sole_groups(labels: Labels, note: Callable[[str], object]) -> None:
    """Says in one line which groups are parted by whatever holds training videos out, if any."""
    if found := sole_groups(labels):
        note(
            f"a class has training videos of one group alone ({', '.join(map(repr, found))}): where some are "
            "held out, videos are drawn and not groups, which judges more kindly than a new camera would"
        )


def _drawn_groups(labels: Labels) -> dict[str, str]:
    """Training video -> the group that it is drawn with; those that are drawn alone are left out."""
    parted = sole_groups(labels)
    groups = {video: labels[video].group for video in training_videos(labels)}
    return {video: group for video, group in groups.items() if group is not None and group not in parted}


def _draw(
    videos: dict[str, bool], labels: Labels, fraction: float, seed: int, fewest: int
) -> dict[str, bool]:
    kinds = {a: sorted(video for video, abnormal in videos.items() if abnormal == a) for a in (False, True)}
    if not fraction or min(map(len, kinds.values())) < fewest:
        return {}
    if _drawn_groups(labels):
        return _draw_groups(videos, labels, fraction, seed)
    rng = np.random.default_rng([seed, len(videos)])
    drawn: dict[str, bool] = {}
    for abnormal, kind in kinds.items():
        count = max(1, round(fraction * len(kind)))
        drawn |= {video: abnormal for video in rng.permutation(kind)[:count].tolist()}
    return drawn


def _draw_groups(videos: dict[str, bool], labels: Labels, fraction: float, seed: int) -> dict[str, bool]:
    """Of as many parts as the share goes into the whole, that whose shares of both classes are nearest."""
    count = max(2, round(1 / fraction))
    parts = possible_folds(labels, count, seed)
    if len(parts) < count:
        return {}

    def off(part: list[str]) -> float:
        held = [sum(videos[v] == kind for v in part) for kind in (False, True)]
        whole = [sum(a == kind for a in videos.values()) for kind in (False, True)]
        return max(abs(h / w - fraction) if h else np.inf for h, w in zip(held, whole, strict=True))

    best = min(parts, key=off)
    return {video: videos[video] for video in best} if np.isfinite(off(best)) else {}


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
