"""What the field's annotation files have in common: names, lines, lists, and what is read from them.

The adapters of single datasets are :mod:`ssrl_pipeline.ucf_crime`,
:mod:`ssrl_pipeline.shanghaitech` and :mod:`ssrl_pipeline.xd_violence`;
:mod:`ssrl_pipeline.datasets` chooses among them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.extractors.decoding import EXTENSIONS
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, snippet_count
from ssrl_pipeline.labels import Intervals, Labels, frame_labels

NORMAL = "Normal"

Snippets = Callable[[str], int]  # name of a video -> how many snippets its features have


@dataclass(frozen=True)
class Dataset:
    """What annotation files say of a dataset's videos, in the order of the field's lists.

    The field scores every frame of every snippet, the looped frames of the last
    one included, and `intervals` follow it: one may reach beyond the last frame,
    to the end of the last snippet of 16. :func:`ssrl_pipeline.datasets.cut_to_length`
    takes that part away where true lengths are at hand.
    """

    labels: Labels
    intervals: Intervals  # 0-based, end exclusive
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # ("Normal",) or what is to be seen
    frames: dict[str, int] = field(default_factory=dict)  # true lengths, where the files tell them
    truth: np.ndarray | None = None  # bool: the published labels of all test videos' snippets on end
    exact: bool = False  # intervals end with the last frame at the latest, as in intervals.csv

    def split(self, name: str) -> list[str]:
        return [video for video, label in self.labels.items() if label.split == name]

    def anomalies(self) -> dict[str, str]:
        """The class of each anomalous video; the one named first where there are several."""
        return {video: kinds[0] for video, kinds in self.classes.items() if self.labels[video].abnormal}

    def frame_truth(self, video: str, frames: int) -> np.ndarray:
        """Ground truth of whole snippets: bool [frames rounded up to 16].

        Raises:
            LabelError: the intervals contradict the label or the length.
        """
        whole = whole_snippets(frames)
        truth = frame_labels(video, self.labels[video], self.intervals, frames if self.exact else whole)
        return np.pad(truth, (0, whole - len(truth)))

    def renamed(self, names: Mapping[str, str]) -> "Dataset":
        """The same with other names of videos; those that `names` lacks keep theirs."""
        return replace(
            self,
            labels={names.get(video, video): label for video, label in self.labels.items()},
            intervals={names.get(video, video): rows for video, rows in self.intervals.items()},
            classes={names.get(video, video): kinds for video, kinds in self.classes.items()},
            frames={names.get(video, video): count for video, count in self.frames.items()},
        )


def whole_snippets(frames: int) -> int:
    """Frames of all snippets of a video, the last one completed: rounded up to 16."""
    return snippet_count(frames) * SNIPPET_FRAMES


def video_id(name: str) -> str:
    """The bare name that all of the field's files agree on.

    ``/elsewhere/UCF_Train/Abuse001_x264_i3d.npy``, ``Abuse/Abuse001_x264.mp4``
    and ``Abuse001_x264`` are one video. Folders (of either kind of slash) and
    the endings of videos and features go; nothing else does, since
    ``Normal_Videos003`` trains and ``Normal_Videos_003`` tests.
    """
    base = re.split(r"[\\/]", name.rstrip("\\/"))[-1]
    stem, dot, ending = base.rpartition(".")
    if dot and (ending == "npy" or f".{ending.lower()}" in EXTENSIONS):
        base = stem
    return base.removesuffix("_i3d")


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of the names that the folder holds.

    Raises:
        LabelError: none of them is there.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise LabelError(f"{folder}: lacks {what}, {' or '.join(names)}; set data.annotations to its folder")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line) of a text file, stripped; empty ones are passed over.

    Raises:
        LabelError: it cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: cannot be read as text ({error})") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_list(path: Path) -> dict[str, int]:
    """A list with a path on each line: bare name of the video -> line number, in order.

    Raises:
        LabelError: the list is empty, or names a video twice.
    """
    videos: dict[str, int] = {}
    for number, line in read_lines(path):
        video = video_id(line)
        if video in videos:
            raise LabelError(
                f"{path}, line {number}: {video!r} is listed twice, first in line {videos[video]}"
            )
        videos[video] = number
    if not videos:
        raise LabelError(f"{path}: lists no videos")
    return videos


def read_pairs(numbers: Sequence[str], path: Path, line: int) -> list[tuple[int, int]]:
    """``["165", "240", "-1", "-1"]`` -> [(165, 240)], as written; pairs of -1 stand for nothing.

    Raises:
        LabelError: a number is none, they are odd in number, or a pair is negative or runs backwards.
    """
    try:
        values = [int(number) for number in numbers]
    except ValueError:
        raise LabelError(f"{path}, line {line}: {' '.join(numbers)!r} are not all frame numbers") from None
    if len(values) % 2:
        raise LabelError(
            f"{path}, line {line}: {' '.join(numbers)!r} is an odd number of frame numbers; "
            "a start and an end make an interval"
        )
    pairs = [pair for pair in zip(values[::2], values[1::2], strict=True) if pair != (-1, -1)]
    for start, end in pairs:
        if not 0 <= start <= end:
            raise LabelError(f"{path}, line {line}: interval {start} to {end} is negative or runs backwards")
    return pairs


def require_apart(
    train: Mapping[str, int], test: Mapping[str, int], train_path: Path, test_path: Path
) -> None:
    """Raises LabelError where a video is listed for both training and test."""
    both = [video for video in train if video in test]
    if both:
        video = both[0]
        raise LabelError(
            f"{video!r} is listed for training ({train_path}, line {train[video]}) "
            f"and for test ({test_path}, line {test[video]})"
        )
