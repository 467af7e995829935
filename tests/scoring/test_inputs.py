"""Which videos are scored, under which names, and what would collide."""

from pathlib import Path

import pytest

from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.scoring.inputs import find_inputs, match_names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cams/a.mp4", "cams/yard/b.avi", "cams/yard/deep/c.mkv", "cams/notes.txt", "other/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    for name in ("1.jpg", "2.JPG", "list.txt"):
        (tmp_path / "pictures" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["cams"], {n: f"cams/{n}" for n in ("a.mp4", "yard/b.avi", "yard/deep/c.mkv")}),
        (["cams/yard/b.avi", "nowhere.mp4"], {"b.avi": "cams/yard/b.avi", "nowhere.mp4": "nowhere.mp4"}),
        (["cams/*.mp4", "cams/**/c.*"], {"a.mp4": "cams/a.mp4", "c.mkv": "cams/yard/deep/c.mkv"}),
        (["cam?/**"], {"a.mp4": "cams/a.mp4", "b.avi": "cams/yard/b.avi", "c.mkv": "cams/yard/deep/c.mkv"}),
        (["cams/y*"], {"b.avi": "cams/yard/b.avi", "deep/c.mkv": "cams/yard/deep/c.mkv"}),
        (["cams/a.mp4", "./cams/../cams/a.mp4"], {"a.mp4": "cams/a.mp4"}),
    ],
)  # fmt: skip
def test_files_folders_and_patterns(here: Path, inputs: list[str], expected: dict[str, str]) -> None:
    assert find_inputs(inputs, Path("scores")) == {name: Path(path) for name, path in expected.items()}


@pytest.mark.parametrize(
    ("inputs", "mentions"),
    [
        (["cams/a.mp4", "other/a.mp4"], ["cams/a.mp4", "other/a.mp4", "--out"]),
        (["*/a.mp4"], ["cams/a.mp4", "other/a.mp4", "folder that holds both"]),
        (["empty"], ["empty", "no videos"]),
        (["pictures"], ["no videos", "left out 1 folder of pictures: pictures (2 pictures)", "--frames FPS"]),
        (["pictures/*"], ["no video matches", "left out 2", "2 .jpg"]),
        (["cams", "nothing*.mp4"], ["nothing*.mp4", "no video matches"]),
    ],
)
def test_wrong_usage_is_named(here: Path, inputs: list[str], mentions: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        find_inputs(inputs, Path("scores"))
    assert [word for word in mentions if word not in str(error.value)] == []


def test_a_result_never_lies_in_or_replaces_another(here: Path) -> None:
    (here / "deep" / "a.mp4").mkdir(parents=True)
    (here / "deep" / "a.mp4" / "x.mp4").touch()
    with pytest.raises(ConfigError, match=r"would be in the other's folder"):
        find_inputs(["cams/a.mp4", "deep"], Path("scores"))
    with pytest.raises(ConfigError, match=r"a file is where a folder of results is to be"):
        find_inputs(["cams"], Path("cams"))
    (here / "scores" / "a.mp4" / "x.mp4").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds folders"):
        find_inputs(["cams/a.mp4"], Path("scores"))


def test_results_of_before_are_no_input(here: Path) -> None:
    (here / "cams" / "scores" / "a.mp4").mkdir(parents=True)
    (here / "cams" / "scores" / "a.mp4" / "overlay.mp4").touch()
    assert set(find_inputs(["cams"], Path("cams/scores"))) == {"a.mp4", "yard/b.avi", "yard/deep/c.mkv"}
    assert set(find_inputs(["cams/**"], Path("cams/scores"))) == {"a.mp4", "b.avi", "c.mkv"}
    assert "scores/a.mp4/overlay.mp4" in find_inputs(["cams"], Path("scores"))


def test_what_was_left_out_is_told(here: Path) -> None:
    """Except tables beside the videos, hidden files, and results of before."""
    for name in ("labels.csv", ".DS_Store", "scores/a.mp4/timeline.png", "yard/rec.DAV"):
        (here / "cams" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "cams" / name).touch()
    told: list[str] = []
    assert "yard/rec.DAV" in find_inputs(["cams"], Path("cams/scores"), told.append)
    assert told == []
    for name in ("a.jpg", "yard/b.JPG", "c.dat", "no ending", "e. g. this one"):
        (here / "cams" / name).touch()
    find_inputs(["cams"], Path("cams/scores"), told.append)
    find_inputs(["cams/*"], Path("cams/scores"), told.append)
    assert [line.partition(" (")[0] for line in told] == [
        "cams: left out 5 by their endings: 2 .jpg, 2 without an ending, 1 .dat",
        "cams/yard: left out 1 by their endings: 1 .jpg",
        "cams/*: left out 4 by their endings: 2 without an ending, 1 .dat, 1 .jpg",
    ]


def test_a_name_with_brackets_is_a_file(here: Path) -> None:
    (here / "cam[1].mp4").touch()
    assert find_inputs(["cam[1].mp4"], Path("scores")) == {"cam[1].mp4": Path("cam[1].mp4")}


def test_intervals_are_matched_by_name_or_by_a_bare_name_that_is_one_videos() -> None:
    table = {"videos/a.mp4": [(0, 1)], "x/b.mp4": [(1, 2)], "y/b.mp4": [(2, 3)], "c.mp4": [(3, 4)]}
    assert match_names(["a.mp4", "b.mp4"], table) == {"a.mp4": [(0, 1)]}
    assert match_names(["one/c.mp4", "two/c.mp4"], table) == {}
    assert match_names(["x/b.mp4", "c.mp4", "two/c.mp4"], table) == {
        "x/b.mp4": [(1, 2)],
        "c.mp4": [(3, 4)],
    }
