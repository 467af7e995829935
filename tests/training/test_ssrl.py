"""Training: it learns, it resumes to the bit, it keeps its splits apart, it says what is wrong."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.data.splits import split_videos
from ssrl_pipeline.errors import CheckpointError, ConfigError, LabelError, PipelineError, StoreError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.settings import (
    LossSettings,
    ModelSettings,
    OptimiserSettings,
    Settings,
    TrainSettings,
)
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.ssrl import Evaluation, SSRLTrainer, train_ssrl
from ssrl_pipeline.training.length import usual_length
from ssrl_pipeline.training.run_folder import read_evaluations
from ssrl_pipeline.training.seeds import train_seeds
from ssrl_pipeline.training.steps import Learner, RunningMean, learning_rate, seed_of
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

CPU = torch.device("cpu")
ALONE = Group(CPU)
MODEL = ModelSettings(dropout=0.2, patches="relation")
SETTINGS = TrainSettings(
    schedule="staged",
    segments=8,
    batch_size=4,
    steps=30,
    evaluate_every=10,
    optimiser=OptimiserSettings(lr=3e-3, warmup=5),
)
LABELS = {f"{split}{i}": Label(i % 2 == 1, split) for split in ("train", "val", "test") for i in range(6)}
PLANTED = (4, 5, 6)  # the anomalous snippets of abnormal videos, of 10


@pytest.fixture
def store(tiny_store):
    abnormal = [video for video, label in LABELS.items() if label.abnormal]
    return tiny_store(dict.fromkeys(LABELS, 10), dict.fromkeys(abnormal, PLANTED))


class Trained(NamedTuple):
    best: Path
    evaluations: list[Evaluation]


def run_training(store, run: Path, settings: TrainSettings = SETTINGS, **changes) -> Trained:
    best = train_ssrl(
        store, changes.get("labels", LABELS), run, MODEL, settings, ALONE, changes.get("report", print)
    )
    return Trained(best, read_evaluations(run))


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_checkpoint(a).weights, load_checkpoint(b).weights
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_it_learns_when_and_not_only_which(store, tmp_path: Path) -> None:
    result = run_training(store, tmp_path / "run")
    intervals = {video: [(64, 112)] for video, label in LABELS.items() if label.abnormal}
    judged = evaluate_checkpoint(load_checkpoint(result.best), store, LABELS, intervals, "test", CPU)
    assert judged.metrics.videos == 6 and judged.metrics.anomalous_frames == 3 * 48
    assert judged.metrics.auc > 0.95 and judged.metrics.abnormal_auc > 0.95


def test_run_folder(store, tmp_path: Path) -> None:
    reported: list[Evaluation] = []
    result = run_training(store, tmp_path / "run", report=reported.append)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(e["stage"], e["step"]) for e in lines] == [(s, n) for s in (1, 2) for n in (10, 20, 30)]
    assert lines == [e._asdict() for e in reported] == [e._asdict() for e in result.evaluations]
    for e in reported:
        terms = e.bags, e.magnitude, e.smoothness, e.sparsity, e.correction
        assert e.loss == pytest.approx(sum(terms))
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


def test_frozen_scales_computed_once_give_the_losses_of_computing_them_again(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_second_scale(store)
    cached = run_training(store, tmp_path / "cached")
    passed: list[set[str]] = []
    monkeypatch.setattr(SSRLTrainer, "_compute_frozen", lambda self, model, scales: None)
    forward = SSRL.forward
    monkeypatch.setattr(
        SSRL, "forward", lambda self, views: (passed.append(set(views)), forward(self, views))[1]
    )
    again = run_training(store, tmp_path / "again")
    assert {"2x3"} not in passed and {"clip", "patch2x3", "patch3x5"} in passed
    assert len(cached.evaluations) == 9
    for a, b in zip(cached.evaluations, again.evaluations, strict=True):
        assert (a.stage, a.step, a.best) == (b.stage, b.step, b.best)
        assert (a.loss, a.bags, a.val_loss) == pytest.approx((b.loss, b.bags, b.val_loss), rel=1e-4)


def with_second_scale(store):
    """The store, with made-up 3x5 features beside the 2x3 ones."""
    store.recipe["views"]["patch3x5"] = 15
    rng = np.random.default_rng(1)
    for video in store.videos():
        np.save(store.root / video / "patch3x5.npy", rng.standard_normal((10, 15, 16), np.float32))
    return store


def test_a_stage_that_no_longer_gets_better_ends(store, tmp_path: Path) -> None:
    patient = dataclasses.replace(SETTINGS, steps=400, patience=2, evaluate_every=5)
    result = run_training(store, tmp_path / "run", patient)
    for stage in (1, 2):
        steps = [e.step for e in result.evaluations if e.stage == stage]
        best = max(e.step for e in result.evaluations if e.stage == stage and e.best)
        assert steps[-1] == best + 10 < 400
        assert steps == list(range(5, steps[-1] + 1, 5))


def test_learning_rates_by_hand() -> None:
    constant = OptimiserSettings(lr=1.0, warmup=4)
    assert [learning_rate(constant, step, 100) for step in (1, 2, 4, 5, 100)] == [0.25, 0.5, 1, 1, 1]
    cosine = OptimiserSettings(lr=2.0, warmup=0, schedule="cosine")
    assert learning_rate(cosine, 1, 10) == 2.0
    assert learning_rate(cosine, 6, 10) == pytest.approx(1.0)
    rates = [learning_rate(cosine, step, 10) for step in range(1, 11)]
    assert rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.1


def test_test_videos_choose_only_where_that_is_asked_for(store, tmp_path: Path) -> None:
    intervals = {video: [(64, 112)] for video, label in LABELS.items() if label.abnormal}
    settings = dataclasses.replace(SETTINGS, select_on="test")
    arguments = (store, LABELS, tmp_path / "test", MODEL, settings, ALONE)
    best = load_checkpoint(train_ssrl(*arguments, intervals=intervals))
    judged = evaluate_checkpoint(best, store, LABELS, intervals, "test", CPU).metrics.auc
    assert best.provenance["test_auc"] == pytest.approx(judged)
    evaluations = read_evaluations(tmp_path / "test")
    assert judged == pytest.approx(max(e.test_auc for e in evaluations if e.stage == 2))
    assert all(e.val_loss is None for e in evaluations)
    with pytest.raises(LabelError, match="select_on=test needs the anomalous intervals"):
        train_ssrl(*arguments[:2], tmp_path / "without", *arguments[3:])


def test_a_batch_in_parts(store, tmp_path: Path) -> None:
    """Without batch norms in the way (frozen here) and terms that are no means, parts make no difference."""
    loss = LossSettings(magnitude=1e-4, smoothness=0, sparsity=0, dropout=0)
    settings = dataclasses.replace(SETTINGS, steps=1, evaluate_every=1, batch_size=2, loss=loss, average=0.0)
    model = ModelSettings(dropout=0)
    weights = []
    for parts in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ssrl_pipeline.training.steps._training_mode", lambda model: model.eval())
            best = train_ssrl(
                store,
                LABELS,
                tmp_path / str(parts),
                model,
                dataclasses.replace(settings, accumulate=parts),
                ALONE,
            )
        weights.append(load_checkpoint(best).weights)
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="make it a multiple of 3"):
        run_training(store, tmp_path / "no", dataclasses.replace(settings, accumulate=3))


class Asking(TorchDispatchMode):
    """Notes what a GPU would have to answer first: how many, which, or what number."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        masks = [
            i for i in tree_leaves(arguments[1:]) if isinstance(i, torch.Tensor) and i.dtype == torch.bool
        ]
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal") or (
            name == "index" and masks
        ):
            self.asked.append(name)
        return function(*arguments, **(options or {}))


def test_a_step_asks_the_device_for_its_terms_alone(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read at its end, by `tolist`; all that comes before could be under way on a GPU."""
    store, steps = with_second_scale(store), []
    step = Learner.step

    def watched(*arguments):
        with Asking() as asking:
            result = step(*arguments)
        steps.append(asking.asked)
        return result

    monkeypatch.setattr(Learner, "step", watched)
    short = dataclasses.replace(SETTINGS, steps=2, evaluate_every=2, accumulate=2, precision="bfloat16")
    run_training(store, tmp_path / "run", short)
    assert steps == [[]] * 6
    with Asking() as asking:
        x = torch.arange(3.0)
        x[x > 1].sum().item()
    assert asking.asked == ["index", "_local_scalar_dense"]


def test_the_running_mean_is_pytorchs_of_weights_and_statistics() -> None:
    torch.manual_seed(0)
    model = SSRL(16, ["2x3"], share_relation=True)
    expected = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    mean = RunningMean(model, 0.9)
    for _ in range(3):
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.add_(torch.randn(tensor.shape).to(tensor.dtype) if tensor.is_floating_point() else 1)
        expected.update_parameters(model)
        mean.update_parameters(model)
    assert mean.state_dict().keys() == expected.state_dict().keys()
    for name, value in mean.state_dict().items():
        counted = name.endswith("num_batches_tracked")
        assert torch.equal(value, torch.tensor(3) if counted else expected.state_dict()[name]), name


@pytest.mark.parametrize("schedule", ["joint", "staged"])
@pytest.mark.parametrize(("kind", "patches"), [("ssrl", "max"), ("ssrl", "relation"), ("fused", "max")])
def test_mixed_precision_trains_every_kind(
    store, tmp_path: Path, kind: str, patches: str, schedule: str
) -> None:
    """As does float32; a memory has no precision."""
    losses = []
    for precision in ("float32", "bfloat16"):
        settings = dataclasses.replace(SETTINGS, precision=precision, schedule=schedule, steps=10)
        model = ModelSettings(kind=kind, patches=patches, dropout=0.0)
        seen: list[Evaluation] = []
        own = Settings(model=model, train=settings)
        best = train_detector(Task(own, tmp_path / precision, store, LABELS, ALONE, seen.append))
        weights = load_checkpoint(best).weights.values()
        assert {w.dtype for w in weights} <= {torch.float32, torch.int64}
        losses.append([e.loss for e in seen if e.step])
    assert losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.01) and losses[0] != losses[1]


def test_mixed_precision_learns_too(store, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, precision="bfloat16", schedule="joint")
    result = run_training(store, tmp_path / "run", settings)
    exact = run_training(store, tmp_path / "exact", dataclasses.replace(settings, precision="float32"))
    assert result.evaluations[1].loss == pytest.approx(exact.evaluations[1].loss, rel=0.05)
    assert result.evaluations[1].loss != exact.evaluations[1].loss
    assert {value.dtype for value in load_checkpoint(result.best).weights.values()} <= {
        torch.float32,
        torch.int64,
    }


def test_segments_are_as_many_as_half_the_videos_have(tiny_store) -> None:
    store = tiny_store({"a": 3, "b": 9, "c": 12, "long": 90, "longer": 91})
    split = split_videos({v: Label(v == "b", None) for v in store.videos()}, 0, 0)
    assert usual_length(store, split) == 12
    long = split_videos({v: Label(v == "long", None) for v in ("long", "longer", "c")}, 0, 0)
    assert usual_length(store, long) == 32


def test_frozen_stage_without_anything_to_learn_is_refused(store, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, freeze="stage", steps=2)
    with pytest.raises(ConfigError, match="freeze=stage leaves nothing to learn"):
        train_ssrl(store, LABELS, tmp_path / "run", ModelSettings(), settings, ALONE)


def test_several_seeds(store, tmp_path: Path) -> None:
    intervals = {video: [(64, 112)] for video, label in LABELS.items() if label.abnormal}
    short = dataclasses.replace(SETTINGS, schedule="joint")

    def fit(run: Path, seed: int) -> Path:
        return run_training(store, run, dataclasses.replace(short, seed=seed)).best

    found = train_seeds([3, 5], fit, tmp_path / "run", store, LABELS, ALONE, intervals)
    assert [run.seed for run in found.runs] == [3, 5]
    assert not same_weights(tmp_path / "run/seed3/best.pt", tmp_path / "run/seed5/best.pt")
    alone = run_training(store, tmp_path / "alone", dataclasses.replace(short, seed=5))
    assert same_weights(tmp_path / "run/seed5/best.pt", alone.best)
    a, b = (run.auc for run in found.runs)
    assert found.summary()["mean"]["auc"] == pytest.approx((a + b) / 2)
    assert found.summary()["deviation"]["auc"] == pytest.approx(abs(a - b) / 2**0.5)


def test_tensorboard_shows_the_evaluations(store, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = dataclasses.replace(SETTINGS, schedule="joint")
    run_training(store, tmp_path / "run", settings)
    result = run_training(store, tmp_path / "other", dataclasses.replace(settings, tensorboard=True))
    events = reader.EventAccumulator(str(tmp_path / "other" / "tensorboard")).Reload()
    shown = [(e.step, e.value) for e in events.Scalars("stage2/val_loss")]
    assert shown == [(e.step, pytest.approx(e.val_loss)) for e in result.evaluations]
    again = run_training(store, tmp_path / "run", dataclasses.replace(settings, tensorboard=True))
    assert again.evaluations == result.evaluations  # it is the same run, shown or not


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


def test_a_loss_that_is_not_finite_names_the_videos(store, replace_view, tmp_path: Path) -> None:
    features = np.full_like(store.read("train3")["clip"], np.nan)
    replace_view(store, "train3", "clip", features)
    with pytest.raises(PipelineError, match=r"stage 1, step 1 is not finite; its batch: .*train3"):
        run_training(store, tmp_path / "run", dataclasses.replace(SETTINGS, batch_size=3))


def test_labels_that_do_not_fit(store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lacks 1 of 13 .*: 'unknown'; extract .*--skip-missing"):
        run_training(store, tmp_path / "run", labels={**LABELS, "unknown": Label(True, "train")})
    with pytest.raises(LabelError, match="no abnormal video to train on"):
        run_training(store, tmp_path / "run", labels={"train0": Label(False, None)})
    one_class = {name: label for name, label in LABELS.items() if name not in ("val1", "val3", "val5")}
    with pytest.raises(LabelError, match="one class only"):
        run_training(store, tmp_path / "run", labels=one_class)
    with pytest.raises(PipelineError, match="no scale '4x7'; it has 2x3"):
        train_ssrl(store, LABELS, tmp_path / "r", ModelSettings(scales=("4x7",)), SETTINGS, ALONE)


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
    assert seed_of(0, 1, 2) == seed_of(0, 1, 2)
    assert (
        len({seed_of(seed, stage, step) for seed in range(3) for stage in range(3) for step in range(3)})
        == 27
    )
