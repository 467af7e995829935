"""What is missing, of the wrong length or contradictory in a dataset, and its totals.

ssrl-pipeline dataset check ucf_crime
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.data.datasets import Dataset, whole_snippets
from ssrl_pipeline.data.labels import SPLITS
from ssrl_pipeline.data.resolve import Annotations
from ssrl_pipeline.errors import LabelError, StoreError
from ssrl_pipeline.extractors import PRESETS, snippet_count
from ssrl_pipeline.features import Features, ReleasedFeatures, VideoMeta, location, open_features
from ssrl_pipeline.settings import DataSettings

SPLITS_IN_ORDER = (*SPLITS, "none")


class ClassCount(NamedTuple):
    """Videos of a split and class; one of several classes counts in each."""

    split: str
    kind: str
    videos: int
    with_features: int


class Problem(NamedTuple):
    kind: str  # "missing features", "damaged features", "wrong length" or "ground truth"
    video: str
    detail: str


class Totals(NamedTuple):
    """The test videos, in frames of whole snippets."""

    videos: int
    abnormal: int
    frames: int
    anomalous_frames: int
    without_length: int  # videos whose length neither annotations nor features tell


class Report(NamedTuple):
    groups: list[ClassCount]
    totals: Totals
    problems: list[Problem]
    unlabelled: int  # videos with features that the annotations do not name


def check_data(data: DataSettings, note: Callable[[str], object]) -> Report:
    """:func:`check_dataset` of what the settings name.

    Args:
        note: told where there are no features yet.

    Raises:
        StoreError: a folder holds something else than features.
    """
    place = location(data.features)
    try:
        features = open_features(place, data.layout)
    except StoreError as error:
        if isinstance(place, str) or (place.exists() and any(place.iterdir())):
            raise
        note(str(error))
        features = None
    return check_dataset(Annotations(data, features).as_dataset(), features)


def check_dataset(dataset: Dataset, features: Features | None) -> Report:
    """Compares annotations with each other and with the features; None stands for no features at all."""
    stored = set(features.videos()) if features else set()
    problems = [
        Problem("missing features", video, "not extracted" if features else "there are no features")
        for video in dataset.labels
        if video not in stored
    ]
    lengths = dict(dataset.frames)
    for video in dataset.labels:
        if features and video in stored:
            problems += _check_features(video, features, dataset.frames.get(video), lengths)
    truth: dict[str, np.ndarray | None] = {}
    for video in dataset.split("test"):
        truth[video] = None
        if video in lengths:
            try:
                truth[video] = dataset.frame_truth(video, lengths[video])
            except LabelError as error:
                problems.append(Problem("ground truth", video, str(error)))
                truth[video] = _marked(dataset.intervals.get(video, []), whole_snippets(lengths[video]))
    problems += _check_truth(dataset, truth)
    return Report(
        groups=_groups(dataset, stored),
        totals=_totals(dataset, truth),
        problems=problems,
        unlabelled=len(stored - set(dataset.labels)),
    )


def _check_features(
    video: str, features: Features, annotated: int | None, lengths: dict[str, int]
) -> Iterator[Problem]:
    """Reads a video's files; where the annotations do not tell its length, `lengths` gets the features'."""
    try:
        meta, snippets = features.meta(video), len(features.read(video)["clip"])
        features.times(video)
        features.starts(video)
        segmented = isinstance(features, ReleasedFeatures) and features.is_segmented(video)
    except StoreError as error:
        yield Problem("damaged features", video, str(error))
        return
    if segmented:
        return
    if annotated is None:
        lengths[video] = meta.frames
    elif detail := _wrong_length(features, replace(meta, snippets=snippets), annotated):
        yield Problem("wrong length", video, detail)


def wrong_lengths(dataset: Dataset, features: Features, split: str) -> list[Problem]:
    """The videos of a split whose features are longer or shorter than the annotations say, or tell no length.

    Videos without features, or whose length no annotation tells, are not among them.

    Raises:
        StoreError: what the features say of a video is damaged.
    """
    problems, stored = [], set(features.videos())
    for video in dataset.split(split):
        if video not in stored:
            continue
        if isinstance(features, ReleasedFeatures) and features.is_segmented(video):
            problems.append(Problem("wrong length", video, "means of segments, which do not tell its frames"))
        elif video in dataset.frames:
            detail = _wrong_length(features, features.meta(video), dataset.frames[video])
            problems += [Problem("wrong length", video, detail)] if detail else []
    return problems


def _wrong_length(features: Features, meta: VideoMeta, annotated: int) -> str:
    """What differs; "" where nothing does."""
    snippets = meta.snippets
    if meta.starts:  # the snippets are of chosen frames, and do not tell how many there are
        same = snippet_count(meta.frames) == snippet_count(annotated)
        return "" if same else f"{meta.frames} frames where {annotated} are annotated"
    preset = PRESETS.get(features.recipe.get("preset", ""))
    expected = snippet_count(annotated, drop_last=preset is not None and preset.drop_last)
    if snippets == expected:
        return ""
    return f"{snippets} snippets where {annotated} annotated frames make {expected}"


def _check_truth(dataset: Dataset, truth: Mapping[str, np.ndarray | None]) -> Iterator[Problem]:
    """Compares with the published labels, entry by entry, up to the first video of unknown length."""
    if dataset.truth is None:
        return
    at = 0
    for video, own in truth.items():
        if own is None:
            unknown = [other for other, labels in truth.items() if labels is None]
            if dataset.truth[at:].any() and not any(dataset.labels[other].abnormal for other in unknown):
                detail = f"anomalous frames are published beyond frame {at}, where normal videos begin"
                yield Problem("ground truth", video, detail)
            return
        published = dataset.truth[at : at + len(own)]
        differing = np.count_nonzero(published != own) if len(published) == len(own) else len(own)
        if differing:
            yield Problem("ground truth", video, f"{differing} of {len(own)} frames are not as published")
        at += len(own)
    if at != len(dataset.truth):
        detail = f"{at} frames where the published ground truth has {len(dataset.truth)}"
        yield Problem("ground truth", "all test videos", detail)


def _totals(dataset: Dataset, truth: Mapping[str, np.ndarray | None]) -> Totals:
    unknown = [video for video, own in truth.items() if own is None]
    if unknown and dataset.truth is not None:
        frames, anomalous = len(dataset.truth), int(dataset.truth.sum())
        unknown = []
    else:
        frames = sum(len(own) for own in truth.values() if own is not None)
        anomalous = sum(int(own.sum()) for own in truth.values() if own is not None)
        anomalous += sum(int(_marked(dataset.intervals.get(video, [])).sum()) for video in unknown)
    abnormal = sum(dataset.labels[video].abnormal for video in truth)
    return Totals(len(truth), abnormal, frames, anomalous, len(unknown))


def _groups(dataset: Dataset, stored: set[str]) -> list[ClassCount]:
    everything, there = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for video, label in dataset.labels.items():
        for kind in dataset.classes.get(video, ("abnormal" if label.abnormal else "normal",)):
            everything[label.split or "none", kind] += 1
            there[label.split or "none", kind] += video in stored
    ordered = sorted(everything, key=lambda group: (SPLITS_IN_ORDER.index(group[0]), group[1]))
    return [ClassCount(*group, everything[group], there[group]) for group in ordered]


def _marked(rows: list[tuple[int, int]], frames: int | None = None) -> np.ndarray:
    """bool [frames], or as long as the intervals reach."""
    truth = np.zeros(max((end for _, end in rows), default=0) if frames is None else frames, bool)
    for start, end in rows:
        truth[start:end] = True
    return truth
