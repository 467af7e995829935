"""What the field's annotation files have in common: lists of videos, and what is read from them.

The adapters of single datasets are :mod:`ssrl_pipeline.data.datasets.ucf_crime`,
:mod:`ssrl_pipeline.data.datasets.shanghaitech` and :mod:`ssrl_pipeline.data.datasets.xd_violence`;
:mod:`ssrl_pipeline.data.datasets.choose` chooses among them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssrl_pipeline.data.labels import Intervals, Labels, frame_labels
from ssrl_pipeline.data.names import bare_name, has_ending, is_video_file, video_of_crop
from ssrl_pipeline.disk import read_lines
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.extractors import SNIPPET_FRAMES, snippet_count

NORMAL = "Normal"

Snippets = Callable[[str], int]  # name of a video -> how many snippets of 16 frames it has


@dataclass(frozen=True)
class Dataset:
    """What annotation files say of a dataset's videos, in the order of the field's lists.

    The field scores every frame of every snippet, the looped frames of the last
    one included, and `intervals` follow it: one may reach beyond the last frame,
    to the end of the last snippet of 16. :func:`ssrl_pipeline.data.datasets.choose.cut_to_length`
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


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of the names that the folder holds.

    Raises:
        LabelError: none of them is there.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise LabelError(f"{folder}: lacks {what}, {' or '.join(names)}; set data.annotations to its folder")


def read_list(path: Path) -> dict[str, int]:
    """A list with a path on each line: bare name of the video -> its first line, in order.

    The files of a video's crops, ``X__0.npy`` to ``X__9.npy``, are one video.

    Raises:
        LabelError: the list is empty, names a file twice, or has more than a path on a line.
    """
    videos: dict[str, int] = {}
    files: dict[str, int] = {}
    for number, line in read_lines(path):
        _require_one_path(line, f"{path}, line {number}")
        file = bare_name(line)
        if file in files:
            raise LabelError(f"{path}, line {number}: {file!r} is listed twice, first in line {files[file]}")
        files[file] = number
        videos.setdefault(file if is_video_file(line) else video_of_crop(file), number)
    if not videos:
        raise LabelError(f"{path}: lists no videos")
    return videos


def _require_one_path(line: str, place: str) -> None:
    """A path may hold spaces and commas where it has an ending; what stands behind one is not passed over."""
    *words, last = [word for word in re.split(r"[\s,;]+", line) if word]
    if words and (not has_ending(last) or any(map(has_ending, words))):
        surplus = " ".join([*words[1:], last])
        raise LabelError(f"{place}: {surplus!r} behind {words[0]!r}; a list has a path on each line")


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
