"""Labels and ground truth as the settings name them: a dataset's own files, tables, or folders' names."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ssrl_pipeline.data.datasets import Dataset, cut_to_length, load_dataset
from ssrl_pipeline.data.labels import (
    Intervals,
    Labels,
    group_of_folder,
    labels_from_folders,
    read_intervals,
    read_labels,
)
from ssrl_pipeline.data.names import StoredNames
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.times import FrameTimes

T = TypeVar("T")


class Annotations:
    """What is known of the videos, each part read once, when it is first asked for.

    Args:
        data: the settings that say where it stands.
        features: give videos the names that they know them by, and lengths where a dataset's
            files do without; None: there are no features.

    Each attribute raises LabelError where a file is missing or malformed.
    """

    def __init__(self, data: DataSettings, features: Features | None):
        self.data, self.features = data, features

    @cached_property
    def dataset(self) -> Dataset | None:
        """One of the field's datasets; None where `data.dataset` names none."""
        if not self.data.dataset:
            return None
        return load_dataset(self.data.dataset, Path(self.data.annotations), self.features)

    @cached_property
    def labels(self) -> Labels:
        """Of `data.labels`, else of the dataset, else of a labels.csv, else of the folders' names."""
        return grouped(self._labels(), self.data)

    def _labels(self) -> Labels:
        if self.dataset and not self.data.labels:
            return self.dataset.labels
        path = labels_path(self.data)
        if path is None:
            return labels_from_folders(self.features.videos() if self.features else [])
        return self._named_as_in_features(read_labels(path))

    @cached_property
    def intervals(self) -> Intervals:
        """Ground truth of frames: of `data.intervals`, else of the dataset, else of an intervals.csv."""
        if self.dataset and not self.data.intervals:
            intervals = self.dataset.intervals
            return cut_to_length(intervals, self.features) if self.features else intervals
        return self._named_as_in_features(read_intervals(_intervals_path(self.data), self._times))

    def _times(self, video: str) -> FrameTimes:
        """When a video's frames are shown. Raises PipelineError where there are no features that tell."""
        features = self.features or open_features(self.data.features, self.data.layout)
        names = features.videos()
        return features.times(video if video in names else StoredNames(names).find(video) or video)

    def find_intervals(self) -> Intervals | None:
        """The same; None where nothing names them and there is no intervals.csv."""
        return self.intervals if _has_intervals(self.data) else None

    def as_dataset(self) -> Dataset:
        """All of it, also of tables, for comparing it with itself and with the features."""
        if self.dataset:
            return self.dataset
        if not self.labels:
            raise LabelError(
                "neither a labels.csv nor features; set data.labels, data.features or data.dataset"
            )
        return Dataset(self.labels, self.find_intervals() or {}, exact=True)

    def _named_as_in_features(self, table: dict[str, T]) -> dict[str, T]:
        """Released features know videos by their bare names, tables of ours by paths."""
        if self.features is None or self.data.layout != "released":
            return table
        stored = StoredNames(self.features.videos())
        return {stored.find(video) or video: value for video, value in table.items()}


def grouped(labels: Labels, data: DataSettings) -> Labels:
    """Labels with groups as `data.group` says, where they name none themselves."""
    if data.group is None:
        return labels
    return {v: label._replace(group=label.group or group_of_folder(v)) for v, label in labels.items()}


def labels_path(data: DataSettings) -> Path | None:
    """The table of labels that the settings name, or that lies where one is looked for."""
    if data.labels:
        return Path(data.labels)
    candidates = (Path("labels.csv"), Path(data.videos, "labels.csv"))
    return next((path for path in candidates if path.is_file()), None)


def intervals_to_show(data: DataSettings, note: Callable[[str], object]) -> Intervals:
    """Ground truth, if any, for what does without: only a file that is named must be readable."""
    try:
        if not _has_intervals(data):
            return {}
        needs_names = data.layout == "released" or (data.dataset and not data.intervals)
        features = open_features(data.features, data.layout) if needs_names else None
        return Annotations(data, features).intervals
    except PipelineError as error:
        if data.intervals:
            raise
        note(f"no ground truth is shown: {error}")
        return {}


def _has_intervals(data: DataSettings) -> bool:
    return bool(data.intervals or data.dataset or _intervals_path(data).is_file())


def _intervals_path(data: DataSettings) -> Path:
    if data.intervals:
        return Path(data.intervals)
    labels = labels_path(data)
    return (labels.parent if labels else Path(data.videos)) / "intervals.csv"
