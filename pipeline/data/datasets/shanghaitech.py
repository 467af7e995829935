"""ShanghaiTech Campus, weakly supervised split (Zhong et al., CVPR 2019): 238 training and 199 test videos.

    shanghai-train.list, shanghai-test.list   01_0014_i3d.npy
    SH_Train.txt, SH_Test.txt                 01_0014
    shanghaitech_test_frame_mask/01_0014.npy  a 0 or 1 for each frame
    gt-sh.npy                                 the same for all test videos on end, in the list's order

A video's name is its camera and a number: of four digits where it comes from
the original test set, which is anomalous throughout, and of three where it comes
from the original training set, which is normal.

The field fills the last snippet up with the label of the last frame (RTFM's
make_gt_sh.py). So 199 test videos have 142,912 frames, 8,028 of them anomalous.
"""

import re
from pathlib import Path

import numpy as np

from ssrl_pipeline.data.datasets.annotations import (
    NORMAL,
    Dataset,
    Snippets,
    find_file,
    read_list,
    require_apart,
    whole_snippets,
)
from ssrl_pipeline.data.labels import Intervals, Label, Labels, intervals_of
from ssrl_pipeline.disk import map_npy
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.extractors import SNIPPET_FRAMES

ANOMALY = "Anomaly"  # the set has no classes
TRAIN, TEST = ("shanghai-train.list", "SH_Train.txt"), ("shanghai-test.list", "SH_Test.txt")
MASKS, TRUTH = ("shanghaitech_test_frame_mask", "test_frame_mask"), "gt-sh.npy"


def load(folder: Path, snippets: Snippets | None = None) -> Dataset:
    """Reads the annotation files of a folder.

    The lists are needed, and either the masks or gt-sh.npy. The latter does not
    say where a video ends: without masks it is cut by the lengths of features.

    Args:
        snippets: how many a test video has; asked for only where there are no masks.

    Raises:
        LabelError: a file is missing or malformed, or files contradict each other.
    """
    train_path = find_file(folder, TRAIN, "ShanghaiTech's list of training videos")
    test_path = find_file(folder, TEST, "ShanghaiTech's list of test videos")
    lists = {"train": (read_list(train_path), train_path), "test": (read_list(test_path), test_path)}
    require_apart(lists["train"][0], lists["test"][0], train_path, test_path)
    labels: Labels = {}
    for split, (videos, path) in lists.items():
        abnormal = {video: is_abnormal(video, path, line) for video, line in videos.items()}
        anomalous_first = sorted(videos, key=lambda video: not abnormal[video])
        labels |= {video: Label(abnormal[video], split) for video in anomalous_first}
    tests = [video for video, label in labels.items() if label.split == "test"]
    truth = read_truth(folder / TRUTH) if (folder / TRUTH).exists() else None
    masks = [folder / name for name in MASKS if (folder / name).is_dir()]
    frames: dict[str, int] = {}
    if masks:
        found = _read_masks(masks[0], labels)
        frames = {video: len(mask) for video, mask in found.items()}
        intervals = {video: intervals_of(fill_last_snippet(mask)) for video, mask in found.items()}
    elif truth is None:
        raise LabelError(
            f"{folder}: lacks ShanghaiTech's ground truth, {MASKS[0]}/ or {TRUTH}; "
            "set data.annotations to its folder"
        )
    elif snippets is None:
        raise LabelError(
            f"{folder / TRUTH}: does not say where a video ends; "
            f"give the features' folder, or put {MASKS[0]}/ beside it"
        )
    else:
        cut = _cut(truth, tests, snippets, folder / TRUTH)
        intervals = {video: rows for video in tests if (rows := intervals_of(cut[video]))}
        _check_cut(intervals, {video: labels[video] for video in tests}, folder / TRUTH, test_path)
    kinds = {video: ANOMALY if label.abnormal else NORMAL for video, label in labels.items()}
    return Dataset(labels, intervals, {video: (kind,) for video, kind in kinds.items()}, frames, truth)


def is_abnormal(video: str, path: Path, line: int) -> bool:
    """Whether a video comes from the original test set, by its name.

    Raises:
        LabelError: it is not named as ShanghaiTech's videos are.
    """
    name = re.fullmatch(r"\d\d_(\d{3,4})", video)
    if name is None:
        raise LabelError(
            f"{path}, line {line}: {video!r} is no video of ShanghaiTech; they are named as 01_0014 or 01_001"
        )
    return len(name[1]) == 4


def read_mask(path: Path) -> np.ndarray:
    """A 0 or 1 for each frame -> bool [N].

    Raises:
        LabelError: the file is missing or holds something else.
    """
    try:
        mask = map_npy(path)
    except FileNotFoundError:
        raise LabelError(f"{path}: no such file, but the video is an anomalous one") from None
    except (OSError, ValueError) as error:
        raise LabelError(f"{path}: not readable as a NumPy array ({error})") from error
    if mask.dtype.kind not in "biuf" or mask.ndim != 1 or not len(mask) or not np.isin(mask, (0, 1)).all():
        raise LabelError(f"{path}: is not a 0 or 1 for each frame")
    return mask.astype(bool)


def read_truth(path: Path) -> np.ndarray:
    """gt-sh.npy: bool [frames of all snippets of all test videos]. Raises LabelError."""
    truth = read_mask(path)
    if len(truth) % SNIPPET_FRAMES:
        raise LabelError(f"{path}: its {len(truth)} frames are not a multiple of {SNIPPET_FRAMES}")
    return truth


def fill_last_snippet(mask: np.ndarray) -> np.ndarray:
    """Repeats the last frame's label to the end of the last snippet: [N] -> [N rounded up to 16]."""
    return np.pad(mask, (0, whole_snippets(len(mask)) - len(mask)), mode="edge")


def _read_masks(folder: Path, labels: Labels) -> dict[str, np.ndarray]:
    """The masks of all anomalous videos, those of training too where there are some."""
    masks = {}
    for video, label in labels.items():
        path = folder / f"{video}.npy"
        if not label.abnormal or (label.split == "train" and not path.exists()):
            continue
        masks[video] = read_mask(path)
        if not masks[video].any():
            raise LabelError(f"{path}: has no anomalous frame, but the video is an anomalous one")
    return masks


def _cut(truth: np.ndarray, videos: list[str], snippets: Snippets, path: Path) -> dict[str, np.ndarray]:
    """The ground truth of each test video, cut from that of all."""
    ends = np.cumsum([SNIPPET_FRAMES * snippets(video) for video in videos])
    if ends[-1] != len(truth):
        raise LabelError(
            f"{path}: has {len(truth)} frames, but the features of the {len(videos)} test videos "
            f"make {ends[-1]}, {SNIPPET_FRAMES} a snippet; with {MASKS[0]}/ beside it, "
            "`ssrl-pipeline dataset check` names the videos"
        )
    return dict(zip(videos, np.split(truth, ends[:-1]), strict=True))


def _check_cut(intervals: Intervals, tests: Labels, path: Path, order: Path) -> None:
    """Raises LabelError where a test video's ground truth contradicts its name."""
    for video, label in tests.items():
        if label.abnormal != (video in intervals):
            raise LabelError(
                f"{path}: cut by the features' lengths, {video!r} has "
                f"{'no ' if label.abnormal else ''}anomalous frames, unlike its name says; "
                f"the features have other lengths than the ground truth, or {order} another order"
            )
