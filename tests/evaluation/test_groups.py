"""Figures by group, and alarms a day, from scores that are laid out by hand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.evaluation.bootstrap import weighted_figures
from ssrl_pipeline.evaluation.groups import count_alarms, group_figures
from ssrl_pipeline.evaluation.metrics import frame_metrics
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.times import FrameTimes
from tests.helpers.commands import run_main

RULE = EventRule(threshold=0.5, gap=1.0)


def laid_out() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Label]]:
    """Two cameras of ten frames a second; the second has no abnormal video, and raises two alarms."""
    random = np.random.default_rng(0)
    scores = {video: (random.random(600) * 0.4).astype(np.float32) for video in ("a", "n", "m", "alone")}
    truth = {video: np.zeros(600, bool) for video in scores}
    truth["a"][100:200] = True
    scores["m"][100:130] = scores["m"][300:330] = 0.75
    scores["m"][135] = 0.9  # within a second: of the first
    groups = {"a": "gate", "n": "gate", "m": "door", "alone": None}
    return scores, truth, {v: Label(bool(truth[v].any()), "test", g) for v, g in groups.items()}


def test_each_group_has_its_own_figures_and_alarms() -> None:
    scores, truth, labels = laid_out()
    times = {video: FrameTimes(10.0) for video in scores}
    found = group_figures(scores, truth, times, labels, dict.fromkeys(scores, RULE))
    assert list(found) == ["door", "gate"]
    gate, door = found["gate"], found["door"]
    pooled = [np.concatenate([values["a"], values["n"]]) for values in (truth, scores)]
    assert gate.metrics.auc == pytest.approx(roc_auc_score(*pooled))
    assert (gate.metrics.videos, gate.metrics.abnormal_videos, gate.metrics.false_alarm_rate) == (2, 1, 0)
    assert np.isnan(door.metrics.auc) and door.summary()["auc"] is None
    assert door.metrics.false_alarm_rate == pytest.approx(61 / 600)
    # Two alarms in a minute of normal video; none in the other minute, of which three at most may be.
    assert door.alarms.per_day == pytest.approx(2 * 60 * 24)
    assert door.alarms.most_per_day == pytest.approx(chi2.ppf(0.95, 6) / 2 * 60 * 24)
    assert gate.alarms.per_day == 0
    assert gate.alarms.most_per_day == pytest.approx(-np.log(0.05) * 60 * 24)
    every = count_alarms(scores, truth, times, dict.fromkeys(scores, RULE))
    assert every.per_day == pytest.approx(2 * 60 * 24 / 3) and every.hours == pytest.approx(3 / 60)


def test_each_camera_is_judged_by_its_own_threshold() -> None:
    scores, truth, labels = laid_out()
    times = {video: FrameTimes(10.0) for video in scores}
    high = dataclasses.replace(RULE, threshold=0.8)
    rules = {video: high if labels[video].group == "door" else RULE for video in scores}
    found = group_figures(scores, truth, times, labels, rules)
    assert found["door"].metrics.threshold == 0.8 and found["gate"].metrics.threshold == 0.5
    assert found["door"].metrics.false_alarm_rate == pytest.approx(1 / 600)  # of 61 frames, one reaches 0.8
    scores["n"][:60] = 0.6  # an alarm at the gate; the door's two of 0.75 are none
    every = count_alarms(scores, truth, times, rules)
    assert every.hours == pytest.approx(3 / 60) and every.per_day == pytest.approx(60 * 24 / 3)
    thresholds = {video: rule.threshold for video, rule in rules.items()}
    assert frame_metrics(scores, truth, thresholds).false_alarm_rate == pytest.approx(61 / 1800)
    assert np.isnan(frame_metrics(scores, truth, thresholds).threshold)
    drawn = weighted_figures(scores, truth, np.ones((1, 4)), thresholds)
    assert drawn["false_alarm_rate"] == pytest.approx(61 / 1800)


def test_what_cannot_be_counted_is_not() -> None:
    scores, truth, _ = laid_out()
    times = {video: FrameTimes(0.0) for video in scores}
    assert count_alarms(scores, truth, times, dict.fromkeys(scores, RULE)).per_day is None
    only = {"a": truth["a"]}
    assert count_alarms(scores, only, {"a": FrameTimes(10.0)}, {"a": RULE}) == (None, None, None)


def test_the_command_shows_groups(
    tiny_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = {"gate/a.mp4": True, "gate/n.mp4": False, "door/n.mp4": False, "door/train.mp4": False}
    store = tiny_store(dict.fromkeys(videos, 5), root=tmp_path / "features")
    torch.manual_seed(0)
    model = SSRL(16, ["2x3"], crops=1, patches="max").eval()
    save_checkpoint(tmp_path / "best.pt", Checkpoint.of(model, store.recipe, {}, {}))
    rows = [
        f"{v},{'abnormal' if a else 'normal'},{'train' if 'tr' in v else 'test'}" for v, a in videos.items()
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split", *rows]))
    (tmp_path / "intervals.csv").write_text("video,start,end\ngate/a.mp4,10,40\n")
    monkeypatch.chdir(tmp_path)
    asked = ("evaluate", "--checkpoint", "best.pt", "-o", "data.group=folder", "--bootstrap", "0")
    assert run_main(*asked, "--out", "here") == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert [line[:3] for line in lines if line[:1] in (["gate"], ["door"])] == [
        ["door", "1", "0"],
        ["gate", "2", "1"],
    ]
    assert "alarms a day" in said.out
    assert "group 'door' is in the splits train and test" in said.err
    written = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert set(written["groups"]) == {"gate", "door"} and written["groups"]["gate"]["frames"] == 160
    assert run_main(*asked[:3], "--bootstrap", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"] == {}
