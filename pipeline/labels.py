"""Labels of videos and ground truth of frames.

labels.csv      video,label[,split]    label normal or abnormal; split train, val or test
intervals.csv   video,start,end        anomalous frames, 0-based, end exclusive; a row per interval

Videos are named as in the feature store: by their path below the videos' root.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import LabelError

LABELS = ("normal", "abnormal")
SPLITS = ("train", "val", "test")


class Label(NamedTuple):
    abnormal: bool
    split: str | None  # None: not said


Labels = dict[str, Label]  # video -> label
Intervals = dict[str, list[tuple[int, int]]]  # video -> (start, end) of each anomalous interval


def read_labels(path: Path) -> Labels:
    """Reads labels.csv.

    Raises:
        LabelError: no such file, a column is missing, or a row does not fit; the line is named.
    """
    labels: Labels = {}
    for line, row in _rows(path, ("video", "label")):
        label, split = row["label"].lower(), (row.get("split") or "").lower() or None
        if label not in LABELS:
            raise LabelError(f"{path}, line {line}: label {row['label']!r} is neither normal nor abnormal")
        if split not in (None, *SPLITS):
            raise LabelError(f"{path}, line {line}: split {row['split']!r} is not one of {', '.join(SPLITS)}")
        if row["video"] in labels:
            raise LabelError(f"{path}, line {line}: {row['video']!r} is listed twice")
        labels[row["video"]] = Label(label == "abnormal", split)
    if not labels:
        raise LabelError(f"{path}: lists no videos")
    return labels


def labels_from_folders(videos: Iterable[str]) -> Labels:
    """Labels from folders named normal/ and abnormal/, splits from folders named train/, val/ and test/.

    Raises:
        LabelError: a video lies in neither of the two, or in both.
    """
    labels = {}
    for video in videos:
        folders = [part.lower() for part in video.split("/")[:-1]]
        named = {folder for folder in folders if folder in LABELS}
        if len(named) != 1:
            raise LabelError(
                f"no labels.csv, and {video!r} lies in no folder named normal/ or abnormal/: "
                "write a labels.csv (video,label,split), "
                "or sort the videos into such folders and extract again"
            )
        splits = [folder for folder in folders if folder in SPLITS]
        labels[video] = Label(named == {"abnormal"}, splits[0] if splits else None)
    return labels


def read_intervals(path: Path) -> Intervals:
    """Reads intervals.csv.

    Raises:
        LabelError: no such file, a column is missing, or a row does not fit; the line is named.
    """
    intervals: Intervals = {}
    for line, row in _rows(path, ("video", "start", "end")):
        try:
            start, end = int(row["start"]), int(row["end"])
        except ValueError:
            raise LabelError(
                f"{path}, line {line}: start {row['start']!r} and end {row['end']!r} are frame numbers"
            ) from None
        if not 0 <= start < end:
            raise LabelError(f"{path}, line {line}: interval {start} to {end} is empty or negative")
        intervals.setdefault(row["video"], []).append((start, end))
    return intervals


def frame_labels(video: str, label: Label, intervals: Intervals, frames: int) -> np.ndarray:
    """Ground truth of every frame: bool [frames].

    Raises:
        LabelError: the intervals contradict the label or the video's length.
    """
    truth = np.zeros(frames, bool)
    rows = intervals.get(video, [])
    if label.abnormal != bool(rows):
        raise LabelError(
            f"{video!r} is abnormal, but has no intervals"
            if label.abnormal
            else f"{video!r} is labelled normal, but has anomalous intervals"
        )
    for start, end in rows:
        if end > frames:
            raise LabelError(f"{video!r} has {frames} frames, but an anomalous interval ends at {end}")
        truth[start:end] = True
    return truth


def intervals_of(truth: np.ndarray) -> list[tuple[int, int]]:
    """bool [N] -> start and end of each run of anomalous frames, the end exclusive."""
    edges = np.flatnonzero(np.diff(truth.astype(np.int8), prepend=0, append=0))
    return [(start, end) for start, end in edges.reshape(-1, 2).tolist()]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV file, cells stripped; rows without a value are passed over."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise LabelError(
                    f"{path}: has no column {missing[0]!r}; its first line reads {','.join(columns)}"
                )
            for row in reader:
                cells = {key: (value or "").strip() for key, value in row.items() if key is not None}
                if any(cells.values()):
                    if not cells["video"]:
                        raise LabelError(f"{path}, line {reader.line_num}: names no video")
                    if not cells["video"].isprintable():
                        raise LabelError(
                            f"{path}, line {reader.line_num}: {cells['video']!r} is no file's name"
                        )
                    yield reader.line_num, cells
    except FileNotFoundError:
        raise LabelError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path}: cannot be read as CSV ({error})") from error
