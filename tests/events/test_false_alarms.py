"""Thresholds by the false alarms of normal videos: the search, what is stored, and the command."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from scipy.stats import poisson

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.disk.files import write_text
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.evaluation.calibrate import with_threshold
from ssrl_pipeline.events.false_alarms import calibrate, count_false_alarms, share_detected
from ssrl_pipeline.events.find import find_events
from ssrl_pipeline.events.rule import EventRule, EventSettings, choose_rule
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.times import FrameTimes

TIMES = FrameTimes(10.0)
FPS = TIMES.fps
RULE = EventRule(hysteresis=0.75, shortest=0.2, gap=0.4)


def footage(seed: int, videos: int = 5, levels: int = 60) -> dict[str, np.ndarray]:
    """Made-up scores of normal videos, with ties, each score held for 4 frames."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, levels, (videos, 40)) / levels
    return {f"n{i}": np.repeat(values, 4).astype(np.float32) for i, values in enumerate(drawn)}


def below(threshold: float) -> float:
    return float(np.nextafter(np.float32(threshold), np.float32(0)))


def events_at(scores: dict[str, np.ndarray], threshold: float) -> int:
    rule = EventRule(threshold, RULE.hysteresis, RULE.shortest, RULE.gap)
    return sum(len(find_events(values, TIMES, rule)) for values in scores.values())


@pytest.mark.parametrize("asked", [0.0, 0.0001, 0.005, 0.01, 0.05, 0.3, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_of_frames_holds_and_one_step_lower_it_does_not(asked: float, seed: int) -> None:
    scores = footage(seed)
    every = np.concatenate(list(scores.values()))
    found = calibrate(scores, dict.fromkeys(scores, TIMES), asked, "frame", RULE)
    threshold = found.rule.threshold
    assert (every >= threshold).mean() <= asked < (every >= below(threshold)).mean()
    assert found.found.share == (every >= threshold).mean()
    assert found.found.of_frames == 800
    assert found.rule == EventRule(threshold, RULE.hysteresis, RULE.shortest, RULE.gap)
    assert (found.note is not None) == (asked > 0 and found.found.frames == 0)
    assert found.note is not None or asked != 0.0001
    assert found.note is None or f"800 frames of normal video are too few to tell {asked}" in found.note


@pytest.mark.parametrize("allowed", [0, 1, 4, 9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_events_per_hour_hold_at_every_threshold_from_the_chosen_one_up(allowed: int, seed: int) -> None:
    scores = footage(seed)
    hours = 800 / FPS / 3600
    found = calibrate(scores, dict.fromkeys(scores, TIMES), (allowed + 0.5) / hours, "hour", RULE)
    threshold = found.rule.threshold
    levels = [*(float(np.nextafter(np.float32(i / 60), np.float32(1))) for i in range(60))]
    assert threshold in levels
    assert all(events_at(scores, level) <= allowed for level in levels if level >= threshold)
    assert events_at(scores, max(level for level in levels if level < threshold)) > allowed
    assert found.found.events == events_at(scores, threshold)
    assert found.found.per_hour == pytest.approx(found.found.events / hours)
    # At the bound, so few events or fewer come in one of twenty times.
    assert found.found.most_per_hour is not None
    mean = found.found.most_per_hour * hours
    assert poisson.cdf(found.found.events, mean) == pytest.approx(0.05)
    assert (found.note is not None) == (allowed == 0)


def test_many_different_scores_are_searched_in_steps_that_still_hold() -> None:
    rng = np.random.default_rng(0)
    scores = {f"n{i}": rng.random(4000, np.float32) for i in range(2)}
    hours = 8000 / FPS / 3600
    rule = EventRule(shortest=0, gap=0, hysteresis=1)
    found = calibrate(scores, dict.fromkeys(scores, TIMES), 1500.5 / hours, "hour", rule)
    # Of 8000 frames r score above the threshold: about r (1 - r/8000) runs of them.
    assert 0.97 * 1500 <= found.found.events <= 1500
    assert 1900 < found.found.frames < 2150


def test_hours_are_those_of_each_videos_own_rate() -> None:
    scores = {"slow": np.zeros(3600, np.float32), "fast": np.zeros(3600, np.float32)}
    found = calibrate(scores, {"slow": FrameTimes(1.0), "fast": FrameTimes(2.0)}, 0, "hour").found
    assert (found.hours, found.per_hour) == (1.5, 0.0)
    assert found.most_per_hour == pytest.approx(-math.log(0.05) / 1.5)  # the rule of three


def test_hours_and_events_are_those_that_frames_are_shown_in() -> None:
    """Two minutes at a frame a second, with a day between them, and an alarm around it."""
    times = FrameTimes(1.0, np.arange(120.0) + 86400 * (np.arange(120) >= 60))
    scores = {"n": np.where(np.abs(np.arange(120) - 59.5) < 3, 0.9, 0.1).astype(np.float32)}
    rule = EventRule(shortest=2.0, gap=5.0)
    found = calibrate(scores, {"n": times}, 0, "hour", rule).found
    assert (found.hours, found.threshold > 0.9) == (pytest.approx(120 / 3600), True)
    assert count_false_alarms(scores, {"n": times}, rule).events == 2
    assert count_false_alarms(scores, {"n": FrameTimes(1.0)}, rule).events == 1
    assert share_detected(scores, {"n": times}, EventRule(shortest=4.0)) == 0
    assert share_detected(scores, {"n": FrameTimes(1.0)}, EventRule(shortest=4.0)) == 1


def test_scores_of_1_may_be_among_the_alarms_that_are_allowed() -> None:
    scores, times = {"n": np.zeros(36000, np.float32)}, {"n": TIMES}  # an hour
    scores["n"][[100, 5000]], scores["n"][9000] = 1.0, 0.75
    rule = EventRule(shortest=0)
    found = calibrate(scores, times, 2, "hour", rule)
    assert 0.75 < found.rule.threshold <= 1
    assert found.found.events == 2
    with pytest.raises(PipelineError, match="score 1, the highest there is"):
        calibrate(scores, times, 1, "hour", rule)


def test_what_cannot_be_told_is_refused_with_the_way_out() -> None:
    scores, times = {"n": np.full(100, 0.5, np.float32)}, {"n": TIMES}
    for arguments, message in (
        (({}, times, 0.01), "no frames of normal videos"),
        (({"n": np.empty(0, np.float32)}, times, 0.01), "no frames of normal videos"),
        ((scores, times, 1.0), "1 per frame; a share of frames is at least 0 and less than 1"),
        ((scores, times, -1.0, "hour"), "-1 per hour"),
        ((scores, {"n": FrameTimes()}, 1.0, "hour"), "n: its frame rate is unknown.*share of frames"),
        ((scores, times, 1000.0, "hour"), "1 normal videos of 0.00278 hours raise no more than 1000 events"),
        (({"n": np.ones(100, np.float32)}, times, 0.5), "score 1, the highest there is.*ask for more"),
    ):
        with pytest.raises(PipelineError, match=message):
            calibrate(*arguments)
    assert calibrate(scores, {"n": FrameTimes()}, 0.01).found.per_hour is None  # frames need no rate


def test_the_rule_is_that_of_settings_then_checkpoint_then_default() -> None:
    bare = Checkpoint({}, {}, {}, {}, {"step": 3})
    scores = footage(0)
    found = calibrate(scores, dict.fromkeys(scores, TIMES), 0.05)
    calibrated = with_threshold(bare, found, "val")
    told = calibrated.provenance["threshold"]
    assert calibrated.provenance["step"] == 3
    assert "threshold" not in bare.provenance

    own = EventSettings(gap=7.0)
    rule, origin = choose_rule(own, told)
    assert rule == EventRule(threshold=found.rule.threshold, gap=7.0)
    assert origin == "the checkpoint, calibrated to 0.05 false alarms per frame on val"
    rule, origin = choose_rule(own, None)
    assert rule == EventRule(threshold=0.5, gap=7.0)
    assert "not calibrated" in origin
    assert choose_rule(EventSettings(threshold=0.25), told) == (EventRule(threshold=0.25), "the settings")
    for record in ("x", {}, {**told, "value": 7}):
        with pytest.raises(CheckpointError, match="threshold is damaged"):
            choose_rule(own, record)


SNIPPETS = {"a0": 9, "a1": 9, "n0": 30, "n1": 30, "seen": 5, "aside": 20, "t": 10}
SPLITS = {"a0": "val", "a1": "val", "n0": "val", "n1": "val", "seen": "train", "aside": "train", "t": "test"}


@pytest.fixture(scope="module")
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    return tiny_store(SNIPPETS)


@pytest.fixture
def checkpoint(store: FeatureStore, tmp_path: Path) -> Path:
    """Untrained."""
    model = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.0}
    torch.manual_seed(0)
    provenance = {"stage": 2, "step": 5, "train_videos": ["seen"], "val_videos": ["aside"]}
    path = tmp_path / "runs" / "a" / "best.pt"
    save_checkpoint(path, Checkpoint(SSRL(**model).state_dict(), model, store.recipe, {}, provenance))
    os.utime(path, (1000, 1000))
    return path


def run(store: FeatureStore, checkpoint: Path, labels: dict[str, str], *arguments: str) -> Result:
    table = checkpoint.parent / "labels.csv"
    rows = [f"{v},{'abnormal' if v[0] == 'a' and v != 'aside' else 'normal'},{s}" for v, s in labels.items()]
    write_text(table, "\n".join(["video,label,split", *rows]))
    options = ("--checkpoint", checkpoint, "--features", store.root, "--labels", table, "--device", "cpu")
    return CliRunner().invoke(cli, ["calibrate", *map(str, options), *arguments])


def test_the_command_writes_the_threshold_into_the_checkpoint(store: FeatureStore, checkpoint: Path) -> None:
    before = load_checkpoint(checkpoint)
    done = run(store, checkpoint, SPLITS, "--false-alarms", "0.1", "--json")
    assert done.exit_code == 0, done.output
    printed, after = json.loads(done.stdout), load_checkpoint(checkpoint)
    assert after.provenance["threshold"] == printed["threshold"]
    assert {key: after.provenance[key] for key in before.provenance} == before.provenance
    assert (after.model, after.recipe) == (before.model, before.recipe)
    assert all(torch.equal(after.weights[name], value) for name, value in before.weights.items())
    assert checkpoint.stat().st_mtime == 1000  # still the oldest run

    model, snippets = before.build(), []
    for video in ("n0", "n1"):
        views = {name: torch.from_numpy(np.array(value))[None] for name, value in store.read(video).items()}
        with torch.no_grad():
            snippets.extend(model(views).scores[0].tolist())
    sixth, seventh = sorted(snippets, reverse=True)[5:7]  # 10 % of 60 snippets may alarm
    assert seventh < printed["threshold"]["value"] <= sixth
    assert printed["threshold"]["share"] == 0.1
    assert (printed["threshold"]["videos"], printed["threshold"]["frames"]) == (2, 960)
    assert printed["abnormal_videos"] == 2
    assert {line["asked"] for line in printed["tried"]} == {0.02, 0.05, 0.1, 0.2, 0.5, None}

    shown = run(store, checkpoint, SPLITS, "--false-alarms", "0.1")
    assert "2 normal videos, 960 frames, 1.6 minutes; 2 abnormal videos" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if "asked for" in line]
    assert line.split()[:6] == [
        "0.1",
        "per",
        "frame",
        "(asked",
        "for)",
        f"{printed['threshold']['value']:.6g}",
    ]


def test_without_val_labels_those_that_training_set_aside_are_taken(
    store: FeatureStore, checkpoint: Path
) -> None:
    labels = {"seen": "train", "aside": "train", "t": "test"}
    done = run(store, checkpoint, labels, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["threshold"]["frames"] == 16 * SNIPPETS["aside"]
    assert json.loads(done.stdout)["tried"][0]["detected"] is None


def test_test_videos_are_taken_only_where_asked_for(store: FeatureStore, checkpoint: Path) -> None:
    labels = {"seen": "train", "t": "test"}
    before = checkpoint.read_bytes()
    done = run(store, checkpoint, labels)
    assert "no normal val videos" in str(done.exception)
    assert "--split test" in str(done.exception)
    assert checkpoint.read_bytes() == before
    done = run(store, checkpoint, labels, "--split", "test")
    assert done.exit_code == 0, done.output
    assert "no longer a fair judgement" in done.stderr
    assert load_checkpoint(checkpoint).provenance["threshold"]["split"] == "test"


def test_videos_that_were_learned_from_are_refused(store: FeatureStore, checkpoint: Path) -> None:
    done = run(store, checkpoint, {"n0": "val", "seen": "val"})
    assert "'seen' is labelled as of split 'val', but the model learned from it" in str(done.exception)
    done = run(store, checkpoint, {"n0": "val"}, "--false-alarms", "2")
    assert (done.exit_code, "add --per hour" in done.output) == (2, True)
