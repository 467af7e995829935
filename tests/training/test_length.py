"""How long training is where nobody says: by the videos, by validation, or as a run has begun."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.killed import Killed, kill

from ssrl_pipeline import checkpoint as checkpoints
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.data.splits import Split
from ssrl_pipeline.settings import ModelSettings, Settings, TrainSettings
from ssrl_pipeline.training import length
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.held_out import folds as module
from ssrl_pipeline.training.kinds.ssrl import train_ssrl
from ssrl_pipeline.training.length import fitted, split_for
from ssrl_pipeline.training.run_folder import read_evaluations
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

ALONE = Group(torch.device("cpu"))


def split(count: int, val: bool = True) -> Split:
    return Split({f"v{i}": i % 2 == 0 for i in range(count)}, {"n": False, "a": True} if val else {})


@pytest.mark.parametrize(
    ("videos", "batch", "every"), [(10, 4, 25), (30, 4, 25), (64, 8, 25), (1600, 16, 50), (9600, 16, 100)]
)
def test_batch_and_evaluations_are_by_the_number_of_videos(
    tmp_path: Path, videos: int, batch: int, every: int
) -> None:
    found = fitted(TrainSettings(), split(videos), tmp_path, 1)
    assert (found.batch_size, found.evaluate_every) == (batch, every)
    assert (found.steps, found.patience) == (1000, 8)
    assert fitted(TrainSettings(accumulate=3), split(videos), tmp_path, 2).batch_size % 6 == 0


def test_numbers_that_are_given_stay_and_mean_what_they_did(tmp_path: Path) -> None:
    found = fitted(TrainSettings(steps=400, batch_size=5, evaluate_every=7), split(1600), tmp_path, 1)
    assert (found.steps, found.batch_size, found.evaluate_every, found.patience) == (400, 5, 7, None)
    assert fitted(TrainSettings(patience=3), split(20), tmp_path, 1).patience == 3
    unjudged = fitted(TrainSettings(), split(20, val=False), tmp_path, 1)
    assert (unjudged.steps, unjudged.patience) == (100, None)
    for name in ("reference", "ucf_crime", "shanghaitech", "xd_violence"):
        train = load_config(Settings, name, (), {}).train
        assert None not in (train.steps, train.batch_size, train.evaluate_every) and train.patience is None
        assert fitted(train, split(10), tmp_path, 1) == train


@pytest.mark.parametrize(
    ("how", "videos", "kept"),
    [
        ({}, 199, 0),  # folds find the length
        ({}, 200, 80),
        ({"steps": 100}, 10, 4),
        ({"steps": 100}, 9, 0),
        ({"schedule": "staged"}, 10, 4),
        ({"select_on": "test"}, 10, 4),
        ({"val_fraction": 0.0}, 200, 0),
    ],
)
def test_more_videos_are_asked_for_where_those_kept_find_the_length(
    how: dict[str, Any], videos: int, kept: int
) -> None:
    labels = {f"{kind}{i}": Label(kind == "a", None) for kind in "na" for i in range(videos)}
    assert len(split_for(labels, TrainSettings(**how)).val) == kept
    named = {"n": Label(False, "val"), "a": Label(True, "val")}
    assert list(split_for(labels | named, TrainSettings(**how)).val) == ["n", "a"]


@pytest.fixture
def store(tiny_store):
    names = [f"{kind}{i}" for kind in "na" for i in range(4)]
    return tiny_store(dict.fromkeys(names, 8), {video: (4, 5) for video in names if video[0] == "a"})


LABELS = {f"{kind}{i}": Label(kind == "a", None) for kind in "na" for i in range(4)}


def test_a_run_goes_on_with_the_numbers_it_began_with(store, tmp_path: Path) -> None:
    """As one of the version before, whose steps, batch and evaluations were always numbers."""
    old = TrainSettings(steps=12, evaluate_every=4, batch_size=2, segments=8)
    whole = train_ssrl(store, LABELS, tmp_path / "whole", ModelSettings(), old, ALONE)

    with pytest.raises(Killed):
        train_ssrl(store, LABELS, tmp_path / "old", ModelSettings(), old, ALONE, kill)
    state = checkpoints.load(tmp_path / "old" / "last.pt")
    assert "false_alarms" not in state["identity"]["train"]
    left = TrainSettings(segments=8)
    found = train_ssrl(store, LABELS, tmp_path / "old", ModelSettings(), left, ALONE)
    assert [e.step for e in read_evaluations(tmp_path / "old")] == [4, 8, 12]
    expected = load_checkpoint(whole).weights
    assert all(torch.equal(v, expected[n]) for n, v in load_checkpoint(found).weights.items())


def test_a_few_videos_are_trained_on_for_as_long_as_folds_find_best(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST_FOLD", 30)
    caplog.set_level("INFO")
    training = TrainSettings(segments=8, batch_size=2, evaluate_every=10)
    settings = Settings(model=ModelSettings(dropout=0.2), train=training)
    task = Task(settings, tmp_path / "run", store, LABELS, ALONE)
    checkpoint = load_checkpoint(train_detector(task))
    folds = sorted((tmp_path / "run" / "folds").glob("length*/fold.json"))
    steps = sorted(json.loads(path.read_text())["step"] for path in folds)
    assert len(steps) == 4 and set(steps) <= {0, 10, 20, 30}
    median = round((steps[1] + steps[2]) / 2)
    assert checkpoint.provenance["step"] == checkpoint.settings["train"]["steps"] == median
    assert sorted(checkpoint.videos("train")) == sorted(LABELS)
    assert checkpoint.provenance["threshold"]["split"] == "out of fold"
    rivals = [json.loads(path.read_text())["validation"] for path in folds]
    own, probe = (sum(each[name] for each in rivals) / 4 for name in ("auc", "probe_auc"))
    line = f"mean AUC of the videos held out: {own:.3f}; a linear probe reaches {probe:.3f}"
    assert line in caplog.text
    # The same again finds all of it done.
    assert load_checkpoint(train_detector(task)).sha256 == checkpoint.sha256


def test_a_run_that_keeps_videos_to_find_its_length_goes_on_so(tiny_store, tmp_path: Path) -> None:
    """As a version before did from ten videos on."""
    labels = {f"{kind}{i}": Label(kind == "a", None) for kind in "na" for i in range(10)}
    store = tiny_store(dict.fromkeys(labels, 8), {video: (4, 5) for video in labels if video[0] == "a"})
    training = TrainSettings(segments=8, batch_size=2, evaluate_every=4, patience=1)

    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_ssrl(store, labels, run, ModelSettings(), training, ALONE, kill)
    checkpoint = load_checkpoint(train_detector(Task(Settings(train=training), run, store, labels, ALONE)))
    assert len(checkpoint.videos("val")) == 4 and not (run / "folds").exists()
    assert checkpoint.provenance["threshold"]["split"] == "validation videos"


@pytest.mark.parametrize("kind", ["fused", "auto"])
def test_a_blend_of_few_videos_has_an_ssrl_of_the_usual_length_without_evidence(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(length, "USUAL", 6)
    training = TrainSettings(segments=8, batch_size=2, false_alarms=0.0)
    settings = Settings(model=ModelSettings(kind=kind), train=training)
    train_detector(Task(settings, tmp_path / "run", store, LABELS, ALONE))
    ssrl = load_checkpoint(tmp_path / "run" / "ssrl" / "best.pt")
    assert ssrl.build().probe is None and ssrl.provenance["step"] == 6
    assert not list((tmp_path / "run").rglob("length*"))


def test_a_part_that_a_version_before_began_with_evidence_goes_on_with_it(store, tmp_path: Path) -> None:
    task = Task(Settings(model=ModelSettings(kind="fused")), tmp_path / "run", store, LABELS, ALONE)
    assert not task.of_part("ssrl").settings.model.evidence
    old = TrainSettings(steps=4, evaluate_every=2, batch_size=2, segments=8)
    with pytest.raises(Killed):
        train_ssrl(store, LABELS, tmp_path / "run" / "ssrl", ModelSettings(), old, ALONE, kill)
    part = task.of_part("ssrl")
    assert part.settings.model == ModelSettings(kind="ssrl", evidence=True)
