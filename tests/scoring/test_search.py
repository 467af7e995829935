"""Moments of an archive, by what is shown in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run_main
from helpers.heads import save_head, store_of

from ssrl_pipeline.errors import ConfigError, StoreError, WeightsError
from ssrl_pipeline.extractors.backbones import action_head, match_actions
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.scoring.search import search_store

VIDEOS = {"cam1/a": 40, "cam1/b": 40, "cam2/c": 3}
SHOWN = {
    "cam1/a": [(5, 0, "riding a bike"), (6, 1, "riding a bike"), (30, 2, "riding a bike")],
    "cam2/c": [(2, 5, "riding mountain bike")],
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "head.safetensors"


@pytest.fixture
def store(tmp_path: Path, weights: Path) -> FeatureStore:
    return store_of(tmp_path / "features", save_head(weights), VIDEOS, SHOWN)


def test_the_best_moments_of_all_videos(store, weights: Path) -> None:
    found = search_store(store, match_actions("bike"), 3, 10.0, str(weights))
    assert (found.videos, found.failed) == (3, [])
    places = {(m.video, m.frame, m.time_s, m.patch) for m in found.moments}
    assert {(m.video, m.frame // 16) for m in found.moments} >= {("cam1/a", 30), ("cam2/c", 2)}
    assert ("cam1/a", 480, 60.0, "top right") in places and ("cam2/c", 32, 4.0, "bottom right") in places
    assert len({p for p in places if p[0] == "cam1/a"}) == 2  # snippets 5 and 6 are one moment
    scores = [m.score for m in found.moments]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0.9


def test_the_score_is_the_probability_in_the_greatest_patch(store, weights: Path) -> None:
    chosen = match_actions("bike")
    found = search_store(store, chosen, 200, 0.0, str(weights)).moments
    assert len(found) == sum(VIDEOS.values())
    head = action_head("i3d", store.recipe["weights_sha256"], weights)
    for moment in found[::17]:
        rows = store.read(moment.video)["patch2x3"][moment.frame // 16].astype(float)
        odds = np.exp(rows @ head.weight.double().numpy().T)
        assert moment.score == pytest.approx((odds[:, chosen].sum(1) / odds.sum(1)).max(), abs=1e-5)


def test_moments_of_a_video_are_apart(store, weights: Path) -> None:
    found = search_store(store, match_actions("bike"), 100, 30.0, str(weights)).moments
    times = sorted(m.time_s for m in found if m.video == "cam1/a")
    assert len(times) > 1 and min(np.diff(times)) >= 30


def test_where_frames_were_chosen_snippets_begin_elsewhere(store, weights: Path) -> None:
    starts = 32 * np.arange(40)  # as of 16 frames a second at --fps 8
    rows = {name: np.array(values) for name, values in store.read("cam1/a").items()}
    with store.writer("cam1/a") as writer:
        writer.append(rows)
        writer.meta, writer.starts = replace(store.meta("cam1/a"), frames=1280, fps=16.0), starts
    found = search_store(store, match_actions("bike"), 1000, 3.0, str(weights)).moments
    own = {m.frame: m.time_s for m in found if m.video == "cam1/a"}
    assert own[960] == 60.0 and all(time == frame / 16 for frame, time in own.items())
    times = sorted(own.values())
    assert min(np.diff(times)) == 4.0  # every second snippet


def test_a_damaged_video_is_named_and_the_rest_is_searched(store, weights: Path, replace_view) -> None:
    values = store.read("cam1/b")["patch2x3"].copy()
    values[7] = np.nan
    replace_view(store, "cam1/b", "patch2x3", values)
    said: list[str] = []
    found = search_store(store, match_actions("bike"), 3, 10.0, str(weights), said.append)
    assert (found.videos, found.failed) == (2, ["cam1/b"])
    assert len(found.moments) == 3 and "cam1/b" in said[0]


def test_what_cannot_be_searched(store, weights: Path) -> None:
    with pytest.raises(WeightsError, match="features were made with others"):
        search_store(store, [0])
    with pytest.raises(ConfigError, match="0 moments"):
        search_store(store, [0], most=0, weights=str(weights))
    store.recipe["views"].pop("patch2x3")
    with pytest.raises(StoreError, match="has no view patch2x3"):
        search_store(store, [0], weights=str(weights))


def test_the_command(store, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("--features", store.root, "--weights", weights, "--most", 2)
    assert run_main("search", "bike", *own, "--json") == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert "actions: biking through snow, riding a bike, riding mountain bike" in told.err
    assert {one["video"] for one in found} <= set(VIDEOS) and len(found) == 2
    assert set(found[0]) == {"score", "video", "frame", "time_s", "patch"}
    assert run_main("search", "bike", *own) == 0
    table = capsys.readouterr().out
    assert all(one["video"] in table for one in found) and table.splitlines()[0].split()[0] == "video"
    assert run_main("search", "burglary", *own) == 2
    assert "nearest: " in capsys.readouterr().err
