"""SSRL and the memory in one checkpoint, and that every stage takes all kinds of models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.metrics import log_loss, roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import CheckpointError, LabelError, StoreError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.evaluation.metrics import highest_tenth
from ssrl_pipeline.models import SSRL, FusedDetector, PatchMemory, build_model
from ssrl_pipeline.scoring.stored import score_snippets
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training.kinds.fusion import (
    WeightTrial,
    best_weight,
    fuse,
    train_fused,
    try_weights,
)
from ssrl_pipeline.training.kinds.normal_memory import train_memory

CPU = torch.device("cpu")
TRAIN = {f"n{i}": 12 for i in range(4)}
VAL = {f"v{i}": False for i in range(4)} | {f"w{i}": True for i in range(4)}
TEST = {"t0": False, "t1": True}
PLANTED = {f"w{i}": [3, 4, 5] for i in range(4)} | {"t1": [3, 4, 5]}


@pytest.fixture(scope="module")
def store(tiny_store):
    return tiny_store(TRAIN | dict.fromkeys([*VAL, *TEST], 20), PLANTED)


@pytest.fixture(scope="module")
def ssrl(store) -> Checkpoint:
    """An SSRL that has learned nothing."""
    torch.manual_seed(0)
    arguments = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.0}
    provenance = {"train_videos": ["n0", "n1"], "val_videos": list(VAL)}
    return Checkpoint(SSRL(**arguments).state_dict(), arguments, store.recipe, {"train": {}}, provenance)


@pytest.fixture(scope="module")
def memory(store, tmp_path_factory) -> Checkpoint:
    labels = {video: Label(False, "train") for video in TRAIN}
    run = tmp_path_factory.mktemp("memory")
    return load_checkpoint(train_memory(store, labels, run, MemorySettings(), 0))


@pytest.fixture(scope="module")
def checkpoints(ssrl, memory, store) -> dict[str, Checkpoint]:
    return {"ssrl": ssrl, "memory": memory, "fused": fuse(ssrl, memory, store, VAL, CPU)}


def whole(video: str, checkpoint: Checkpoint, store) -> dict[str, torch.Tensor]:
    features = store.read(video)
    return {n: torch.from_numpy(np.array(features[n]))[None] for n in checkpoint.build().views}


def validation_scores(checkpoint: Checkpoint, store) -> list[np.ndarray]:
    model = checkpoint.build()
    return [score_snippets(video, model, store.read(video), CPU) for video in VAL]


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_score_is_the_weighted_mean_of_log_odds(ssrl, memory, store, weight: float) -> None:
    model = fuse(ssrl, memory, store, {}, CPU).build()
    model.weights = {"ssrl": weight, "memory": 1 - weight}
    output = model(whole("t1", ssrl, store))
    alone = [checkpoint.build()(whole("t1", checkpoint, store)) for checkpoint in (ssrl, memory)]
    odds = [part.scores.double() / (1 - part.scores.double()) for part in alone]
    mean = odds[0] ** weight * odds[1] ** (1 - weight)
    torch.testing.assert_close(output.scores.double(), mean / (1 + mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.parts["memory"], alone[1].scores)
    assert model.views == {"clip": 1, "patch2x3": 6}


def test_weight_is_the_best_of_the_validation_videos(ssrl, memory, store, checkpoints) -> None:
    first, second = (validation_scores(checkpoint, store) for checkpoint in (ssrl, memory))
    truth = list(VAL.values())
    expected = {}
    for weight in (0, 0.25, 0.5, 0.75, 1):  # of 20 snippets the two highest count
        videos = [
            np.sort(expit(weight * logit(a) + (1 - weight) * logit(b)))[-2:].mean()
            for a, b in zip(first, second, strict=True)
        ]
        expected[weight] = (roc_auc_score(truth, videos), -log_loss(truth, videos))
    trials = checkpoints["fused"].provenance["weights_tried"]
    assert {trial["weight"]: (trial["auc"], -trial["cross_entropy"]) for trial in trials} == {
        weight: pytest.approx(values, abs=1e-4) for weight, values in expected.items()
    }
    assert checkpoints["fused"].model["weight"] == max(expected, key=expected.__getitem__)


def test_the_better_model_wins(ssrl, memory, store) -> None:
    trained = max(try_weights(ssrl, memory, store, VAL, CPU), key=lambda t: t.auc)
    assert trained.auc == 1.0 and trained.weight < 1
    turned = {video: not abnormal for video, abnormal in VAL.items()}  # the memory is now always wrong
    trials = {trial.weight: trial for trial in try_weights(ssrl, memory, store, turned, CPU)}
    assert trials[0.0].auc == 0.0
    assert trials[1.0].auc == 1 - {t.weight: t for t in try_weights(ssrl, memory, store, VAL, CPU)}[1.0].auc
    assert fuse(ssrl, memory, store, turned, CPU).model["weight"] == 1.0


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], 0.25),
        ([(0.5, 0.8, 0.3), (0.0, 0.9, 0.9), (1.0, 0.7, 0.1)], 0.0),
        ([(0.5, 0.9, 0.3), (0.0, 0.9, 0.2), (1.0, 0.8, 0.1)], 0.0),
        ([(0.5, 0.9, 0.3), (0.0, 0.9, 0.3), (1.0, 0.9, 0.3)], 0.5),
    ],
)
def test_auc_decides_then_cross_entropy_then_the_order(trials, expected: float) -> None:
    assert best_weight([WeightTrial(*trial) for trial in trials]) == expected


def test_highest_tenth() -> None:
    assert highest_tenth(np.array([1.0, 9.0, 3.0, 2.0, 4.0])) == pytest.approx(16 / 3)
    assert highest_tenth(np.array([1.0, 2.0])) == 1.5
    assert highest_tenth(np.arange(49.0)) == 46.5


def test_without_validation_ssrl_counts_a_quarter(ssrl, memory, store) -> None:
    for val in ({}, {"v0": False, "v1": False}):
        fused = fuse(ssrl, memory, store, val, CPU)
        assert fused.model["weight"] == 0.25
        assert fused.provenance["weights_tried"] == []


def test_what_does_not_belong_together_is_refused(ssrl, memory, store) -> None:
    with pytest.raises(LabelError, match="'n3' is to choose the weight by, but the memory model learned"):
        fuse(ssrl, memory, store, {**VAL, "n3": False}, CPU)
    with pytest.raises(LabelError, match="'n0' .* but the ssrl model learned"):
        fuse(ssrl, memory, store, {**VAL, "n0": False}, CPU)
    with pytest.raises(StoreError, match="lacks 1 of 2"):
        fuse(ssrl, memory, store, {"v0": False, "gone": True}, CPU)
    other = Checkpoint(memory.weights, memory.model, {**memory.recipe, "preset": "paper"}, {}, {})
    with pytest.raises(StoreError, match="recipes differ in preset"):
        fuse(ssrl, other, store, {}, CPU)
    with pytest.raises(ValueError, match="weight is 0 to 1, not 2"):
        FusedDetector({}, {"feature_size": 1024, "views": {"clip": 1}, "size": 1}, weight=2)
    with pytest.raises(ValueError, match="features of different sizes: .*1024.*8"):
        FusedDetector({}, {"feature_size": 8, "views": {"clip": 1}, "size": 1})


def test_train_fused_keeps_validation_and_test_videos_from_the_memory(ssrl, store, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ssrl.pt", ssrl)
    labels = {video: Label(False, None) for video in TRAIN}
    labels |= {video: Label(abnormal, None) for video, abnormal in VAL.items()}
    labels |= {video: Label(abnormal, "test") for video, abnormal in TEST.items()}
    run = tmp_path / "run"
    best = train_fused(store, labels, run, tmp_path / "ssrl.pt", MemorySettings(), 0, CPU)
    fused = load_checkpoint(best)
    assert best == run / "best.pt"
    assert fused.provenance["memory"]["train_videos"] == list(TRAIN)
    assert set(fused.provenance["val_videos"]) == set(VAL)
    assert len(fused.provenance["weights_tried"]) == 5
    result = evaluate_checkpoint(fused, store, labels, {"t1": [(48, 96)]}, "test", CPU)
    assert result.metrics.auc > 0.95
    with pytest.raises(CheckpointError, match="another model"):
        train_memory(store, labels, run, MemorySettings(), 0)


@pytest.mark.parametrize(
    ("kind", "model"), [("ssrl", SSRL), ("memory", PatchMemory), ("fused", FusedDetector)]
)
def test_every_stage_takes_every_kind(kind: str, model: type, checkpoints, store, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", checkpoints[kind])
    checkpoint = load_checkpoint(tmp_path / "best.pt")
    built = checkpoint.build()
    assert checkpoint.kind == kind and type(built) is model and not built.training
    scores = score_snippets("t1", built, store.read("t1"), CPU)
    direct = checkpoints[kind].build()(whole("t1", checkpoint, store)).scores[0]
    np.testing.assert_allclose(scores, direct.detach().numpy(), atol=1e-6)
    assert scores.shape == (20,) and scores.min() >= 0 and scores.max() <= 1
    labels = {video: Label(abnormal, "test") for video, abnormal in TEST.items()}
    result = evaluate_checkpoint(checkpoint, store, labels, {"t1": [(48, 96)]}, "test", CPU)
    np.testing.assert_allclose(result.scores["t1"], np.repeat(scores, 16), atol=1e-6)


def test_a_checkpoint_that_names_no_kind_is_of_ssrl(ssrl) -> None:
    assert "kind" not in ssrl.model
    assert ssrl.kind == "ssrl"
    assert isinstance(ssrl.build(), SSRL)
    with pytest.raises(ValueError, match="no model 'oracle'; there are ssrl, memory, "):
        build_model("oracle")


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 7},
        {"weight": "half"},
        {"ssrl": {"feature_size": 2**20, "scales": ["999999999x999999999"]}},
        {"ssrl": []},
        {"memory": {"kind": "memory"}},
    ],
    ids=str,
)
def test_hostile_parts_are_refused(checkpoints, change: dict) -> None:
    fused = checkpoints["fused"]
    with pytest.raises(CheckpointError, match="differ: "):
        Checkpoint(fused.weights, {**fused.model, **change}, {}, {}, {}).build()
