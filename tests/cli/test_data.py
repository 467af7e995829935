"""The commands `dataset check` and `store export`, and annotations as the settings name them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Result

from ssrl_pipeline.config import load_config, ready_configs
from ssrl_pipeline.data.datasets.choose import DATASETS
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.data.resolve import Annotations
from ssrl_pipeline.features.released import ReleasedFeatures
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import DataSettings, Settings

UCF_LINES = (
    "Abuse/Abuse028_x264.mp4 75 Abuse 30 40 -1 -1",
    "Arson/Arson011_x264.mp4 64 Arson 10 20 50 64",
    "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4 33 Normal -1 -1 -1 -1",
)
UCF_STORE = {
    "Abuse/Abuse001_x264.mp4": 4,
    "Training_Normal_Videos_Anomaly/Normal_Videos003_x264.mp4": 2,
    "Abuse/Abuse028_x264.mp4": 5,
    "Arson/Arson011_x264.mp4": 4,
    "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4": 3,
}
MASK = np.repeat([0, 1], [3, 17])  # 20 frames


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """A folder of annotations in UCF-Crime's form."""
    folder = tmp_path / "ucf"
    folder.mkdir()
    (folder / "UCF_Annotation.txt").write_text("\n".join(UCF_LINES))
    (folder / "Anomaly_Train.txt").write_text(
        "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos003_x264.mp4\n"
    )
    return folder


@pytest.fixture
def shanghai(tmp_path: Path) -> Path:
    """A folder of annotations in ShanghaiTech's form, with masks and the array of all test videos."""
    folder = tmp_path / "shanghai"
    (folder / "shanghaitech_test_frame_mask").mkdir(parents=True)
    (folder / "SH_Train.txt").write_text("01_0014\n01_001\n")
    (folder / "SH_Test.txt").write_text("01_0015\n01_002\n")
    np.save(folder / "shanghaitech_test_frame_mask" / "01_0015.npy", MASK)
    np.save(folder / "gt-sh.npy", np.r_[MASK, np.ones(12), np.zeros(48)])
    return folder


def problems(result: Result) -> dict[str, list[str]]:
    """kind -> videos, of `dataset check --json`."""
    found: dict[str, list[str]] = {}
    for problem in json.loads(result.out)["problems"]:
        found.setdefault(problem["kind"], []).append(problem["video"])
    return found


def test_a_complete_dataset_passes(
    run: Callable[..., Result], ucf: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store(UCF_STORE | {"more/holiday.mp4": 2})
    arguments = ("dataset", "check", "ucf_crime", "--annotations", ucf, "--features", store.root)
    shown = run(*arguments)
    assert (shown.code, shown.err) == (0, "")
    assert "3 videos, 2 anomalous; 192 frames in whole snippets of 16, 36 anomalous" in shown.out
    assert "1 videos with features are not in the annotations" in shown.out
    content = json.loads(run(*arguments, "--json").out)
    assert content["problems"] == []
    assert content["unlabelled"] == 1
    assert content["totals"] == {
        "videos": 3,
        "abnormal": 2,
        "frames": 80 + 64 + 48,
        "anomalous_frames": 11 + 11 + 14,
        "without_length": 0,
    }
    assert content["groups"][0] == {"split": "train", "kind": "Abuse", "videos": 1, "with_features": 1}
    assert [group["kind"] for group in content["groups"]] == ["Abuse", "Normal", "Abuse", "Arson", "Normal"]


def test_xd_violence_with_a_file_for_each_crop(run: Callable[..., Result], shared: Path) -> None:
    folder = shared / "data" / "faults" / "features" / "xd"
    arguments = ("dataset", "check", "xd_violence", "--annotations", folder / "ann")
    arguments += ("--features", folder / "feat", "-o", "data.layout=released", "--json")
    result = run(*arguments)
    assert result.code == 0, result.err
    content = json.loads(result.out)
    counts = {(group["split"], group["kind"]): group["with_features"] for group in content["groups"]}
    assert counts[("train", "Normal")] == 2
    assert content["totals"] == {
        "videos": 2,
        "abnormal": 1,
        "frames": (16 + 17) * 16,
        "anomalous_frames": 70,
        "without_length": 0,
    }


def test_what_is_missing_or_wrong_is_named(
    run: Callable[..., Result], ucf: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    stored = {video: snippets for video, snippets in UCF_STORE.items() if "001" not in video}
    store = tiny_store(stored | {"Arson/Arson011_x264.mp4": 3})
    (store.root / "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4/clip.npy").unlink()
    text = (ucf / "UCF_Annotation.txt").read_text()
    (ucf / "UCF_Annotation.txt").write_text(text.replace("30 40", "30 90"))
    arguments = ("dataset", "check", "ucf_crime", "--annotations", ucf, "--features", store.root)
    result = run(*arguments, "--json")
    assert result.code == 1
    assert problems(result) == {
        "missing features": ["Abuse001_x264"],
        "wrong length": ["Arson/Arson011_x264.mp4"],
        "damaged features": ["Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4"],
        "ground truth": ["Abuse/Abuse028_x264.mp4"],
    }
    details = {problem["kind"]: problem["detail"] for problem in json.loads(result.out)["problems"]}
    assert "3 snippets" in details["wrong length"]
    assert "64 annotated frames make 4" in details["wrong length"]
    assert "clip.npy" in details["damaged features"]
    assert "80 frames" in details["ground truth"]
    assert "ends at 91" in details["ground truth"]
    shown = run(*arguments)
    assert shown.code == 1
    assert [detail for detail in details.values() if detail not in shown.out] == []
    error = shown.err.splitlines()[-1]
    assert error.startswith("error: ucf_crime: ")
    assert "wrong length: 1" in error


def test_without_features_the_annotations_are_checked_alone(
    run: Callable[..., Result], ucf: Path, shanghai: Path
) -> None:
    result = run("dataset", "check", "ucf_crime", "--annotations", ucf, "--json")
    assert result.code == 1
    assert "features" in result.err
    assert len(problems(result)["missing features"]) == 5
    assert json.loads(result.out)["totals"]["frames"] == 192
    result = run("dataset", "check", "shanghaitech", "--annotations", shanghai, "--json")
    totals = json.loads(result.out)["totals"]
    assert (totals["videos"], totals["frames"], totals["anomalous_frames"]) == (2, 80, 29)
    (shanghai / "gt-sh.npy").unlink()  # nothing else tells how long the normal test video is
    result = run("dataset", "check", "shanghaitech", "--annotations", shanghai, "--json")
    totals = json.loads(result.out)["totals"]
    assert (totals["frames"], totals["without_length"]) == (32, 1)


def test_many_missing_videos_are_counted_and_the_first_shown(run: Callable[..., Result], ucf: Path) -> None:
    (ucf / "Anomaly_Train.txt").write_text("\n".join(f"Abuse/Abuse{i:03}_x264.mp4" for i in range(100, 120)))
    shown = run("dataset", "check", "ucf_crime", "--annotations", ucf)
    assert "missing features: 23" in shown.out
    assert "Abuse104_x264" in shown.out
    assert "Abuse105_x264" not in shown.out
    assert "18 more" in shown.out


@pytest.mark.parametrize(
    ("published", "video"),
    [
        (np.r_[np.zeros(4), np.ones(28), np.zeros(48)], "01_0015"),
        (np.r_[MASK, np.ones(12), np.zeros(32), np.ones(16)], "01_002"),
        (np.r_[MASK, np.ones(12), np.zeros(64)], "all test videos"),
        (np.r_[MASK, np.ones(12), np.zeros(32)], "01_002"),
    ],
)
def test_masks_are_compared_with_the_published_array(
    run: Callable[..., Result],
    shanghai: Path,
    tiny_store: Callable[..., FeatureStore],
    published: np.ndarray,
    video: str,
) -> None:
    store = tiny_store({"01_0014": 3, "01_001": 2, "01_0015": 2, "01_002": 3})
    arguments = ("dataset", "check", "shanghaitech", "--annotations", shanghai, "--json")
    assert run(*arguments, "--features", store.root).code == 0
    np.save(shanghai / "gt-sh.npy", published)
    result = run(*arguments, "--features", store.root)
    assert result.code == 1
    assert problems(result)["ground truth"][0] == video


def test_anomalies_that_are_published_among_normal_videos_are_seen_without_features(
    run: Callable[..., Result], shanghai: Path
) -> None:
    arguments = ("dataset", "check", "shanghaitech", "--annotations", shanghai, "--json")
    assert "ground truth" not in problems(run(*arguments))
    np.save(shanghai / "gt-sh.npy", np.r_[MASK, np.ones(12), np.zeros(40), np.ones(8)])
    assert problems(run(*arguments))["ground truth"] == ["01_002"]


def test_own_labels_are_checked_too(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({"a.mp4": 2, "b.mp4": 3})
    labels, intervals = tmp_path / "labels.csv", tmp_path / "intervals.csv"
    labels.write_text("video,label,split\na.mp4,normal,test\nb.mp4,abnormal,test\n")
    config = tmp_path / "mine.yaml"
    config.write_text(f"data:\n  labels: {labels}\n  features: {store.root}\n")
    result = run("dataset", "check", config, "--json")
    assert problems(result) == {"ground truth": ["b.mp4"]}  # abnormal, and no intervals say where
    intervals.write_text("video,start,end\nb.mp4,10,48\n")
    result = run("dataset", "check", config, "--json")
    assert (result.code, json.loads(result.out)["totals"]["anomalous_frames"]) == (0, 38)
    intervals.write_text("video,start,end\nb.mp4,10,49\n")
    assert problems(run("dataset", "check", config, "--json")) == {"ground truth": ["b.mp4"]}


def test_a_check_of_nothing_says_what_to_set(run: Callable[..., Result], ucf: Path) -> None:
    result = run("dataset", "check", "reference")
    assert result.code == 1
    assert "data.dataset" in result.err
    result = run("dataset", "check", "ucf_crime", "--annotations", ucf / "nowhere")
    assert result.code == 1
    assert str(ucf / "nowhere") in result.err
    assert "data.annotations" in result.err
    result = run("dataset", "check", "reference", "-o", "data.dataset=ucf")
    assert result.code == 2
    assert "ucf_crime" in result.err


@pytest.mark.parametrize(
    ("name", "totals"), [("ucf_crime", (290, 1_114_144, 84_343)), ("shanghaitech", (199, 142_912, 8_028))]
)
def test_real_annotations_give_the_published_totals(
    run: Callable[..., Result], shared: Path, name: str, totals: tuple[int, int, int]
) -> None:
    result = run("dataset", "check", name, "--annotations", shared / "data" / "annotations", "--json")
    found = json.loads(result.out)["totals"]
    assert (found["videos"], found["frames"], found["anomalous_frames"]) == totals
    assert set(problems(result)) == {"missing features"}


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_has_a_ready_config(name: str) -> None:
    settings = load_config(Settings, name, [], {})
    assert name in ready_configs()
    assert settings.data.dataset == name
    assert (settings.train.segments, settings.train.batch_size) == (32, 32)
    reference = load_config(Settings, "reference", [], {})
    assert settings.train.loss == reference.train.loss
    assert settings.train.optimiser == reference.train.optimiser


def data_settings(**values: Any) -> Settings:
    return dataclasses.replace(Settings(), data=DataSettings(**{k: str(v) for k, v in values.items()}))


def test_training_and_evaluation_get_a_dataset_by_the_stores_names(
    ucf: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store(UCF_STORE)
    settings = data_settings(dataset="ucf_crime", annotations=ucf, features=store.root)
    known = Annotations(settings.data, store)
    labels = known.labels
    assert set(labels) == set(UCF_STORE)
    assert labels["Abuse/Abuse028_x264.mp4"] == Label(True, "test")
    assert known.intervals["Arson/Arson011_x264.mp4"] == [(10, 21), (50, 64)]


def test_named_tables_take_the_datasets_place(
    tmp_path: Path, ucf: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store(UCF_STORE)
    (tmp_path / "labels.csv").write_text("video,label\na.mp4,normal\n")
    (tmp_path / "intervals.csv").write_text("video,start,end\na.mp4,0,1\n")
    tables = {"labels": tmp_path / "labels.csv", "intervals": tmp_path / "intervals.csv"}
    settings = data_settings(dataset="ucf_crime", annotations=ucf, features=store.root, **tables)
    known = Annotations(settings.data, store)
    assert known.labels == {"a.mp4": Label(False, None)}
    assert known.intervals == {"a.mp4": [(0, 1)]}


def test_an_export_is_read_back_with_the_same_tables(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({"n/a.mp4": 2, "x/b.mp4": 3, "more.mp4": 1})
    labels, intervals = tmp_path / "labels.csv", tmp_path / "intervals.csv"
    labels.write_text("video,label,split\nn/a.mp4,normal,train\nx/b.mp4,abnormal,test\n")
    intervals.write_text("video,start,end\nx/b.mp4,10,40\n")
    result = run("store", "export", store.root, "out", "--labels", labels, "--segments", 32)
    assert result.code == 0
    assert "'more.mp4'" in result.err
    assert Path("out/train.list").read_text() == "a_i3d.npy\n"
    assert np.load("out/train/a_patch23_i3d.npy").shape == (6, 32, 16)
    settings = data_settings(features="out", layout="released", labels=labels, intervals=intervals)
    known = Annotations(settings.data, ReleasedFeatures(Path("out")))
    assert known.labels == {"a": Label(False, "train"), "b": Label(True, "test")}
    assert known.intervals == {"b": [(10, 40)]}
    checked = run(
        *("dataset", "check", "reference", "--features", "out", "-o", "data.layout=released"),
        *("-o", f"data.labels={labels}", "--json"),
    )
    assert checked.code == 0
    assert json.loads(checked.out)["totals"]["frames"] == 48


def test_export_tells_what_it_wrote_and_what_hinders_it(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({"normal/a.mp4": 2, "abnormal/b.mp4": 3})
    result = run("store", "export", store.root, "out", "--json")
    assert result.code == 0
    assert json.loads(result.out) == [
        {"split": "train", "videos": 2, "abnormal": 1, "path": str(Path("out", "train.list"))}
    ]
    result = run("store", "export", store.root, "out", "--segments", 6)
    assert result.code == 1
    assert "--segments 6" in result.err
    result = run("store", "export", tmp_path / "nowhere", "out")
    assert result.code == 1
    assert str(tmp_path / "nowhere") in result.err
    assert run("store", "export", store.root, "out", "--layout", "other").code == 2
