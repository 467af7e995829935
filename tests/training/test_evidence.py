"""A probe's evidence past SSRL's relation blocks: what it is while SSRL learns, and where it goes later."""

import dataclasses
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.killed import Killed, kill

from ssrl_pipeline import checkpoint as checkpoints
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import CheckpointError, ConfigError
from ssrl_pipeline.models import SSRL, LinearProbe
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.long_video import score_long
from ssrl_pipeline.scales import EVIDENCE
from ssrl_pipeline.settings import LossSettings, ModelSettings, OptimiserSettings, TrainSettings
from ssrl_pipeline.training.bags import Bags, load_bags
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.evidence import fit_evidence, held_out_rows
from ssrl_pipeline.training.kinds.linear import OF_FEATURES, Rows, fit_rows
from ssrl_pipeline.training.kinds.ssrl import ssrl_summary, train_ssrl
from ssrl_pipeline.training.run_folder import Evaluation, read_evaluations
from ssrl_pipeline.training.selection import Validated, best_of

CPU = torch.device("cpu")
LENGTHS = {f"{kind}{i}": 6 for kind in "na" for i in range(6)}
PLANTED = {video: [2, 3] for video in LENGTHS if video.startswith("a")}
LABELS = {video: Label(video.startswith("a"), "train", f"camera {video[1]}") for video in LENGTHS}
VIEWS = ["clip", "patch2x3"]


@pytest.fixture
def store(tiny_store):
    return tiny_store(LENGTHS, PLANTED)


def trained(store, run: Path, labels=LABELS, **model):
    settings = TrainSettings(steps=4, evaluate_every=2, batch_size=2)
    return train_ssrl(store, labels, run, ModelSettings(**model), settings, Group(CPU))


def test_a_bag_has_the_word_of_a_probe_that_did_not_learn_from_its_group(store, tmp_path: Path) -> None:
    truth = {video: label.abnormal for video, label in LABELS.items()}
    bags = load_bags(store, truth, VIEWS, 6, tmp_path)
    probe = LinearProbe(16, store.recipe["views"])
    fit_evidence(probe, bags, LABELS, seed=0)

    pooled = {
        v: np.concatenate([store.read(v)["clip"].mean(1), store.read(v)["patch2x3"].max(1)], 1).astype(float)
        for v in LENGTHS
    }
    normal = np.concatenate([pooled[v] for v in LENGTHS if not truth[v]])
    deviation = normal.std(0) + 0.01 * normal.std(0).mean() + 1e-6
    scaled = np.stack([(pooled[v] - normal.mean(0)) / deviation for v in LENGTHS])
    abnormal = np.array(list(truth.values()))
    parts = held_out_rows(list(LENGTHS), LABELS, 0)
    assert all(held[i] == held[i + 6] for held in parts for i in range(6))  # n0 and a0 are of one camera
    rows = Rows(scaled.mean(1), abnormal)
    expected = np.empty((12, 6))
    for held in parts:
        other = LinearProbe(16, store.recipe["views"])
        fit_rows(other, Rows(rows.bags[~held], abnormal[~held]), OF_FEATURES)
        weight, bias = (p.detach().double().numpy() for p in other.linear.parameters())
        expected[held] = scaled[held] @ weight[0] + bias
    expected /= expected[~abnormal].std()
    np.testing.assert_allclose(bags.branches[EVIDENCE], expected, atol=1e-3)


def test_bags_are_pooled_one_by_one_to_what_all_at_once_give(store, tmp_path: Path) -> None:
    truth = {video: label.abnormal for video, label in LABELS.items()}
    bags = load_bags(store, truth, VIEWS, 6, tmp_path)
    probe = LinearProbe(16, store.recipe["views"])
    pool, alive, most = probe.pool, weakref.WeakSet(), 0

    def counted(views: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        nonlocal most
        (rows,) = pool(views)
        alive.add(rows)
        most = max(most, len(alive))
        return [rows]

    probe.pool = counted
    fit_evidence(probe, bags, LABELS, seed=0)
    assert most <= 2

    scaled = probe.scaled(pool({name: torch.as_tensor(bags.views[name]) for name in VIEWS}))
    abnormal = np.array(list(truth.values()))
    rows, parts = Rows(scaled.double().mean(dim=1).numpy(), abnormal), held_out_rows(bags.videos, LABELS, 0)
    odds, other = torch.zeros(12, 6), LinearProbe(16, store.recipe["views"])
    for held in parts:
        fit_rows(other, Rows(rows.bags[~held], abnormal[~held]), OF_FEATURES)
        odds[held] = other.linear(scaled[held]).squeeze(-1).detach()
    odds /= odds[~abnormal].std(correction=0)
    torch.testing.assert_close(bags.branches[EVIDENCE], odds, rtol=1e-5, atol=1e-6)


def test_no_evidence_where_no_video_can_be_held_out(store, tmp_path: Path) -> None:
    one = {video: LABELS[video] for video in ("n0", "n1", "a0")}
    bags = load_bags(store, {video: label.abnormal for video, label in one.items()}, VIEWS, 6, tmp_path)
    probe = LinearProbe(16, store.recipe["views"])
    fit_evidence(probe, bags, one, seed=0)
    views = {name: torch.as_tensor(bags.views[name]) for name in VIEWS}
    assert not probe(views).odds.any() and not bags.branches[EVIDENCE].any()


def model_of(scales: tuple[str, ...] = ("2x3",)) -> tuple[SSRL, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = SSRL(16, scales, crops=2, patches="max", evidence=True).eval()
    views = {"clip": torch.randn(2, 40, 2, 16), "patch2x3": torch.randn(2, 40, 6, 16)}
    return model, views


def test_log_odds_are_the_sum_of_both() -> None:
    model, views = model_of()
    plain = SSRL(16, ("2x3",), crops=2, patches="max").eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    odds = plain.head.log_odds(plain(views).features).squeeze(-1)  # [B, C, T]
    both = (odds + model.probe(views).odds[:, None]).sigmoid().mean(dim=1)
    torch.testing.assert_close(model(views).scores, both)
    given = torch.randn(2, 40)
    both = (odds + given[:, None]).sigmoid().mean(dim=1)
    torch.testing.assert_close(model({**views, EVIDENCE: given}).scores, both)


def test_a_long_video_and_a_window_have_it_too() -> None:
    model, views = model_of()
    one = {name: view[0] for name, view in views.items()}
    with torch.no_grad():
        whole = model(views).scores[0]
        parts = [{name: view[i : i + 7] for name, view in one.items()} for i in range(0, 40, 7)]
        np.testing.assert_allclose(score_long(model, parts, CPU), whole, atol=1e-5)
        scorer = WindowScorer(model, CPU, size=40, delay=0)
        window = scorer.window()
        latest = [
            scorer.add([window], {name: view[t : t + 1] for name, view in one.items()})[0] for t in range(40)
        ]
    assert latest[-1] == pytest.approx(float(whole[-1]), abs=1e-5)


def test_a_patch_that_the_probe_sees_has_heat() -> None:
    model, views = model_of()
    with torch.no_grad():
        model.probe.linear.weight.zero_()
        model.probe.linear.weight[0, 16] = 5.0  # the first feature of the patches' maxima
        views["patch2x3"][:, :, 4, 0] = 9.0
        heat = model.heat(views)["2x3"]
    assert (heat.argmax(dim=2) == 4).all()


def test_it_is_trained_kept_and_told(store, tmp_path: Path) -> None:
    labels = {v: label._replace(split="val" if v[1] in "45" else "train") for v, label in LABELS.items()}
    checkpoint = load_checkpoint(trained(store, tmp_path / "run", labels))
    model = checkpoint.build()
    assert isinstance(model, SSRL) and model.probe is not None and model.probe.linear.weight.any()
    found = checkpoint.provenance["validation"]
    assert 0.9 < found["probe_auc"] <= 1 and 0 <= found["auc"] <= 1
    assert f"a linear probe reaches {found['probe_auc']:.3f}" in ssrl_summary(checkpoint)
    worse = {**checkpoint.provenance, "validation": {"auc": 0.7, "probe_auc": 0.8}}
    assert "--model auto" in ssrl_summary(dataclasses.replace(checkpoint, provenance=worse))


def test_neither_without_it_nor_in_the_published_schedule_is_there_a_probe(store, tmp_path: Path) -> None:
    assert load_checkpoint(trained(store, tmp_path / "without", evidence=False)).build().probe is None
    settings = TrainSettings(steps=2, evaluate_every=2, batch_size=2, schedule="staged")
    best = train_ssrl(store, LABELS, tmp_path / "staged", ModelSettings(), settings, Group(CPU))
    assert "evidence" not in load_checkpoint(best).model


def test_a_checkpoint_has_to_be_better_by_more_than_chance() -> None:
    best = Validated(0.5, None, (0.2, 0.8, 0.2, 0.8))
    assert Validated(0.4, None, (0.1, 0.7, 0.1, 0.7)).beats(best)
    assert not Validated(0.4, None, (0.9, 0.1, -0.1, 0.7)).beats(best)  # by one bag, while others got worse
    assert Validated(None, 0.81).beats(Validated(None, 0.8)) and not Validated(None, 0.8).beats(
        Validated(None, 0.8)
    )
    assert Validated().beats(Validated())  # the last counts where nothing can tell


def test_the_state_of_an_older_version_is_read() -> None:
    assert best_of({"best_cost": 0.25}) == Validated(0.25)
    assert best_of({"best_cost": float("inf")}) == Validated()
    verdict = Validated(0.5, None, (0.25, 0.75))
    assert best_of({"best": json.loads(json.dumps(list(verdict)))}) == verdict


def test_bags_hand_it_over_by_its_name() -> None:
    bags = Bags(["a", "b"], torch.tensor([False, True]), {"clip": torch.zeros(2, 3, 1, 4)})
    bags.branches[EVIDENCE] = torch.arange(6.0).reshape(2, 3)
    views, _ = bags.batch([1, 0], CPU)
    assert views[EVIDENCE].tolist() == [[3, 4, 5], [0, 1, 2]]


def test_it_counts_by_itself_until_something_learned_is_better(store, tmp_path: Path) -> None:
    labels = {v: label._replace(split="val" if v[1] in "45" else "train") for v, label in LABELS.items()}
    ruinous = TrainSettings(
        steps=4, evaluate_every=2, batch_size=2, optimiser=OptimiserSettings(lr=10.0, warmup=0)
    )

    def run(report: Callable[[Evaluation], object] = lambda evaluation: None) -> Checkpoint:
        model = ModelSettings()
        return load_checkpoint(
            train_ssrl(store, labels, tmp_path / "run", model, ruinous, Group(CPU), report)
        )

    with pytest.raises(Killed):
        run(kill)
    checkpoint = run()  # goes on, and what was best before stays so
    assert checkpoint.provenance["step"] == 0 and "adds nothing" in ssrl_summary(checkpoint)
    assert [e.step for e in read_evaluations(tmp_path / "run") if e.best] == [0]
    model = checkpoint.build()
    views = {name: torch.from_numpy(view.copy())[None] for name, view in store.read("a0", VIEWS).items()}
    with torch.no_grad():
        torch.testing.assert_close(model(views).scores, model.probe(views).odds.sigmoid())


def test_no_steps_at_all_need_evidence(store, tmp_path: Path) -> None:
    none = TrainSettings(steps=0, batch_size=2)
    best = train_ssrl(store, LABELS, tmp_path / "with", ModelSettings(), none, Group(CPU))
    assert load_checkpoint(best).provenance["step"] == 0
    with pytest.raises(ConfigError, match=r"train\.steps: 0 leaves nothing"):
        train_ssrl(store, LABELS, tmp_path / "without", ModelSettings(evidence=False), none, Group(CPU))


@pytest.mark.parametrize("cost", [0.0, 0.5])  # of the versions before: unknown, and their default
def test_a_run_that_a_version_before_began_goes_on_with_its_cost_of_corrections(
    store, tmp_path: Path, cost: float
) -> None:
    def run(name: str, **how: Any) -> Path:
        loss = LossSettings(**{name: value for name, value in how.items() if name == "correction"})
        settings = TrainSettings(steps=4, evaluate_every=2, batch_size=2, loss=loss)
        report = how.get("report", lambda evaluation: None)
        return train_ssrl(store, LABELS, tmp_path / name, ModelSettings(), settings, Group(CPU), report)

    with pytest.raises(Killed):
        run("old", correction=cost, report=kill)
    state = checkpoints.load(tmp_path / "old" / "last.pt")
    assert state["identity"]["train"]["loss"].get("correction", 0.0) == cost
    assert cost or "correction" not in state["identity"]["train"]["loss"]  # as a version before wrote it
    old, whole = load_checkpoint(run("old")), load_checkpoint(run("whole", correction=cost))
    assert all(torch.equal(old.weights[name], value) for name, value in whole.weights.items())
    with pytest.raises(CheckpointError, match="other settings"):
        run("old", correction=0.25)
