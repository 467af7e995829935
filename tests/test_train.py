"""Training: it learns, it resumes to the bit, it keeps its splits apart, it says what is wrong."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline import train as module
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.distributed import Group
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError, StoreError
from ssrl_pipeline.evaluate import evaluate
from ssrl_pipeline.labels import Label
from ssrl_pipeline.settings import ModelSettings, OptimiserSettings, Settings, TrainSettings
from ssrl_pipeline.splits import split_videos
from ssrl_pipeline.train import Evaluation, TrainResult, train

CPU = torch.device("cpu")
ALONE = Group(CPU)
MODEL = ModelSettings(dropout=0.2)
SETTINGS = TrainSettings(
    schedule="staged", segments=8, steps=30, evaluate_every=10, optimiser=OptimiserSettings(lr=3e-3, warmup=5)
)
LABELS = {f"{split}{i}": Label(i % 2 == 1, split) for split in ("train", "val", "test") for i in range(6)}
PLANTED = (4, 5, 6)  # the anomalous snippets of abnormal videos, of 10


@pytest.fixture
def store(tiny_store):
    abnormal = [video for video, label in LABELS.items() if label.abnormal]
    return tiny_store(dict.fromkeys(LABELS, 10), dict.fromkeys(abnormal, PLANTED))


def run_training(store, run: Path, settings: TrainSettings = SETTINGS, **changes) -> TrainResult:
    return train(
        store, changes.get("labels", LABELS), run, MODEL, settings, ALONE, changes.get("report", print)
    )


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_checkpoint(a).weights, load_checkpoint(b).weights
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_it_learns_when_and_not_only_which(store, tmp_path: Path) -> None:
    result = run_training(store, tmp_path / "run")
    intervals = {video: [(64, 112)] for video, label in LABELS.items() if label.abnormal}
    judged = evaluate(load_checkpoint(result.best), store, LABELS, intervals, "test", CPU)
    assert judged.metrics.videos == 6 and judged.metrics.anomalous_frames == 3 * 48
    assert judged.metrics.auc > 0.95 and judged.metrics.abnormal_auc > 0.95


def test_run_folder(store, tmp_path: Path) -> None:
    reported: list[Evaluation] = []
    result = run_training(store, tmp_path / "run", report=reported.append)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(e["stage"], e["step"]) for e in lines] == [(s, n) for s in (1, 2) for n in (10, 20, 30)]
    assert lines == [e._asdict() for e in reported] == [e._asdict() for e in result.evaluations]
    assert all(e.loss == pytest.approx(e.bags + e.magnitude + e.smoothness + e.sparsity) for e in reported)
    best = load_checkpoint(result.best)
    assert best.provenance["val_loss"] == min(e.val_loss for e in reported if e.stage == 2 and e.val_loss)
    assert best.recipe == store.recipe and best.model["scales"] == ["2x3"]
    assert set(best.provenance["train_videos"]) == {f"train{i}" for i in range(6)}
    written = load_config(Settings, str(tmp_path / "run" / "config.yaml"), [], {})
    assert (written.model, written.train) == (MODEL, SETTINGS)


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_stopped_run_ends_as_one_that_was_not(store, tmp_path: Path, after: int) -> None:
    whole = run_training(store, tmp_path / "whole")
    seen = []

    def stop(evaluation: Evaluation) -> None:
        seen.append(evaluation)
        if len(seen) == after:
            raise Stop

    with pytest.raises(Stop):
        run_training(store, tmp_path / "stopped", report=stop)
    resumed = run_training(store, tmp_path / "stopped")
    assert same_weights(whole.best, resumed.best)
    assert resumed.evaluations == whole.evaluations
    assert run_training(store, tmp_path / "stopped").evaluations == whole.evaluations  # nothing left to do


@pytest.mark.parametrize("freeze", ["scales", "stage"])
def test_what_a_later_stage_leaves_as_it_was(store, tmp_path: Path, freeze: str) -> None:
    run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, freeze=freeze))
    before, after = (load_checkpoint(tmp_path / "run" / f"stage{s}.pt").weights for s in (1, 2))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert bool(changed) == (freeze == "scales")  # there is no older scale here, so all may change
    assert any(name.startswith("patches.2x3") for name in after)


def test_joint_schedule_is_one_stage(store, tmp_path: Path) -> None:
    result = run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, schedule="joint"))
    assert {e.stage for e in result.evaluations} == {2}


def test_seed_decides(store, tmp_path: Path) -> None:
    short = dataclasses.replace(SETTINGS, steps=3)
    runs = [
        run_training(store, tmp_path / str(i), dataclasses.replace(short, seed=seed))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert same_weights(runs[0].best, runs[1].best)
    assert not same_weights(runs[0].best, runs[2].best)


def test_another_run_in_the_folder_is_not_overwritten(store, tmp_path: Path) -> None:
    run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, steps=3))
    with pytest.raises(CheckpointError, match="another --name"):
        run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, steps=4))


def test_a_loss_that_is_not_finite_names_the_videos(store, tmp_path: Path) -> None:
    path = store.root / "train3" / "clip.npy"
    features = np.load(path)
    features[:] = np.nan
    np.save(path, features)
    with pytest.raises(PipelineError, match=r"stage 1, step 1 is not finite; its batch: .*train3"):
        run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, batch_size=3))


def test_labels_that_do_not_fit(store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lacks 1 of .* 'unknown' first; it has 'test0'"):
        run_training(store, tmp_path / "run", labels={**LABELS, "unknown": Label(True, "train")})
    with pytest.raises(LabelError, match="no abnormal video to train on"):
        run_training(store, tmp_path / "run", labels={"train0": Label(False, None)})
    one_class = {name: label for name, label in LABELS.items() if name not in ("val1", "val3", "val5")}
    with pytest.raises(LabelError, match="one class only"):
        run_training(store, tmp_path / "run", labels=one_class)
    with pytest.raises(PipelineError, match="no scale '4x7'; it has 2x3"):
        train(store, LABELS, tmp_path / "r", ModelSettings(scales=("4x7",)), SETTINGS, ALONE)


def test_validation_videos_are_drawn_by_the_seed() -> None:
    labels = {f"v{i}": Label(i < 10, None) for i in range(30)}
    split = split_videos(labels, 0.2, seed=1)
    assert len(split.train) == 24 and not set(split.train) & set(split.val)
    assert list(split.val.values()).count(True) == 2 and list(split.val.values()).count(False) == 4
    assert split == split_videos(labels, 0.2, seed=1) != split_videos(labels, 0.2, seed=2)
    few = {f"v{i}": Label(i < 9, None) for i in range(30)}
    assert split_videos(few, 0.2, seed=0).val == {}
    assert split_videos(labels, 0.0, seed=0).val == {}


def test_batches_and_dropout_depend_on_the_step_alone() -> None:
    assert module._seed(0, 1, 2) == module._seed(0, 1, 2)
    assert (
        len({module._seed(seed, stage, step) for seed in range(3) for stage in range(3) for step in range(3)})
        == 27
    )
