"""What the settings say of labels and ground truth: each file read once, and only where it is asked for."""

from pathlib import Path

import pytest

from ssrl_pipeline.data import resolve
from ssrl_pipeline.data.datasets.annotations import Dataset
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.data.resolve import Annotations, intervals_to_show, labels_path
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.settings import DataSettings

LABELS = {"a.mp4": Label(False, "train"), "b.mp4": Label(True, "test")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The datasets that are read, in order."""
    found: list[str] = []

    def load(name: str, annotations: Path, features: object) -> Dataset:
        found.append(name)
        return Dataset(LABELS, {"b.mp4": [(3, 5)]}, exact=True)

    monkeypatch.setattr(resolve, "load_dataset", load)
    return found


def write_tables(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text("video,label,split\na.mp4,normal,train\nb.mp4,abnormal,test\n")
    (folder / "intervals.csv").write_text("video,start,end\nb.mp4,3,5\n")


def test_a_dataset_is_read_once_for_all_that_is_asked(reads: list[str]) -> None:
    known = Annotations(DataSettings(dataset="ucf_crime"), None)
    assert reads == []
    assert (known.labels, known.intervals, known.find_intervals()) == (LABELS, *[{"b.mp4": [(3, 5)]}] * 2)
    assert known.as_dataset() is known.dataset
    assert reads == ["ucf_crime"]


def test_tables_beside_the_videos_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = DataSettings(videos=str(tmp_path / "videos"))
    assert labels_path(data) is None
    assert Annotations(data, None).find_intervals() is None
    write_tables(tmp_path / "videos")
    known = Annotations(data, None)
    assert (known.labels, known.intervals) == (LABELS, {"b.mp4": [(3, 5)]})
    assert known.dataset is None
    assert known.as_dataset().exact


def test_nothing_at_all_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabelError, match=r"data\.labels, data\.features or data\.dataset"):
        Annotations(DataSettings(), None).as_dataset()


def test_what_is_only_shown_may_be_missing_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert intervals_to_show(DataSettings(), said.append) == {}
    assert said == []
    assert intervals_to_show(DataSettings(dataset="ucf_crime"), said.append) == {}
    assert len(said) == 1 and said[0].startswith("no ground truth is shown: ")
    with pytest.raises(LabelError, match=r"mine\.csv"):
        intervals_to_show(DataSettings(intervals="mine.csv"), said.append)
    write_tables(tmp_path / "videos")
    assert intervals_to_show(DataSettings(), said.append) == {"b.mp4": [(3, 5)]}
