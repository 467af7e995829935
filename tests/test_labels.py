"""Labels of videos and ground truth of frames, from files as people write them."""

from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.labels import Label, frame_labels, labels_from_folders, read_intervals, read_labels


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video,label\na.mp4,normal\n", {"a.mp4": Label(False, None)}),
        ("video,label\r\na.mp4,abnormal\r\n", {"a.mp4": Label(True, None)}),
        ("video,label\na.mp4,Normal", {"a.mp4": Label(False, None)}),
        ("label,split,video\nabnormal,TEST,a.mp4\n", {"a.mp4": Label(True, "test")}),
        ("video,label,split\na.mp4,normal,\n", {"a.mp4": Label(False, None)}),
        ("video,label,split\na.mp4,normal\n", {"a.mp4": Label(False, None)}),
        ("video,label,frames\na.mp4,normal,120\n", {"a.mp4": Label(False, None)}),
        ('video,label\n"x, y/a b.mp4",normal\n', {"x, y/a b.mp4": Label(False, None)}),
        ("video,label\n\n a.mp4 , normal \n,\n", {"a.mp4": Label(False, None)}),
        (
            "video,label,split\none/a.mp4,normal,train\ntwo/a.mp4,abnormal,val\n",
            {"one/a.mp4": Label(False, "train"), "two/a.mp4": Label(True, "val")},
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second is what Excel writes
def test_tables_as_people_write_them(
    tmp_path: Path, text: str, expected: dict[str, Label], encoding: str
) -> None:
    assert read_labels(write(tmp_path, text, encoding)) == expected


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("", ["video"]),
        ("video,label\n", ["no videos"]),
        ("name,label\na.mp4,normal\n", ["'video'", "video,label"]),
        ("video;label\na.mp4;normal\n", ["'video'"]),
        ("video,label\na.mp4,normal\nb.mp4,odd\n", ["line 3", "'odd'", "normal", "abnormal"]),
        ("video,label\na.mp4,\n", ["line 2"]),
        ("video,label\na.mp4\n", ["line 2"]),
        ("video,label,split\na.mp4,normal,holdout\n", ["line 2", "'holdout'", "train, val, test"]),
        ("video,label\na.mp4,normal\nb.mp4,normal\na.mp4,abnormal\n", ["line 4", "'a.mp4'"]),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_their_line(
    tmp_path: Path, text: str, mentions: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    assert [word for word in (str(path), *mentions) if word not in str(caught.value)] == []


@pytest.mark.parametrize("read", [read_labels, read_intervals])
@pytest.mark.parametrize("content", [None, b"video,label,start,end\n\xff\xfe\xfa,normal,1,2\n"])
def test_files_that_are_missing_or_no_text(tmp_path: Path, read, content: bytes | None) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelError, match="table.csv"):
        read(path)


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("normal/a.mp4", Label(False, None)),
        ("abnormal/a.mp4", Label(True, None)),
        ("Abnormal/a.mp4", Label(True, None)),
        ("train/abnormal/a.mp4", Label(True, "train")),
        ("normal/Test/deep/a.mp4", Label(False, "test")),
        ("abnormal/abnormal/normal", Label(True, None)),  # a file's own name says nothing
    ],
)
def test_labels_from_folders(video: str, expected: Label) -> None:
    assert labels_from_folders([video]) == {video: expected}


@pytest.mark.parametrize(
    "video", ["a.mp4", "normal", "normal.mp4", "abnormals/a.mp4", "normal/abnormal/a.mp4"]
)
def test_folders_that_do_not_tell(video: str) -> None:
    with pytest.raises(LabelError) as caught:
        labels_from_folders(["normal/x.mp4", video])
    assert repr(video) in str(caught.value)
    assert "labels.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video,start,end\n", {}),
        ("video,start,end\na.mp4,3,7\n", {"a.mp4": [(3, 7)]}),
        ("start,end,video\n 0 , 1 ,a.mp4\n", {"a.mp4": [(0, 1)]}),
        ("video,start,end\na,1,2\nb,0,9\na,5,8\n\n", {"a": [(1, 2), (5, 8)], "b": [(0, 9)]}),
    ],
)
def test_intervals(tmp_path: Path, text: str, expected: dict[str, list[tuple[int, int]]]) -> None:
    assert read_intervals(write(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("row", "mentions"),
    [
        ("a,7,3", ["line 3", "7", "3"]),
        ("a,5,5", ["line 3", "5"]),
        ("a,-1,3", ["line 3", "-1"]),
        ("a,1.5,3", ["line 3", "1.5"]),
        ("a,,3", ["line 3"]),
        ("a,3", ["line 3"]),
    ],
)
def test_intervals_that_do_not_fit_are_refused_with_their_line(
    tmp_path: Path, row: str, mentions: list[str]
) -> None:
    with pytest.raises(LabelError) as caught:
        read_intervals(write(tmp_path, f"video,start,end\na,1,2\n{row}\n"))
    assert [word for word in mentions if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(0, 1)], "x---------"),
        ([(3, 7)], "---xxxx---"),
        ([(9, 10)], "---------x"),
        ([(0, 10)], "xxxxxxxxxx"),
        ([(6, 8), (1, 3)], "-xx---xx--"),
        ([(1, 5), (3, 7)], "-xxxxxx---"),
    ],
)
def test_truth_of_every_frame(intervals: list[tuple[int, int]], expected: str) -> None:
    truth = frame_labels("a", Label(True, None), {"a": intervals, "b": [(0, 10)]}, 10)
    assert truth.dtype == bool
    assert "".join("x" if anomalous else "-" for anomalous in truth) == expected


def test_a_normal_video_has_no_anomalous_frame() -> None:
    assert frame_labels("n", Label(False, "test"), {"a": [(0, 3)]}, 5).tolist() == [False] * 5


@pytest.mark.parametrize(
    ("label", "intervals", "mentions"),
    [
        (Label(True, None), {"b": [(0, 1)]}, ["'a'", "no intervals"]),
        (Label(False, None), {"a": [(0, 1)]}, ["'a'", "normal"]),
        (Label(True, None), {"a": [(2, 11)]}, ["'a'", "10", "11"]),
    ],
)
def test_truth_that_contradicts_itself(
    label: Label, intervals: dict[str, list[tuple[int, int]]], mentions: list[str]
) -> None:
    with pytest.raises(LabelError) as caught:
        frame_labels("a", label, intervals, 10)
    assert [word for word in mentions if word not in str(caught.value)] == []


def test_ped2_intervals_are_the_frames_with_a_pixel_mask(shared: Path) -> None:
    folder = shared / "data" / "ped2"
    labels, intervals = read_labels(folder / "labels.csv"), read_intervals(folder / "intervals.csv")
    assert sum(label.abnormal for label in labels.values()) == 12
    assert len(labels) == 28
    with np.load(folder / "pixel_masks.npz") as masks:
        for video in ("Test001", "Test004", "Test012"):
            expected = masks[video].any(axis=(1, 2))  # packed bits: a byte is zero where all eight are
            name = f"videos/{video}.mp4"
            truth = frame_labels(name, labels[name], intervals, len(expected))
            np.testing.assert_array_equal(truth, expected)
