"""Labels of videos and ground truth of frames.

labels.csv      video,label[,split][,group][,start]
                                              label normal or abnormal; split train, val or test; group
                                              the camera or source, whose videos no split may part; start
                                              the local time at which the video begins, 23:10 or
                                              2024-05-31 23:10:00
intervals.csv   video,start,end               anomalous frames, 0-based, end exclusive; a row per interval,
                                              or several intervals in a row: video,start,end,start,end;
                                              or times, as 12.5 or 0:12.5, where features tell the frames'

Videos are named as in the feature store: by their path below the videos' root. How the tables may be
written is in :mod:`ssrl_pipeline.disk.tables`.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.disk import (
    Columns,
    Row,
    are_times,
    frame_pairs,
    is_number,
    one_name,
    read_table,
    time_pairs,
)
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.times import FrameTimes

LABELS = ("normal", "abnormal")
SPLITS = ("train", "val", "test")


class Label(NamedTuple):
    abnormal: bool
    split: str | None  # None: not said
    group: str | None = None  # the camera or source that it is of; None: of one that no other video is of
    start: float | None = None  # seconds since midnight, local time, when it begins; None: not known


Labels = dict[str, Label]  # video -> label
Intervals = dict[str, list[tuple[int, int]]]  # video -> (start, end) of each anomalous interval


def read_labels(path: Path) -> Labels:
    """Reads labels.csv.

    Raises:
        LabelError: no such file, a column is missing, or a row does not fit; the line is named.
    """
    labels: Labels = {}
    for row in read_table(path, LABEL_COLUMNS):
        video, said = _video(row), row.cells
        label, split = said["label"].lower(), said.get("split", "").lower() or None
        if not label:
            raise LabelError(f"{row.place}: {video!r} has no label, normal or abnormal")
        if label not in LABELS:
            raise LabelError(f"{row.place}: label {said['label']!r} is neither normal nor abnormal")
        if split not in (None, *SPLITS):
            raise LabelError(f"{row.place}: split {said['split']!r} is not one of {', '.join(SPLITS)}")
        if video in labels:
            raise LabelError(f"{row.place}: {video!r} is listed twice")
        start = said.get("start") or None
        seconds = None if start is None else _time_of_day(start, row.place)
        labels[video] = Label(label == "abnormal", split, said.get("group") or None, seconds)
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


def group_of_folder(video: str) -> str | None:
    """The group that a video's folders name, those aside that name a label or a split; None: none does.

    `normal/gate/1.mp4`, `gate/abnormal/2.mp4` and `gate/3.mp4` are all of group `gate`.
    """
    folders = [part for part in video.split("/")[:-1] if part.lower() not in (*LABELS, *SPLITS)]
    return "/".join(folders) or None


def read_intervals(path: Path, times: Callable[[str], FrameTimes] | None = None) -> Intervals:
    """Reads intervals.csv; -1,-1 stands for no interval, as in the field's files.

    Args:
        times: of a video's frames, where rows may be times; raises PipelineError where it knows none.

    Raises:
        LabelError: no such file, a column is missing, or a row does not fit; the line is named.
    """
    intervals: Intervals = {}
    for row in read_table(path, INTERVAL_COLUMNS):
        video = _video(row)
        if times and are_times(row.repeated, row.place):
            pairs = _in_frames(time_pairs(row.repeated, row.place), video, times, row.place)
        else:
            pairs = frame_pairs(row.repeated, row.place)
        for start, end in pairs:
            if start == end:
                raise LabelError(f"{row.place}: interval {start} to {end} is empty, for the end is exclusive")
            intervals.setdefault(video, []).append((start, end))
    return intervals


def _in_frames(
    pairs: list[tuple[float, float]], video: str, times: Callable[[str], FrameTimes], place: str
) -> list[tuple[int, int]]:
    """Seconds as frames of a video, 0-based, end exclusive."""
    try:
        shown = times(video)
    except PipelineError as error:
        raise LabelError(f"{place}: times, and {error}; write frames, or extract the video") from error
    if not shown.known:
        raise LabelError(f"{place}: times, and the frame rate of {video!r} is unknown; write frames")
    if shown.stamps is not None:  # else the frames themselves are too many
        frames = len(shown.stamps)
        for start, end in pairs:
            if not shown.hold(start, end, frames):
                raise LabelError(
                    f"{place}: {start:g} to {end:g} s does not lie in {video!r}, which ends at "
                    f"{shown.over(frames):.6g} s"
                )
    return [(shown.frame_at(start), shown.frames_before(end)) for start, end in pairs]


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


def _time_of_day(text: str, place: str) -> float:
    """Seconds since midnight."""
    try:
        if ":" in text[:3]:
            moment = time.fromisoformat(text if text[2:3] == ":" else f"0{text}")
        else:
            moment = datetime.fromisoformat(text).timetz()
            if len(text) <= len("2024-05-31"):
                raise ValueError("a date alone, which would read as midnight")
    except ValueError:
        raise LabelError(
            f"{place}: start {text!r} is no local time of day, as in 23:10 or 2024-05-31 23:10:00"
        ) from None
    if moment.tzinfo is not None:
        raise LabelError(f"{place}: start {text!r} names a time zone; give the camera's local time")
    return 3600 * moment.hour + 60 * moment.minute + moment.second + moment.microsecond / 1e6


def _is_label_row(cells: Sequence[str]) -> bool:
    label, split = ([cell.lower() for cell in cells[1:3]] + ["", ""])[:2]
    return bool(cells and cells[0]) and label in LABELS and split in ("", *SPLITS)


def _is_interval_row(cells: Sequence[str]) -> bool:
    return len(cells) >= 3 and bool(cells[0]) and all(map(is_number, cells[1:]))


LABEL_COLUMNS = Columns(("video", "label"), ("split", "group", "start"), _is_label_row)
INTERVAL_COLUMNS = Columns(
    required=("video", "start", "end"),
    optional=(),
    is_row=_is_interval_row,
    repeated=("start", "end"),
    hint=" (start and end are frame numbers, counted from 0)",
)


def _video(row: Row) -> str:
    video = row.cells["video"]
    if not video:
        raise LabelError(f"{row.place}: names no video")
    if not video.isprintable():
        raise LabelError(f"{row.place}: {video!r} is no file's name")
    return one_name(video)
