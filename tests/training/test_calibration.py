"""A training ends calibrated: at a score of 0.5 no more normal frames alarm than asked for."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.events.rule import EventSettings, choose_rule
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.scoring.stored import score_stored
from ssrl_pipeline.settings import ModelSettings, Settings, TrainSettings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.held_out.calibration import MARGIN, calibrated, describe, most_likely_share
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector
from tests.helpers.commands import run_main

CPU = torch.device("cpu")
NORMAL = [f"n{i}" for i in range(8)]
ABNORMAL = [f"a{i}" for i in range(8)]


@pytest.fixture
def store(tiny_store):
    return tiny_store(dict.fromkeys([*NORMAL, *ABNORMAL], 10), {video: (4, 5) for video in ABNORMAL})


def labels(val: int, group: str | None = None) -> Labels:
    """Videos of which the last of either kind are for validation."""
    kinds = ((NORMAL, False), (ABNORMAL, True))
    return {
        video: Label(abnormal, "val" if i >= 8 - val else "train", group)
        for videos, abnormal in kinds
        for i, video in enumerate(videos)
    }


def task(store, run: Path, kind: str, known: Labels, **changes: object) -> Task:
    training = TrainSettings(steps=20, evaluate_every=10, segments=8, batch_size=4, **changes)
    return Task(Settings(model=ModelSettings(kind=kind), train=training), run, store, known, Group(CPU))


def share_above(checkpoint: Checkpoint, store, videos: list[str]) -> float:
    model = checkpoint.build()
    return float(np.mean([score_stored(video, model, store, CPU) >= 0.5 for video in videos]))


@pytest.mark.parametrize("kind", ["ssrl", "memory", "fused"])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_every_kind_alarms_at_a_half_as_often_as_asked(
    store, tmp_path: Path, kind: str, share: float
) -> None:
    best = train_detector(task(store, tmp_path / "run", kind, labels(val=4), false_alarms=share))
    checkpoint = load_checkpoint(best)
    # 40 normal snippets were held out: two of them may alarm, or twelve.
    assert share_above(checkpoint, store, NORMAL[4:]) == pytest.approx(share)
    record = checkpoint.provenance["threshold"]
    assert (record["value"], record["asked"], record["videos"], record["frames"]) == (0.5, share, 4, 640)
    assert record["share"] == pytest.approx(share)
    chosen = choose_rule(EventSettings(), record)
    assert chosen.rule.threshold == 0.5
    assert (
        chosen.origin
        == f"the checkpoint, calibrated to {share:g} false alarms per frame on validation videos"
    )
    assert "4 normal videos alarm (validation videos)" in describe(checkpoint)


@pytest.mark.parametrize("kind", ["ssrl", "memory", "fused", "probe", "auto"])
def test_without_validation_videos_the_others_are_held_out_in_turn(store, tmp_path: Path, kind: str) -> None:
    best = train_detector(task(store, tmp_path / "run", kind, labels(val=0), false_alarms=0.1))
    checkpoint = load_checkpoint(best)
    record = checkpoint.provenance["threshold"]
    assert (record["split"], record["videos"], record["share"]) == ("out of fold", 8, pytest.approx(0.1))
    assert checkpoint.level != 0
    assert set(NORMAL) <= set(checkpoint.videos("train"))


def test_scores_stay_as_trained_where_that_is_asked_for(store, tmp_path: Path) -> None:
    best = train_detector(task(store, tmp_path / "a", "ssrl", labels(val=4), false_alarms=0.0))
    plain = load_checkpoint(best)
    assert plain.level == 0 and "threshold" not in plain.provenance
    assert "not calibrated" in describe(plain)
    assert not (best.parent / "folds").exists()
    # The same run goes on to be calibrated, and its weights are the same.
    later = load_checkpoint(train_detector(task(store, tmp_path / "a", "ssrl", labels(val=4))))
    assert later.level != 0
    assert all(torch.equal(later.weights[name], value) for name, value in plain.weights.items())


def test_frames_count_by_the_video_and_the_group() -> None:
    # One frame in a hundred of independent sources: Clopper and Pearson's bounds, from their tables.
    assert most_likely_share(0, 10) == pytest.approx(0.2589, abs=1e-4)
    assert most_likely_share(0.1, 10) == pytest.approx(0.3942, abs=1e-4)
    assert most_likely_share(1, 3) == 1
    assert most_likely_share(0.01, 100) < most_likely_share(0.01, 20)


def test_a_group_counts_as_one(store) -> None:
    torch.manual_seed(0)
    checkpoint = Checkpoint.of(SSRL(16, ["2x3"], crops=1, patches="max").eval(), store.recipe, {}, {})
    scores = {video: np.linspace(0.1, 0.9, 10, dtype=np.float32) for video in NORMAL}
    alone = calibrated(checkpoint, scores, store, labels(0), 0.1, "x").provenance["threshold"]
    joined = calibrated(checkpoint, scores, store, labels(0, "gate"), 0.1, "x").provenance["threshold"]
    assert (alone["groups"], joined["groups"]) == (8, 1)
    assert alone["share"] == joined["share"] == pytest.approx(0.1) and alone["most"] < joined["most"]
    found = calibrated(checkpoint, scores, store, labels(0), 0.1, "x")
    second = float(np.log(scores["n0"][-2]) - np.log1p(-scores["n0"][-2]))
    assert found.level == pytest.approx(second, abs=2 * MARGIN)
    assert calibrated(found, scores, store, labels(0), 0.1, "x").level == found.level  # not twice


def test_train_says_how_sure_it_is_and_calibrate_goes_on_from_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    short = ("-o", "train.steps=10", "-o", "train.batch_size=4", "-o", "train.false_alarms=0.25")
    assert run_main("train", "--name", "first", *short) == 0
    said = capsys.readouterr().out
    assert "calibrated: from a score of 0.5 on, 25 % of 512 frames of 4 normal videos alarm" in said
    assert "4 independent sources" in said
    before = load_checkpoint(Path("runs/first"))
    assert run_main("calibrate", "--false-alarms", "0.125", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    after = load_checkpoint(Path("runs/first"))
    assert after.level == before.level and after.sha256 == before.sha256
    assert told["threshold"]["value"] > 0.5  # among calibrated scores
    assert told["threshold"]["share"] == 0.125
    rule = choose_rule(EventSettings(), after.provenance["threshold"]).rule
    assert rule.threshold == told["threshold"]["value"]
    assert dataclasses.replace(after, provenance={}).level == before.level
