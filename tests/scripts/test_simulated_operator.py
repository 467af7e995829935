"""The simulated operator on made-up footage: what it counts, for Ped2's kind of truth and for clips."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from operator_footage import read_footage
from simulated_operator import Counted, glance_row, rows

from ssrl_pipeline.features.store import FeatureStore

ABNORMAL = tuple(f"a{i}.mp4" for i in range(8))
NORMAL = tuple(f"n{i}.mp4" for i in range(8))
TRAINED = (*ABNORMAL[:3], *NORMAL[1:6:2])


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore], tmp_path: Path) -> FeatureStore:
    """Snippets 3 and 4 of abnormal videos are strange, and the last one of normal ones that are tested."""
    planted = dict.fromkeys(ABNORMAL, (3, 4)) | dict.fromkeys(set(NORMAL) - set(TRAINED), (7,))
    return tiny_store(dict.fromkeys((*ABNORMAL, *NORMAL), 8), planted, root=tmp_path / "features")


@pytest.fixture
def ped2(tmp_path: Path) -> Path:
    folder = tmp_path / "ped2"
    folder.mkdir()
    labels = [f"videos/{v},{'abnormal' if v in ABNORMAL else 'normal'}" for v in (*ABNORMAL, *NORMAL)]
    (folder / "labels.csv").write_text("\n".join(["video,label", *labels]))
    intervals = [f"videos/{video},48,80" for video in ABNORMAL]
    (folder / "intervals.csv").write_text("\n".join(["video,start,end", *intervals]))
    train = [f"videos/{video}" for video in TRAINED]
    (folder / "draws.json").write_text(json.dumps([{"train": train}] * 2))
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    rows = [
        f"{video},{label},{'train' if video in TRAINED else 'test'},{'gate' if i % 4 else 'yard'}"
        for label, videos in (("abnormal", ABNORMAL), ("normal", NORMAL))
        for i, video in enumerate(videos)
    ]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(["video,label,part,place", *rows]))
    return path


def test_halves_part_what_is_tested(store: FeatureStore, ped2: Path) -> None:
    first, second = read_footage(store, ped2, (0, 1)).draws
    (watch,) = first.watches
    tested = {video for video, one in first.labels.items() if one.split == "test"}
    assert {*watch.reviewed, *watch.others} == tested and len(tested) == 10
    assert not {*watch.reviewed} & {*watch.others}
    assert sum(video in ABNORMAL for video in watch.reviewed) == 3
    assert watch.reviewed != second.watches[0].reviewed


def test_a_place_is_a_camera_and_a_clip_an_event(store: FeatureStore, clips: Path) -> None:
    footage = read_footage(store, clips, (0,))
    assert [watch.name for watch in footage.draws[0].watches] == ["gate", "yard"]
    assert not footage.exact and footage.intervals == {video: [(0, 128)] for video in ABNORMAL}


def test_events_lost_and_found_are_those_of_each_draw() -> None:
    def counted(false: int, *found: int) -> Counted:
        return Counted(1.0, 1.0, false, 0.5, frozenset(("a", one) for one in found), 3)

    draws = [[counted(4, 0, 1), counted(1, 1, 2)], [counted(2, 0), counted(2, 0)]]
    assert rows(draws)[1] == ("1.0", "1.0", "3.0 ± 1.0", "50%", 3, 1, 1, 6)


def test_a_click_an_event_is_summed_up_over_draws() -> None:
    assert glance_row([(0.9, 0.95), (0.8, 0.79)])[2:] == ("0.020 ± 0.030", 1, 2)


@pytest.mark.parametrize("truth", ["ped2", "clips"])
def test_a_memory_stops_alarming_at_what_was_called_normal(
    store: FeatureStore,
    truth: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = request.getfixturevalue(truth)
    kinds = ["memory", "probe"] if truth == "ped2" else ["memory"]
    few = ["--draws", 0, "--clicks", 0, 20, "--models", *kinds, "--runs", tmp_path / "runs"]
    monkeypatch.setattr(sys, "argv", ["simulated_operator.py", *map(str, [store.root, path, *few])])
    importlib.import_module("simulated_operator").main()
    told = capsys.readouterr().out
    before, after = [line.split() for line in told.splitlines() if line.startswith("memory  ")]
    assert float(after[3]) < float(before[3]), told
    assert ("a click an event" in told) == (truth == "ped2")
