"""Cross-validation: each video is scored by a detector that did not learn from it, once."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.settings import ModelSettings, Settings, TrainSettings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.held_out.folds import run_folds
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import TRAINERS
from tests.helpers.commands import run_main

LABELS: Labels = {f"v{i}": Label(i % 2 == 1, None, f"camera {i // 2 % 4}") for i in range(16)}
LABELS |= {"test": Label(True, "test")}


@pytest.fixture
def store(tiny_store):
    planted = {video: (4, 5) for video, label in LABELS.items() if label.abnormal}
    return tiny_store({video: 5 + row for row, video in enumerate(LABELS)}, planted)


def task(store, run: Path, kind: str = "ssrl", **changes: object) -> Task:
    training = TrainSettings(steps=20, evaluate_every=10, segments=8, batch_size=4, **changes)
    settings = Settings(model=ModelSettings(kind=kind), train=training)
    return Task(settings, run, store, LABELS, Group(torch.device("cpu")))


@pytest.mark.parametrize("kind", ["ssrl", "memory", "fused"])
def test_no_video_is_scored_by_what_has_learnt_from_its_group(store, tmp_path: Path, kind: str) -> None:
    learnt = []

    def train(part: Task) -> None:
        TRAINERS[kind].train(part)
        learnt.append({LABELS[v].group for v in load_checkpoint(part.run / "best.pt").videos("train")})
        assert "test" not in part.labels

    own = task(store, tmp_path / "run", kind)
    scores = run_folds(own, 4, train).scores
    assert sorted(scores) == sorted(set(LABELS) - {"test"})
    assert {video: len(values) for video, values in scores.items()} == {
        video: store.meta(video).snippets for video in scores
    }
    parts = [
        json.loads((tmp_path / "run" / "folds" / f"fold{i}" / "fold.json").read_text()) for i in range(4)
    ]
    for part, groups in zip(parts, learnt, strict=True):
        assert not groups & {LABELS[video].group for video in part["videos"]}
    assert not list((tmp_path / "run").rglob("*.pt"))  # they have served

    def never(part: Task) -> None:
        raise AssertionError("a fold that is done is not done again")

    again = run_folds(own, 4, never).scores
    assert all(np.array_equal(again[video], scores[video]) for video in scores)
    with pytest.raises(AssertionError, match="not done again"):  # of other settings: it is
        run_folds(task(store, tmp_path / "run", kind, average=0.5), 4, never)


def test_an_unfinished_fold_of_other_settings_is_begun_anew(store, tmp_path: Path) -> None:
    """As one that a version before has left, which kept some of its videos to find its length."""

    def killed(part: Task) -> None:
        TRAINERS["ssrl"].train(part)
        (part.run / "best.pt").unlink()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_folds(task(store, tmp_path / "run", average=0.5), 4, killed)
    assert (tmp_path / "run" / "folds" / "fold0" / "last.pt").exists()
    own = task(store, tmp_path / "run")
    found = run_folds(own, 4, TRAINERS["ssrl"].train).scores
    expected = run_folds(task(store, tmp_path / "new"), 4, TRAINERS["ssrl"].train).scores
    assert all(np.array_equal(found[video], scores) for video, scores in expected.items())


def test_a_fold_is_done_again_once_a_video_is_extracted_anew(store, tmp_path: Path) -> None:
    own, trained = task(store, tmp_path / "run", "memory"), []

    def train(part: Task) -> None:
        trained.append(part.run.name)
        TRAINERS["memory"].train(part)

    before = run_folds(own, 4, train).scores
    features, meta = {name: rows + 1.0 for name, rows in store.read("v0").items()}, store.meta("v0")
    with store.writer("v0") as writer:
        writer.append(features)
        writer.meta = meta
    after = run_folds(own, 4, train).scores
    assert trained == 2 * [f"fold{i}" for i in range(4)]  # each learns from it or holds it out
    assert not np.array_equal(before["v0"], after["v0"])


def test_the_command_reports_the_folds_and_learns_from_all(
    tiny_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = {video: (4, 5) for video, label in LABELS.items() if label.abnormal}
    tiny_store(dict.fromkeys(LABELS, 8), planted, root=tmp_path / "features")
    rows = [f"{v},{'abnormal' if a else 'normal'},{s or ''},{g or ''}" for v, (a, s, g, _) in LABELS.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split,group", *rows]))
    monkeypatch.chdir(tmp_path)
    short = ("-o", "train.steps=20", "-o", "train.batch_size=4", "-o", "train.optimiser.lr=0.003")
    assert run_main("train", "--name", "all", "--folds", "4", *short, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    checkpoint = load_checkpoint(Path("runs/all"))
    assert sorted(checkpoint.videos("train")) == sorted(set(LABELS) - {"test"})
    assert checkpoint.provenance["threshold"]["split"] == "out of fold"
    with Path("runs/all/folds.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 16 and {row["video"] for row in table} == set(LABELS) - {"test"}
    aucs = []
    for fold in range(4):
        own = [row for row in table if row["fold"] == str(fold)]
        truth = [row["label"] == "abnormal" for row in own]
        aucs.append(roc_auc_score(truth, [float(row["score"]) for row in own]))
    assert told["folds"]["auc"] == pytest.approx(aucs)
    assert told["folds"]["mean"] == pytest.approx(np.mean(aucs))
    assert told["folds"]["deviation"] == pytest.approx(np.std(aucs, ddof=1))
    assert told["folds"] == checkpoint.provenance["folds"]
    assert run_main("train", "--name", "all", "--folds", "4", *short) == 0
    assert "AUC of videos held out" in capsys.readouterr().out


def test_the_steps_of_folds_are_their_median(store, tmp_path: Path) -> None:
    found = run_folds(task(store, tmp_path / "run"), 4, TRAINERS["ssrl"].train)
    assert found.steps == 20 and [fold.step for fold in found.folds] == [20] * 4
