"""XD-Violence (Wu et al., ECCV 2020): 3,954 training and 800 test videos from films and from the net.

    annotations.txt            v=wVey5JDRf_g__#00-01-30_00-02-41_label_B6-0-0 142 296 447 508
    rgb.list, rgb_test.list    .../RGB/Salt.2010__#01-06-27_01-07-07_label_G-B2-0__0.npy

UR-DMU hands the same out as XD_Annotation.txt, XD_Train.list and XD_Test.list.
annotations.txt has the 500 anomalous test videos; some names in it end in .mp4.
Starts count from zero and ends are exclusive, as the ground truth of the
authors' code (XDVioDet, make_gt.py) slices them. The lists name every crop of a
video, ``__0`` to ``__4``; the file names hold the labels: A is normal, else up to
three of B1 fighting, B2 shooting, B4 riot, B5 abuse, B6 car accident and
G explosion, filled up with zeros.
"""

from pathlib import Path

from ssrl_pipeline.data.datasets.annotations import (
    NORMAL,
    Dataset,
    find_file,
    read_list,
    require_apart,
)
from ssrl_pipeline.data.labels import Intervals, Label
from ssrl_pipeline.data.names import video_id
from ssrl_pipeline.disk import frame_pairs, read_lines
from ssrl_pipeline.errors import LabelError

CODES = ("B1", "B2", "B4", "B5", "B6", "G")
ANNOTATIONS = ("annotations.txt", "XD_Annotation.txt")
TRAIN = ("rgb.list", "xd-train.list", "XD_Train.list", "xd-i3d-train.list")
TEST = ("rgb_test.list", "xd-test.list", "XD_Test.list", "xd-i3d-test.list")


def load(folder: Path) -> Dataset:
    """Reads annotations.txt and the lists of training and test videos of a folder.

    Raises:
        LabelError: a file is missing or malformed, or files contradict each other.
    """
    path = find_file(folder, ANNOTATIONS, "XD-Violence's temporal annotations")
    train_path = find_file(folder, TRAIN, "XD-Violence's list of training videos")
    test_path = find_file(folder, TEST, "XD-Violence's list of test videos")
    intervals, lines = read_annotations(path)
    train, test = read_list(train_path), read_list(test_path)
    require_apart(train, test, train_path, test_path)
    kinds = {video: kinds_of(video, train_path, line) for video, line in train.items()}
    kinds |= {video: kinds_of(video, test_path, line) for video, line in test.items()}
    for video, line in lines.items():
        if video not in test:
            raise LabelError(f"{path}, line {line}: {video!r} is not in {test_path}")
    for video, line in test.items():
        if kinds[video] != (NORMAL,) and video not in intervals:
            raise LabelError(f"{test_path}, line {line}: anomalous {video!r} is not in {path}")
    return Dataset(
        labels={v: Label(kind != (NORMAL,), "train" if v in train else "test") for v, kind in kinds.items()},
        intervals=intervals,
        classes=kinds,
    )


def read_annotations(path: Path) -> tuple[Intervals, dict[str, int]]:
    """Reads annotations.txt: the intervals of each video, 0-based, end exclusive, and its line.

    Raises:
        LabelError: a line does not fit, or a video is annotated twice; the line is named.
    """
    intervals: Intervals = {}
    lines: dict[str, int] = {}
    for number, line in read_lines(path):
        name, *numbers = line.split()
        video = video_id(name)
        if video in lines:
            raise LabelError(
                f"{path}, line {number}: {video!r} is annotated twice, first in line {lines[video]}"
            )
        if kinds_of(video, path, number) == (NORMAL,):
            raise LabelError(f"{path}, line {number}: {video!r} is normal by its label, but is annotated")
        rows = [pair for pair in frame_pairs(numbers, f"{path}, line {number}") if pair[0] < pair[1]]
        if not rows:
            raise LabelError(f"{path}, line {number}: {video!r} has no interval")
        intervals[video], lines[video] = rows, number
    if not intervals:
        raise LabelError(f"{path}: annotates no videos")
    return intervals, lines


def kinds_of(video: str, path: Path, line: int) -> tuple[str, ...]:
    """What a name says is to be seen: ``..._label_G-B2-0`` -> ("G", "B2"), ``..._label_A`` -> ("Normal",).

    Raises:
        LabelError: the name has no label, or one that is not known.
    """
    _, marker, label = video.rpartition("_label_")
    codes = tuple(code for code in label.split("-") if code != "0")
    if not marker or not codes or not (codes == ("A",) or set(codes) <= set(CODES)):
        raise LabelError(
            f"{path}, line {line}: {video!r} does not end in a label as _label_A or _label_B2-G-0 "
            f"(of {', '.join(CODES)})"
        )
    return (NORMAL,) if codes == ("A",) else codes
