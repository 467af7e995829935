"""Labels of videos and ground truth of frames, from files as people write them."""

from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.data.labels import Label, frame_labels, labels_from_folders, read_intervals, read_labels
from ssrl_pipeline.errors import LabelError


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
        ("Video;LABEL\na,b.mp4;normal\n", {"a,b.mp4": Label(False, None)}),
        ("video\tlabel\tsplit\na b.mp4\tabnormal\tval\n", {"a b.mp4": Label(True, "val")}),
        ("sep=;\nvideo;label\na.mp4;normal\n", {"a.mp4": Label(False, None)}),
        ("a.mp4,normal\nb.mp4,abnormal,test\n", {"a.mp4": Label(False, None), "b.mp4": Label(True, "test")}),
        ("a.mp4 normal\n", {"a.mp4": Label(False, None)}),
        ("# mine\nvideo,label\n#\na.mp4,normal\n#old: b\n", {"a.mp4": Label(False, None)}),
        ('video,label\n"#1.mp4",normal\n', {"#1.mp4": Label(False, None)}),
        ("video,label,,\na.mp4,normal,,,\n", {"a.mp4": Label(False, None)}),
        ("video,label\ra.mp4,normal\r", {"a.mp4": Label(False, None)}),
        ("video,label\nca\u0301mara.mp4,normal\n", {"c\u00e1mara.mp4": Label(False, None)}),
        ("video,label,group\na.mp4,normal,Gate 1\n", {"a.mp4": Label(False, None, "Gate 1")}),
        ("group;label;video\n;normal;a.mp4\n", {"a.mp4": Label(False, None)}),
        (
            "a.mp4,normal,val,gate\nb.mp4,normal,,gate\n",
            {"a.mp4": Label(False, "val", "gate"), "b.mp4": Label(False, None, "gate")},
        ),
        (
            "video,label,split\none/a.mp4,normal,train\ntwo/a.mp4,abnormal,val\n",
            {"one/a.mp4": Label(False, "train"), "two/a.mp4": Label(True, "val")},
        ),
    ],
)
# The second is what Excel writes as "CSV UTF-8", the third as "Unicode text".
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"])
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
        ("a.mp4,norml\n", ["line 1", "'a.mp4,norml'", "video,label"]),
        ("video,label\na.mp4;normal\n", ["line 2", "'a.mp4;normal'", "no label"]),
        ("video,label\na.mp4,normal,train\n", ["line 2", "3 cells", "'train'"]),
        ("video,label,splits\na.mp4,normal,train\n", ["line 1", "'splits'", "'split'"]),
        ("video,label,split,label\na.mp4,normal,train,normal\n", ["line 1", "two columns 'label'"]),
        ("video,label\n\n# more\n#b.mp4,normal\n", ["line 4", "'#b.mp4,normal'", "in quotes"]),
        ('video,label\n"a.mp4,normal\nb.mp4,normal\n', ["line 2", "CSV"]),
        ("video label\nmy a.mp4 normal\n", ["line 2", "'normal'"]),
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
        ("video,start,end\na,10,20,25,30\nb,1,2,,\n", {"a": [(10, 20), (25, 30)], "b": [(1, 2)]}),
        ("video,start,end\na,3,7,-1,-1\nb,-1,-1,-1,-1\n", {"a": [(3, 7)]}),
        ("video,start1,end1,start2,end2\na,1,2,5,8\nb,0,9\n", {"a": [(1, 2), (5, 8)], "b": [(0, 9)]}),
        ("video,class,Start,End,Start,End\na,Abuse,1,2,5,8\n", {"a": [(1, 2), (5, 8)]}),
        ("end,start,video\n8,5,a\n", {"a": [(5, 8)]}),
        ("a\t1\t2\t5\t8\nb\t0\t9\n", {"a": [(1, 2), (5, 8)], "b": [(0, 9)]}),
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
        ("a,1,2,3", ["line 3", "'1 2 3'", "odd"]),
        ("a,1,2,8,5", ["line 3", "8 to 5"]),
        ("a,1,2,Abuse,5", ["line 3", "Abuse"]),
        ("a,0.4,0.8", ["line 3", "'0.4 0.8'", "times", "frame = seconds * frames per second"]),
        ("a,00:00:01,1:02:03.5", ["line 3", "times", "frame = seconds"]),
        ("a,12s,15 s", ["line 3", "times", "frame = seconds"]),
        ("a,1,99999999999999999999", ["line 3", "99999999999999999999"]),
    ],
)
def test_rows_of_intervals_that_do_not_fit_are_refused_with_their_line(
    tmp_path: Path, row: str, mentions: list[str]
) -> None:
    with pytest.raises(LabelError) as caught:
        read_intervals(write(tmp_path, f"video,start,end\na,1,2\n{row}\n"))
    assert [word for word in mentions if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("header", "mentions"),
    [
        ("video,start_s,end_s", ["'start'", "frame numbers"]),
        ("video,start,end,start_b,end_b", ["'start_b'", "'start'"]),
        ("video,start,end,start", ["start, end, start"]),
        ("video,end,start", ["line 2", "5 cells"]),  # in which order a second pair would be is not said
    ],
)
def test_headers_of_intervals_that_do_not_fit_are_refused(
    tmp_path: Path, header: str, mentions: list[str]
) -> None:
    with pytest.raises(LabelError) as caught:
        read_intervals(write(tmp_path, f"{header}\na,1,2,5,8\n"))
    assert [word for word in mentions if word not in str(caught.value)] == []


def test_intervals_with_decimal_commas_are_times(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="'0,4 0,8' look like times"):
        read_intervals(write(tmp_path, "video;start;end\na;0,4;0,8\n"))


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


@pytest.mark.parametrize("name", ["semicolon", "tab", "Header", "comment", "noheader", "utf16"])
def test_tables_of_users(shared: Path, name: str) -> None:
    folder = shared / "data" / "faults" / "labels"
    found, common = (read_labels(folder / f"{one}.csv") for one in (name, "common_labels"))
    assert {video: label.abnormal for video, label in found.items()} == {
        video: label.abnormal for video, label in common.items()
    }


def test_two_intervals_in_a_row_of_a_user(shared: Path) -> None:
    intervals = read_intervals(shared / "data" / "faults" / "labels" / "ragged.csv")
    assert frame_labels("abnormal/a3.mp4", Label(True, None), intervals, 40).sum() == 15


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
