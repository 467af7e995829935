"""Which videos train, choose and are held out: groups stay together."""

import pytest

from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.data.resolve import grouped
from ssrl_pipeline.data.splits import (
    fold_videos,
    parted_groups,
    sole_groups,
    split_videos,
    tell_parted_groups,
    tell_sole_groups,
)
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.settings import DataSettings


def cameras(count: int, each: int) -> Labels:
    """Videos of several cameras, every other one abnormal."""
    return {
        f"c{c}/v{i}.mp4": Label(i % 2 == 1, None, f"camera {c}") for c in range(count) for i in range(each)
    }


def groups_of(labels: Labels, videos: object) -> set[str | None]:
    return {labels[video].group for video in videos}  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(3))
def test_validation_never_parts_a_group(seed: int) -> None:
    labels = cameras(10, 6)
    split = split_videos(labels, 0.2, seed)
    assert len(split.val) == 12 and len(split.train) == 48
    assert sum(split.val.values()) == 6
    assert not groups_of(labels, split.train) & groups_of(labels, split.val)
    assert split == split_videos(labels, 0.2, seed)


def test_few_groups_leave_none_for_validation() -> None:
    assert split_videos(cameras(4, 20), 0.2, seed=0).val == {}


@pytest.mark.parametrize("other", ["gate", "door"])
def test_the_only_group_of_a_class_is_drawn_by_videos(other: str) -> None:
    labels = {f"v{i:02}": Label(i < 20, None, "gate" if i < 20 else other) for i in range(40)}
    bare = {video: label._replace(group=None) for video, label in labels.items()}
    assert len(split_videos(labels, 0.2, seed=0).val) == 8
    assert split_videos(labels, 0.2, seed=0) == split_videos(bare, 0.2, seed=0)
    assert fold_videos(labels, 5, seed=0) == fold_videos(bare, 5, seed=0)
    said: list[str] = []
    tell_sole_groups(labels, said.append)
    tell_sole_groups(bare, said.append)
    assert len(said) == 1 and "'gate'" in said[0] and repr(other) in said[0]


def test_where_one_class_has_one_group_the_other_groups_stay_together() -> None:
    labels = cameras(6, 5) | {f"c0/extra{i}": Label(True, None, "camera 0") for i in range(9)}
    labels = {v: label._replace(abnormal=label.group == "camera 0") for v, label in labels.items()}
    assert sole_groups(labels) == ["camera 0"]
    folds = fold_videos(labels, 5, seed=0)
    assert len(folds) == 5
    for fold in folds:
        rest = [video for other in folds if other is not fold for video in other]
        assert groups_of(labels, fold) & groups_of(labels, rest) == {"camera 0"}


def test_folds_hold_out_every_video_once_and_part_no_group() -> None:
    labels = cameras(7, 4) | {f"alone{i}": Label(i % 2 == 0, "train") for i in range(6)}
    labels |= {"t": Label(True, "test", "camera 0"), "v": Label(True, "val")}
    folds = fold_videos(labels, 5, seed=0)
    assert len(folds) == 5
    assert sorted(video for fold in folds for video in fold) == sorted(set(labels) - {"t", "v"})
    for fold in folds:
        own = groups_of(labels, fold) - {None}
        rest = [video for other in folds if other is not fold for video in other]
        assert not own & groups_of(labels, rest)
        assert 0 < sum(labels[video].abnormal for video in fold) < len(fold)
    assert folds == fold_videos(labels, 5, seed=0) != fold_videos(labels, 5, seed=1)


def test_a_class_of_few_videos_makes_fewer_folds() -> None:
    labels = {f"v{i}": Label(i < 6, None) for i in range(10)}
    folds = fold_videos(labels, 5, seed=0)
    assert [sum(not labels[video].abnormal for video in fold) for fold in folds] == [1, 1, 1, 1]
    normal = {f"v{i}": Label(False, None) for i in range(5)}
    assert sorted(map(len, fold_videos(normal, 3, seed=0))) == [1, 2, 2]
    with pytest.raises(LabelError, match="two training videos or more of each class"):
        fold_videos({"a": Label(True, None), "b": Label(False, None), "c": Label(False, None)}, 5, seed=0)


def test_folders_are_groups_where_asked_for() -> None:
    labels = {
        "normal/gate/1.mp4": Label(False, None),
        "gate/abnormal/2.mp4": Label(True, None),
        "a/gate/3.mp4": Label(False, None),
        "4.mp4": Label(False, None),
        "gate/5.mp4": Label(False, None, "door"),
    }
    assert grouped(labels, DataSettings()) == labels
    found = grouped(labels, DataSettings(group="folder"))
    assert [label.group for label in found.values()] == ["gate", "gate", "a/gate", None, "door"]


def test_groups_that_the_labels_part_are_found() -> None:
    labels = {
        "a": Label(False, "test", "gate"),
        "b": Label(True, None, "gate"),
        "c": Label(True, "val", "door"),
        "d": Label(True, "val", "door"),
        "e": Label(True, "train"),
        "f": Label(True, "test"),
    }
    assert parted_groups(labels) == {"gate": ["train", "test"]}
    said: list[str] = []
    tell_parted_groups(labels, said.append)
    assert len(said) == 1 and said[0].startswith("group 'gate' is in the splits train and test: ")
    tell_parted_groups({"a": Label(False, "test", "gate"), "e": Label(True, "train")}, said.append)
    assert len(said) == 1
