"""A detector of named actions, and the words of events, from a made-up classifier to files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads import save_head, store_of

from ssrl_pipeline import Scorer
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import ConfigError, LabelError, StoreError, WeightsError
from ssrl_pipeline.events.rule import EventSettings
from ssrl_pipeline.events.words import PLACES
from ssrl_pipeline.extractors.backbones.kinetics import action_head
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.scoring.stored import score_snippets
from ssrl_pipeline.settings import ActionSettings
from ssrl_pipeline.training.kinds.actions import add_usual, train_actions

VIDEOS = {"a": 30, "b": 30, "bad": 30}
SHOWN = {"bad": [(t, 4, "riding a bike") for t in range(10, 16)]}
LABELS = {"a": Label(False, None), "b": Label(False, "train"), "bad": Label(True, None)}
SETTINGS = ActionSettings(names=("riding a bike", "skateboarding"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "head.safetensors"
    save_head(path)
    return path


@pytest.fixture
def store(tmp_path: Path, weights: Path) -> FeatureStore:
    return store_of(tmp_path / "features", save_head(weights), VIDEOS, SHOWN)


def train(store: FeatureStore, tmp_path: Path, weights: Path, settings: ActionSettings = SETTINGS) -> Path:
    return train_actions(store, LABELS, tmp_path / "runs" / "x", settings, str(weights), 0)


def test_it_finds_the_action_without_having_learnt(store, tmp_path: Path, weights: Path) -> None:
    checkpoint = load_checkpoint(train(store, tmp_path, weights))
    assert checkpoint.kind == "actions"
    assert checkpoint.model["actions"] == ["riding a bike", "skateboarding"]
    assert checkpoint.provenance["train_videos"] == ["a", "b"]
    model = checkpoint.build()
    scores = {v: score_snippets(v, model, store.read(v), torch.device("cpu")) for v in VIDEOS}
    assert scores["bad"][10:16].min() > 0.5
    rest = np.concatenate([scores["a"], scores["b"], scores["bad"][:10], scores["bad"][16:]])
    assert rest.max() < scores["bad"][10:16].min()
    normal = np.concatenate([scores["a"], scores["b"]])
    assert (normal > 0.5).sum() <= 1 and np.median(normal) == pytest.approx(0.1, abs=0.01)


def test_mistakes_are_told_in_one_line(store, tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ConfigError, match="needs their names: --actions"):
        train(store, tmp_path, weights, ActionSettings())
    with pytest.raises(ConfigError, match="'fighting'; nearest: sword fighting"):
        train(store, tmp_path, weights, ActionSettings(names=("fighting",)))
    with pytest.raises(WeightsError, match="features were made with others"):
        train_actions(store, LABELS, tmp_path / "y", SETTINGS, None, 0)
    with pytest.raises(LabelError, match="no normal training video"):
        train_actions(store, {"bad": Label(True, None)}, tmp_path / "y", SETTINGS, str(weights), 0)
    store.recipe["views"].pop("patch2x3")
    with pytest.raises(StoreError, match="has no view patch2x3"):
        train(store, tmp_path, weights)
    assert not (tmp_path / "runs" / "x" / "best.pt").exists()


def test_what_is_usual_is_that_of_normal_training_videos(store, tmp_path: Path, weights: Path) -> None:
    best = train(store, tmp_path, weights)
    before = load_checkpoint(best)
    assert before.words == {}
    assert add_usual(best, store, LABELS, SETTINGS, str(weights), 0) is None
    after = load_checkpoint(best)
    assert after.sha256 == before.sha256  # scores are what they were
    head = action_head("i3d", store.recipe["weights_sha256"], weights)
    rows = np.concatenate([store.read(v)["patch2x3"] for v in ("a", "b")]).astype(float)
    logits = rows @ head.weight.double().numpy().T
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(after.words["mean"], log_p.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(after.words["deviation"], log_p.std(axis=0), atol=1e-5)


def test_why_there_are_no_words(store, tmp_path: Path, weights: Path) -> None:
    best = train(store, tmp_path, weights)
    assert "made with others" in add_usual(best, store, LABELS, SETTINGS, None, 0)
    assert "no normal" in add_usual(best, store, {"bad": Label(True, None)}, SETTINGS, str(weights), 0)
    store.recipe["views"].pop("patch2x3")
    assert "no view patch2x3" in add_usual(best, store, LABELS, SETTINGS, str(weights), 0)
    assert load_checkpoint(best).words == {}


@pytest.mark.parametrize("known", [True, False])
def test_events_have_words_and_keep_them(
    known: bool, store, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, make_video
) -> None:
    """The scorer's backbone is I3D's own, of whose features the head takes the first 16 here."""
    best = train(store, tmp_path, weights)
    if known:
        add_usual(best, store, LABELS, SETTINGS, str(weights), 0)
    scorer = _scorer(best, store, weights, monkeypatch)
    video = make_video(tmp_path / "bad.mp4", frames=480, fps=8)
    result = scorer.score_from(store, "bad", video)
    (event,) = result.events
    assert (event.start, event.end) == (160, 256)
    assert event.words[0] == "riding a bike" and event.patch == PLACES[4] == "bottom middle"
    result.save(tmp_path / "out")
    again = type(result).load(tmp_path / "out")
    assert again.events == result.events
    (row,) = csv.DictReader((tmp_path / "out" / "events.csv").read_text().splitlines())
    assert row["words"].split("; ") == list(event.words) and row["patch"] == event.patch
    (told,) = json.loads((tmp_path / "out" / "events.json").read_text())["events"]
    assert told["words"] == list(event.words)
    assert event.looks in (tmp_path / "out" / "events.srt").read_text()


def _scorer(best: Path, store: FeatureStore, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Scorer:
    class Extractor:
        """As of these features, whose backbone there is not."""

        recipe, precision = store.recipe, "float32"
        head = action_head("i3d", store.recipe["weights_sha256"], weights)

        def __init__(self, *arguments: object, **options: object):
            pass

    monkeypatch.setattr("ssrl_pipeline.scoring.scorer.FeatureExtractor", Extractor)
    return Scorer(best, device="cpu", events=EventSettings(threshold=0.7, hysteresis=1.0, gap=0.0))
