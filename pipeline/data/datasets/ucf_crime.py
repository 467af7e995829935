"""UCF-Crime (Sultani et al., CVPR 2018): 1,610 training and 290 test videos of thirteen kinds of crime.

    Temporal_Anomaly_Annotation.txt   Abuse028_x264.mp4  Abuse  165  240  -1  -1
    UCF_Annotation.txt                Abuse/Abuse028_x264.mp4 1412 Abuse 165 240 -1 -1
    ucf-train.list, ucf-test.list     Abuse001_x264_i3d.npy
    Anomaly_Train.txt                 Abuse/Abuse001_x264.mp4
    UCF_Train.list, UCF_Test.list     dataset/Abuse/Abuse001_x264__0.npy, UR-DMU's, a line per crop

Start and end of an interval count from zero and both belong to it, as RTFM's
and SSRL's ground truth has them: ``165 240`` is [165, 241). Over all snippets of
the 290 test videos that makes 1,114,144 frames, 84,343 of them anomalous.
"""

import re
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.data.datasets.annotations import (
    NORMAL,
    Dataset,
    find_file,
    read_list,
    require_apart,
    whole_snippets,
)
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.data.names import video_id
from ssrl_pipeline.disk import frame_pairs, read_lines
from ssrl_pipeline.errors import LabelError

CLASSES = (
    *("Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting"),
    *("RoadAccidents", "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism"),
)
TEMPORAL = (
    "Temporal_Anomaly_Annotation.txt",
    "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
    "UCF_Annotation.txt",
    "Test_Annotation.txt",
)
TRAIN = ("ucf-train.list", "Anomaly_Train.txt", "UCF_Train.list")
TEST = ("ucf-test.list", "Anomaly_Test.txt", "UCF_Test.list")


class Annotation(NamedTuple):
    """One line of the temporal annotations."""

    line: int
    kind: str  # one of CLASSES, or Normal
    intervals: list[tuple[int, int]]  # 0-based, end exclusive
    frames: int | None  # None: the file does not say


def load(folder: Path) -> Dataset:
    """Reads the annotation files of a folder.

    One file of temporal annotations and one list of training videos are needed;
    where a folder has several, they have to agree.

    Raises:
        LabelError: a file is missing or malformed, or files contradict each other.
    """
    test_path = find_file(folder, TEMPORAL, "UCF-Crime's temporal annotations")
    annotations = read_annotations(test_path)
    for other in (folder / name for name in TEMPORAL):
        if other.exists() and other != test_path:
            annotations = _merge(annotations, read_annotations(other), test_path, other)
    test = {video: annotation.line for video, annotation in annotations.items()}
    listed = [folder / name for name in TEST if (folder / name).exists()]
    if listed:
        test_list = read_list(listed[0])
        _require_same(test_list, test, listed[0], test_path)
        test, test_path = test_list, listed[0]
    train_path = find_file(folder, TRAIN, "UCF-Crime's list of training videos")
    train = read_list(train_path)
    for other in (folder / name for name in TRAIN):
        if other.exists() and other != train_path:
            _require_same(train, read_list(other), train_path, other)
    require_apart(train, test, train_path, test_path)
    kinds = {video: kind_of(video, train_path, line) for video, line in train.items()}
    kinds |= {video: annotations[video].kind for video in test}
    return Dataset(
        labels={v: Label(kind != NORMAL, "train" if v in train else "test") for v, kind in kinds.items()},
        intervals={v: rows for v in test if (rows := _within(annotations[v]))},
        classes={video: (kind,) for video, kind in kinds.items()},
        frames={v: count for v in test if (count := annotations[v].frames) is not None},
    )


def read_annotations(path: Path) -> dict[str, Annotation]:
    """Reads temporal annotations in any of the forms that go round.

    A line is ``NAME [FRAMES] [CLASS] START END [START END ...]``, set apart by
    spaces, tabs, commas or semicolons: five columns have the name and two intervals, six a
    class or a number of frames besides, seven both. -1 -1 stands for no interval.

    Raises:
        LabelError: a line does not fit, or a video is annotated twice; the line is named.
    """
    annotations: dict[str, Annotation] = {}
    for number, line in read_lines(path):
        name, *columns = re.split(r"[\s,;]+", line)
        video = video_id(name)
        words = [i for i, column in enumerate(columns) if not re.fullmatch(r"[+-]?\d+", column)]
        if len(columns) < 2 or len(words) > 1:
            raise LabelError(
                f"{path}, line {number}: {line!r} is not NAME [FRAMES] [CLASS] START END [START END ...]"
            )
        kind = kind_of(video, path, number)
        if words:
            head, tail = columns[: words[0]], columns[words[0] + 1 :]
            _require_kind(columns[words[0]], kind, video, path, number)
        else:
            odd = len(columns) % 2
            head, tail = columns[:odd], columns[odd:]
        if len(head) > 1:
            raise LabelError(f"{path}, line {number}: {' '.join(head)!r} before the class is not one number")
        intervals = [(start, end + 1) for start, end in frame_pairs(tail, f"{path}, line {number}")]
        if (kind != NORMAL) != bool(intervals):
            says = "no interval" if kind != NORMAL else f"interval {intervals[0][0]} to {intervals[0][1] - 1}"
            raise LabelError(f"{path}, line {number}: {video!r} is of class {kind}, but has {says}")
        frames = int(head[0]) if head else None
        if frames is not None and (frames < 1 or any(start >= frames for start, _ in intervals)):
            raise LabelError(
                f"{path}, line {number}: {video!r} has {frames} frames, but intervals {' '.join(tail)!r}"
            )
        if video in annotations:
            first = annotations[video].line
            raise LabelError(f"{path}, line {number}: {video!r} is annotated twice, first in line {first}")
        annotations[video] = Annotation(number, kind, intervals, frames)
    if not annotations:
        raise LabelError(f"{path}: annotates no videos")
    return annotations


def kind_of(video: str, path: Path, line: int) -> str:
    """The class that a video's name begins with: Abuse001_x264 -> Abuse, Normal_Videos001_x264 -> Normal.

    Raises:
        LabelError: it begins with none.
    """
    if video.startswith("Normal_Videos"):
        return NORMAL
    kind = re.match(r"[A-Za-z]*", video)
    if kind is None or kind[0] not in CLASSES:
        raise LabelError(
            f"{path}, line {line}: {video!r} begins with none of UCF-Crime's classes, "
            f"{', '.join(CLASSES)} or Normal_Videos"
        )
    return kind[0]


def _within(annotation: Annotation) -> list[tuple[int, int]]:
    """The intervals; an end that is the number of frames stands for the last frame, as in RTFM's code."""
    if annotation.frames is None:
        return annotation.intervals
    whole = whole_snippets(annotation.frames)
    return [(start, whole if end == whole + 1 else end) for start, end in annotation.intervals]


def _require_kind(written: str, kind: str, video: str, path: Path, line: int) -> None:
    if written != kind:
        raise LabelError(f"{path}, line {line}: class {written!r} where the name {video!r} says {kind}")


def _merge(
    first: dict[str, Annotation], second: dict[str, Annotation], first_path: Path, second_path: Path
) -> dict[str, Annotation]:
    """Annotations of two files that agree, with the lengths that either knows."""
    lines, other_lines = ({v: a.line for v, a in found.items()} for found in (first, second))
    _require_same(lines, other_lines, first_path, second_path)
    for video, annotation in first.items():
        if annotation.intervals != second[video].intervals:
            raise LabelError(
                f"{video!r}: {first_path}, line {annotation.line} and "
                f"{second_path}, line {second[video].line} give other intervals; keep one of the files"
            )
    return {v: a if a.frames is not None else a._replace(frames=second[v].frames) for v, a in first.items()}


def _require_same(first: dict[str, int], second: dict[str, int], first_path: Path, second_path: Path) -> None:
    for ours, theirs, path, other in (
        (first, second, first_path, second_path),
        (second, first, second_path, first_path),
    ):
        for video in ours:
            if video not in theirs:
                raise LabelError(f"{path}, line {ours[video]}: {video!r} is not in {other}")
