"""The field's annotation files: small ones of every form, and the real ones where they are at hand."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.data.datasets import shanghaitech, ucf_crime, xd_violence
from ssrl_pipeline.data.datasets.annotations import Dataset, read_list
from ssrl_pipeline.data.datasets.choose import DATASETS, cut_to_length, load_dataset
from ssrl_pipeline.data.labels import Label, intervals_of
from ssrl_pipeline.data.names import StoredNames, video_id
from ssrl_pipeline.errors import ConfigError, LabelError, StoreError
from ssrl_pipeline.features.store import FeatureStore

UCF = {
    "Temporal_Anomaly_Annotation.txt": (
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1  \n"
        "Arson011_x264.mp4  Arson  10  20  700  719  \n"
        "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \n"
    ),
    "UCF_Annotation.txt": (
        "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4 33 Normal -1 -1 -1 -1\n"
        "Abuse/Abuse028_x264.mp4 300 Abuse 165 240 -1 -1\n"
        "Arson/Arson011_x264.mp4 720 Arson 10 20 700 719\n"
    ),
    "ucf-test.list": "Abuse028_x264_i3d.npy\nArson011_x264_i3d.npy\nNormal_Videos_003_x264_i3d.npy\n",
    "ucf-train.list": (
        "/elsewhere/UCF_Train/Abuse001_x264_i3d.npy\n/elsewhere/UCF_Train/Normal_Videos003_x264_i3d.npy\n"
    ),
    "Anomaly_Train.txt": "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos003_x264.mp4",
}
SHANGHAI = {
    "SH_Train.txt": "01_001\n01_0014\n",
    "SH_Test.txt": "01_002\n01_0015\n",
}
XD = {
    "annotations.txt": (
        "v=wVey5JDRf_g__#00-01-30_00-02-41_label_B6-0-0 142 296 447 508\n"
        "Salt.2010__#01-06-27_01-07-07_label_G-B2-0.mp4 25 92\n"
    ),
    "rgb.list": "".join(
        f"/media/disk/RGB/{video}__{crop}.npy\n"
        for video in ("v=abc__#1_label_B1-0-0", "Salt.2010__#00-00-01_00-00-09_label_A")
        for crop in range(5)
    ),
    "rgb_test.list": "".join(
        f"/media/disk/RGBTest/{video}__{crop}.npy\n"
        for video in (
            "Salt.2010__#01-06-27_01-07-07_label_G-B2-0",
            "v=wVey5JDRf_g__#00-01-30_00-02-41_label_B6-0-0",
            "Salt.2010__#00-01-01_00-02-09_label_A",
        )
        for crop in range(5)
    ),
}
MASK = np.repeat([0, 1, 0, 1], [3, 4, 9, 4])  # 20 frames, the last one anomalous


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_masks(folder: Path, **masks: np.ndarray) -> None:
    (folder / "shanghaitech_test_frame_mask").mkdir(exist_ok=True)
    for video, mask in masks.items():
        np.save(folder / "shanghaitech_test_frame_mask" / f"{video.removeprefix('v')}.npy", mask)


def mentions(error: pytest.ExceptionInfo[LabelError], *words: object) -> bool:
    missing = [word for word in map(str, words) if word not in str(error.value)]
    assert missing == [], str(error.value)
    return True


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("Abuse001_x264_i3d.npy", "Abuse001_x264"),
        ("/elsewhere/else/Abuse001_x264_i3d.npy", "Abuse001_x264"),
        ("D:\\features\\Abuse001_x264_i3d.npy", "Abuse001_x264"),
        ("Abuse/Abuse001_x264.mp4", "Abuse001_x264"),
        ("Abuse001_x264", "Abuse001_x264"),
        ("training/videos/01_001.AVI", "01_001"),
        ("testing/frames/01_0014/", "01_0014"),
        ("Rush.Hour.3.2007.BluRay__#01_02_label_A", "Rush.Hour.3.2007.BluRay__#01_02_label_A"),
        ("RGB/Salt.2010__#01_02_label_A__4.npy", "Salt.2010__#01_02_label_A"),
        ("Abuse001_x264_i3d__9.npy", "Abuse001_x264"),
        ("cam__1.mp4", "cam__1"),  # a video of that name, not a crop's features
        ("ca\u0301mara.mp4", "c\u00e1mara"),
    ],
)
def test_one_video_has_one_bare_name(name: str, bare: str) -> None:
    assert video_id(name) == bare


def test_names_that_differ_by_a_stroke_stay_two_videos() -> None:
    assert video_id("Normal_Videos003_x264.mp4") != video_id("Normal_Videos_003_x264.mp4")


@pytest.mark.parametrize(
    ("line", "surplus"),
    [
        ("Abuse001_x264.mp4 Abuse", "'Abuse'"),
        ("Abuse001_x264.mp4,1", "'1'"),
        ("Abuse001_x264 1", "'1'"),
        ("Abuse001_x264.npy Abuse002_x264.npy", "'Abuse002_x264.npy'"),
    ],
)
def test_more_than_a_path_on_a_line_of_a_list_is_refused(tmp_path: Path, line: str, surplus: str) -> None:
    write(tmp_path, {"list": f"# mine\na, b/Abuse000 x264.mp4\n{line}\n"})
    with pytest.raises(LabelError) as error:
        read_list(tmp_path / "list")
    assert mentions(error, tmp_path / "list", "line 3", surplus)


def test_a_list_in_utf_16_with_spaces_in_a_path(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("D:\\my data\\a b.npy\nc_i3d.npy\n", encoding="utf-16")
    assert read_list(tmp_path / "list") == {"a b": 1, "c": 2}


def anomalies(dataset: Dataset) -> dict[str, str]:
    """The class of each anomalous video; the one named first where there are several."""
    return {video: kinds[0] for video, kinds in dataset.classes.items() if dataset.labels[video].abnormal}


# UCF-Crime


@pytest.mark.parametrize("left_out", [(), ("UCF_Annotation.txt",), ("ucf-test.list", "Anomaly_Train.txt")])
def test_ucf_crime_from_any_sufficient_set_of_files(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    dataset = ucf_crime.load(write(tmp_path, {name: UCF[name] for name in UCF if name not in left_out}))
    assert dataset.labels == {
        "Abuse001_x264": Label(True, "train"),
        "Normal_Videos003_x264": Label(False, "train"),
        "Abuse028_x264": Label(True, "test"),
        "Arson011_x264": Label(True, "test"),
        "Normal_Videos_003_x264": Label(False, "test"),
    }
    assert dataset.intervals == {"Abuse028_x264": [(165, 241)], "Arson011_x264": [(10, 21), (700, 720)]}
    assert anomalies(dataset) == {
        "Abuse001_x264": "Abuse",
        "Abuse028_x264": "Abuse",
        "Arson011_x264": "Arson",
    }
    lengths = {"Abuse028_x264": 300, "Arson011_x264": 720, "Normal_Videos_003_x264": 33}
    assert dataset.frames == ({} if "UCF_Annotation.txt" in left_out else lengths)


@pytest.mark.parametrize(
    ("line", "frames"),
    [
        ("Abuse028_x264.mp4 165 240 -1 -1", None),
        ("Abuse028_x264.mp4 Abuse 165 240 -1 -1", None),
        ("Abuse028_x264.mp4 1412 165 240 -1 -1", 1412),
        ("Abuse/Abuse028_x264.mp4 1412 Abuse 165 240 -1 -1", 1412),
        ("Abuse028_x264.mp4\tAbuse\t165\t240", None),
        ("Abuse028_x264,Abuse,165,240,-1,-1", None),
    ],
)
def test_ucf_annotations_in_all_their_forms(tmp_path: Path, line: str, frames: int | None) -> None:
    write(tmp_path, {"a.txt": f"\n{line}\n"})
    assert ucf_crime.read_annotations(tmp_path / "a.txt") == {
        "Abuse028_x264": ucf_crime.Annotation(2, "Abuse", [(165, 241)], frames)
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Abuse028_x264.mp4", "'Abuse028_x264.mp4'"),
        ("Abuse028_x264.mp4 Abuse 165", "'165'"),
        ("Abuse028_x264.mp4 Abuse 165 240 -1", "'165 240 -1'"),
        ("Abuse028_x264.mp4 Abuse many 165 240", "many"),
        ("Abuse028_x264.mp4 12 13 Abuse 165 240", "'12 13'"),
        ("Abuse028_x264.mp4 Arson 165 240", "'Arson'"),
        ("Abuse028_x264.mp4 Abuse 240 165", "240 to 165"),
        ("Abuse028_x264.mp4 Abuse -5 165", "-5 to 165"),
        ("Abuse028_x264.mp4 Abuse -1 -1 -1 -1", "no interval"),
        ("Abuse028_x264.mp4 160 Abuse 165 240", "160 frames"),
        ("Normal_Videos_003_x264.mp4 Normal 5 9 -1 -1", "5 to 9"),
        ("Jaywalking001_x264.mp4 Jaywalking 5 9", "'Jaywalking001_x264'"),
        ("Arrest001_x264.mp4 Arrest 9 10", "'Arrest001_x264'"),  # the line before says it already
    ],
)
def test_ucf_annotations_that_do_not_fit_are_refused_with_their_line(
    tmp_path: Path, line: str, value: str
) -> None:
    write(tmp_path, {"a.txt": f"Arrest001_x264.mp4 Arrest 1 2\n{line}\n"})
    with pytest.raises(LabelError) as error:
        ucf_crime.read_annotations(tmp_path / "a.txt")
    assert mentions(error, tmp_path / "a.txt", "line 2", value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"Temporal_Anomaly_Annotation.txt": None, "UCF_Annotation.txt": None},
            ["Temporal_Anomaly_Annotation"],
        ),
        ({"ucf-train.list": None, "Anomaly_Train.txt": None}, ["ucf-train.list", "Anomaly_Train.txt"]),
        ({"Temporal_Anomaly_Annotation.txt": ""}, ["Temporal_Anomaly_Annotation.txt", "no videos"]),
        ({"ucf-test.list": "Abuse028_x264_i3d.npy\n"}, ["line 2", "'Arson011_x264'", "ucf-test.list"]),
        ({"ucf-train.list": "Abuse001_x264_i3d.npy\n"}, ["line 2", "'Normal_Videos003_x264'"]),
        ({"ucf-train.list": UCF["ucf-train.list"] * 2}, ["line 3", "'Abuse001_x264'", "line 1"]),
        (
            {"ucf-train.list": "Abuse028_x264_i3d.npy\n", "Anomaly_Train.txt": None},
            ["'Abuse028_x264'", "ucf-train.list, line 1", "ucf-test.list, line 1"],
        ),
        (
            {"UCF_Annotation.txt": UCF["UCF_Annotation.txt"].replace("165", "166")},
            ["'Abuse028_x264'", "line 1", "line 2"],
        ),
    ],
)
def test_ucf_files_that_lack_or_contradict_something_are_refused(
    tmp_path: Path, changes: dict[str, str | None], words: list[str]
) -> None:
    files = {name: text for name, text in (UCF | changes).items() if text is not None}
    with pytest.raises(LabelError) as error:
        ucf_crime.load(write(tmp_path, files))
    assert mentions(error, tmp_path, *words)


def test_an_end_that_is_the_number_of_frames_is_the_last_frame(tmp_path: Path) -> None:
    lines = "Arson001_x264.mp4 720 Arson 700 720 -1 -1\nArson002_x264.mp4 719 Arson 700 719 -1 -1\n"
    write(tmp_path, {"UCF_Annotation.txt": lines, "ucf-train.list": UCF["ucf-train.list"]})
    dataset = ucf_crime.load(tmp_path)
    assert dataset.intervals == {"Arson001_x264": [(700, 720)], "Arson002_x264": [(700, 720)]}
    assert [dataset.frame_truth(video, dataset.frames[video]).sum() for video in dataset.intervals] == [
        20,
        20,
    ]


def test_lists_of_crops_as_ur_dmu_has_them(tmp_path: Path) -> None:
    def crops(*videos: str) -> str:
        return "".join(f"dataset/{video}__{crop}.npy\n" for video in videos for crop in range(10))

    files = {
        "UCF_Annotation.txt": UCF["UCF_Annotation.txt"],
        "UCF_Train.list": crops("Abuse/Abuse001_x264", "Normal/Normal_Videos003_x264"),
        "UCF_Test.list": crops("Abuse/Abuse028_x264", "Arson/Arson011_x264", "Normal/Normal_Videos_003_x264"),
    }
    dataset = ucf_crime.load(write(tmp_path, files))
    assert dataset.split("train") == ["Abuse001_x264", "Normal_Videos003_x264"]
    assert dataset.split("test") == ["Abuse028_x264", "Arson011_x264", "Normal_Videos_003_x264"]


def test_real_ucf_crime_has_the_published_totals(shared: Path) -> None:
    dataset = load_dataset("ucf_crime", shared / "data" / "annotations")
    truth = [dataset.frame_truth(video, dataset.frames[video]) for video in dataset.split("test")]
    assert (len(truth), sum(map(len, truth)), sum(t.sum() for t in truth)) == (290, 1_114_144, 84_343)
    train = [dataset.labels[video].abnormal for video in dataset.split("train")]
    assert len(train) == 1610
    assert train == [True] * 810 + [False] * 800  # anomalous first, as the published code counts on
    assert set(anomalies(dataset).values()) == set(ucf_crime.CLASSES)


# ShanghaiTech


def test_shanghaitech_from_masks(tmp_path: Path) -> None:
    write_masks(write(tmp_path, SHANGHAI), v01_0015=MASK)
    dataset = load_dataset("shanghaitech", tmp_path)
    assert dataset.labels == {
        "01_0014": Label(True, "train"),
        "01_001": Label(False, "train"),
        "01_0015": Label(True, "test"),
        "01_002": Label(False, "test"),
    }
    assert list(dataset.labels) == ["01_0014", "01_001", "01_0015", "01_002"]  # anomalous first
    assert dataset.intervals == {"01_0015": [(3, 7), (16, 32)]}  # the last snippet is filled up
    assert dataset.frames == {"01_0015": 20}
    assert dataset.classes["01_0015"] == ("Anomaly",)
    assert dataset.classes["01_002"] == ("Normal",)


def test_shanghaitech_from_the_array_of_all_test_videos(
    tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    write(tmp_path, {"shanghai-train.list": "01_0014_i3d.npy\n01_001_i3d.npy\n"})
    write(tmp_path, {"shanghai-test.list": "01_0015_i3d.npy\n01_002_i3d.npy\n"})
    np.save(tmp_path / "gt-sh.npy", np.r_[MASK, np.ones(12), np.zeros(48)])
    store = tiny_store({"testing/01_0015.avi": 2, "training/01_002.avi": 3})
    dataset = load_dataset("shanghaitech", tmp_path, store)
    assert dataset.intervals == {"testing/01_0015.avi": [(3, 7), (16, 32)]}
    with pytest.raises(LabelError) as error:
        load_dataset("shanghaitech", tmp_path)
    assert mentions(error, "gt-sh.npy", "shanghaitech_test_frame_mask")
    with pytest.raises(LabelError) as error:
        load_dataset("shanghaitech", tmp_path, tiny_store({"01_0015.avi": 2, "01_002.avi": 2}))
    assert mentions(error, "gt-sh.npy", 80, 64)
    with pytest.raises(LabelError) as error:
        load_dataset("shanghaitech", tmp_path, tiny_store({"01_0015.avi": 1, "01_002.avi": 4}))
    assert mentions(error, "'01_002'", "lengths")
    with pytest.raises(StoreError, match="01_002"):
        load_dataset("shanghaitech", tmp_path, tiny_store({"01_0015.avi": 2}))


@pytest.mark.parametrize(
    ("changes", "masks", "words"),
    [
        ({"SH_Test.txt": None}, {"v01_0015": MASK}, ["shanghai-test.list", "SH_Test.txt"]),
        ({"SH_Test.txt": "01_0015\nlobby\n"}, {"v01_0015": MASK}, ["SH_Test.txt, line 2", "'lobby'"]),
        ({"SH_Test.txt": "01_0014\n"}, {"v01_0014": MASK}, ["'01_0014'", "SH_Train.txt, line 2"]),
        ({}, {}, ["shanghaitech_test_frame_mask", "gt-sh.npy"]),
        ({}, {"v01_0099": MASK}, ["01_0015.npy", "no such file"]),
        ({}, {"v01_0015": 0 * MASK}, ["01_0015.npy", "no anomalous frame"]),
        ({}, {"v01_0015": 2 * MASK}, ["01_0015.npy", "0 or 1"]),
        ({}, {"v01_0015": MASK[None]}, ["01_0015.npy", "0 or 1"]),
        ({}, {"v01_0015": np.array([{}])}, ["01_0015.npy", "not readable"]),
    ],
)
def test_shanghaitech_files_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, str | None], masks: dict[str, np.ndarray], words: list[str]
) -> None:
    write(tmp_path, {name: text for name, text in (SHANGHAI | changes).items() if text is not None})
    if masks:
        write_masks(tmp_path, **masks)
    with pytest.raises(LabelError) as error:
        shanghaitech.load(tmp_path)
    assert mentions(error, *words)


@pytest.mark.parametrize(
    ("mask", "intervals"),
    [
        ([0, 0], []),
        ([1, 1], [(0, 2)]),
        ([0, 1, 1, 0, 1], [(1, 3), (4, 5)]),
    ],
)
def test_intervals_of_a_mask(mask: list[int], intervals: list[tuple[int, int]]) -> None:
    assert intervals_of(np.array(mask, bool)) == intervals


@pytest.mark.parametrize(
    "lists", [("shanghai-train.list", "shanghai-test.list"), ("SH_Train.txt", "SH_Test.txt")]
)
def test_real_shanghaitech_is_the_published_ground_truth_entry_by_entry(
    shared: Path, tmp_path: Path, lists: tuple[str, str]
) -> None:
    annotations = shared / "data" / "annotations"
    for name in (*lists, "shanghaitech_test_frame_mask"):
        (tmp_path / name).symlink_to(annotations / name)
    dataset = load_dataset("shanghaitech", tmp_path)
    published = np.load(annotations / "gt-sh.npy")
    videos = dataset.split("test")
    abnormal = [video for video in videos if dataset.labels[video].abnormal]
    assert (len(videos), len(abnormal), videos[: len(abnormal)]) == (199, 44, abnormal)
    assert sum(dataset.labels[video].abnormal for video in dataset.split("train")) == 63
    own = np.concatenate([dataset.frame_truth(video, dataset.frames[video]) for video in abnormal])
    normal = np.zeros(142_912 - len(own), bool)  # the annotations do not tell how long each normal video is
    np.testing.assert_array_equal(np.concatenate([own, normal]), published.astype(bool))
    assert own.sum() == 8_028


def test_real_shanghaitech_is_the_same_from_masks_and_from_the_array(shared: Path, tmp_path: Path) -> None:
    annotations = shared / "data" / "annotations"
    masks = load_dataset("shanghaitech", annotations)
    for name in ("shanghai-train.list", "shanghai-test.list", "gt-sh.npy"):
        (tmp_path / name).symlink_to(annotations / name)
    videos = masks.split("test")
    snippets = {video: -(-frames // 16) for video, frames in masks.frames.items()}
    normal = [video for video in videos if video not in snippets]
    snippets |= dict.fromkeys(normal, 1)
    snippets[normal[-1]] = 142_912 // 16 - sum(snippets[video] for video in videos[:-1])
    array = shanghaitech.load(tmp_path, snippets.__getitem__)
    assert array.intervals == {video: rows for video, rows in masks.intervals.items() if video in videos}


# XD-Violence


@pytest.mark.parametrize(
    "names",
    [{}, {"annotations.txt": "XD_Annotation.txt", "rgb.list": "XD_Train.list"}],
    ids=["own", "ur-dmu"],
)
def test_xd_violence(tmp_path: Path, names: dict[str, str]) -> None:
    write(tmp_path, {names.get(name, name): text for name, text in XD.items()})
    dataset = load_dataset("xd_violence", tmp_path)
    film, net = "Salt.2010__#01-06-27_01-07-07_label_G-B2-0", "v=wVey5JDRf_g__#00-01-30_00-02-41_label_B6-0-0"
    assert dataset.labels == {
        "v=abc__#1_label_B1-0-0": Label(True, "train"),
        "Salt.2010__#00-00-01_00-00-09_label_A": Label(False, "train"),
        film: Label(True, "test"),
        net: Label(True, "test"),
        "Salt.2010__#00-01-01_00-02-09_label_A": Label(False, "test"),
    }
    assert dataset.intervals == {net: [(142, 296), (447, 508)], film: [(25, 92)]}
    assert dataset.classes[film] == ("G", "B2")
    assert anomalies(dataset) == {"v=abc__#1_label_B1-0-0": "B1", film: "G", net: "B6"}
    assert dataset.classes["Salt.2010__#00-01-01_00-02-09_label_A"] == ("Normal",)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("annotations.txt", "v=abc__#2_label_B1-0-0 5", ["line 3", "'5'"]),
        ("annotations.txt", "v=abc__#2_label_B1-0-0", ["line 3", "no interval"]),
        ("annotations.txt", "v=abc__#2_label_B1-0-0 0:05 0:07.5", ["line 3", "times", "frame = seconds"]),
        ("annotations.txt", "v=abc__#2_label_B1-0-0 9 5", ["line 3", "9 to 5"]),
        ("annotations.txt", "v=abc__#2_label_B1-0-0 a b", ["line 3", "'a b'"]),
        ("annotations.txt", "v=abc__#2_label_A 5 9", ["line 3", "normal"]),
        ("annotations.txt", "v=abc__#2_label_B3-0-0 5 9", ["line 3", "B3"]),
        ("annotations.txt", "v=abc__#2_label_B1-0-0 5 9", ["line 3", "rgb_test.list"]),
        ("annotations.txt", "Salt.2010__#01-06-27_01-07-07_label_G-B2-0 1 2", ["line 3", "line 2"]),
        ("rgb_test.list", "v=abc__#2_label_B1-0-0__0.npy", ["line 16", "annotations.txt"]),
        ("rgb_test.list", "v=abc__#1_label_B1-0-0__0.npy", ["rgb.list, line 1", "line 16"]),
        ("rgb.list", "v=abc__#2__0.npy", ["rgb.list, line 11", "_label_A"]),
        ("rgb.list", "v=abc__#1_label_B1-0-0__3.npy", ["rgb.list, line 11", "line 4"]),
    ],
)
def test_xd_files_that_do_not_fit_are_refused_with_their_line(
    tmp_path: Path, name: str, line: str, words: list[str]
) -> None:
    with pytest.raises(LabelError) as error:
        xd_violence.load(write(tmp_path, XD | {name: f"{XD[name]}{line}\n"}))
    assert mentions(error, tmp_path / name, *words)


# Names and lengths of the features


def test_videos_get_the_names_that_the_store_has(
    tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({"Abuse/Abuse028_x264.mp4": 19, "Arson/Arson011_x264.mp4": 45, "other.mp4": 1})
    dataset = load_dataset("ucf_crime", write(tmp_path, UCF), store)
    assert dataset.split("test") == [
        "Abuse/Abuse028_x264.mp4",
        "Arson/Arson011_x264.mp4",
        "Normal_Videos_003_x264",
    ]
    assert dataset.intervals["Abuse/Abuse028_x264.mp4"] == [(165, 241)]
    assert dataset.frames["Abuse/Abuse028_x264.mp4"] == 300
    assert anomalies(dataset)["Arson/Arson011_x264.mp4"] == "Arson"


def test_two_stored_videos_for_one_annotation_are_named() -> None:
    stored = StoredNames(["old/Abuse028_x264.mp4", "new/Abuse028_x264.mp4", "b/c.mp4", "d/c.mp4"])
    with pytest.raises(LabelError) as error:
        stored.find("Abuse028_x264")
    assert mentions(error, "'old/Abuse028_x264.mp4'", "'new/Abuse028_x264.mp4'")
    assert stored.find("Abuse029_x264") is None


def test_a_stored_video_by_the_end_of_its_path() -> None:
    stored = StoredNames(["gate/a.mp4", "b.mp4", "gate/c.mp4", "yard/c.mp4"])
    found = {name: stored.find_path(name) for name in ("a.mp4", "x/gate/a", "yard/a.mp4", "gate\\b.mp4", "d")}
    assert list(found.values()) == ["gate/a.mp4", "gate/a.mp4", None, "b.mp4", None]
    assert stored.find_path("/videos/yard/c.mp4") == "yard/c.mp4"
    with pytest.raises(LabelError, match=r"'gate/c.mp4' or 'yard/c.mp4'.*folders"):
        stored.find_path("c.mp4")


def test_an_unknown_dataset_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_dataset("ucf", tmp_path)
    assert all(name in str(error.value) for name in DATASETS)


def test_what_reaches_into_the_last_snippets_filling_is_cut(tiny_store: Callable[..., FeatureStore]) -> None:
    store = tiny_store({"a.mp4": 2, "b.mp4": 2})  # 32 frames each
    intervals = {"a.mp4": [(3, 20), (30, 48), (32, 40)], "b.mp4": [(3, 49)], "missing.mp4": [(0, 99)]}
    assert cut_to_length(intervals, store) == {
        "a.mp4": [(3, 20), (30, 32)],
        "b.mp4": [(3, 49)],  # more than a snippet too far: a contradiction, left for the evaluation to name
        "missing.mp4": [(0, 99)],
    }


def test_ground_truth_covers_whole_snippets() -> None:
    labels = {"a": Label(True, "test")}
    published = Dataset(labels, {"a": [(10, 32)]})
    own = Dataset(labels, {"a": [(10, 20)]}, exact=True)
    np.testing.assert_array_equal(np.flatnonzero(published.frame_truth("a", 20)), range(10, 32))
    np.testing.assert_array_equal(np.flatnonzero(own.frame_truth("a", 20)), range(10, 20))
    assert len(own.frame_truth("a", 20)) == 32
    with pytest.raises(LabelError, match="19 frames"):
        own.frame_truth("a", 19)
