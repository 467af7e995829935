"""Patches that do not count: whatever they show, the score is the same, and the others decide it."""

import math

import pytest
import torch
from torch import Tensor

from ssrl_pipeline.models import SSRL, ActionDetector, Detector, FusedDetector, LinearProbe, PatchMemory
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.memory import STEEPNESS

CPU = torch.device("cpu")
F = 16
VIEWS = {"clip": 2, "patch2x3": 6}
HIDDEN = torch.tensor([True, False, False, True, False, True])
SSRL_ARGUMENTS = {"feature_size": F, "scales": ["2x3"], "crops": 2}
MEMORY_ARGUMENTS = {"feature_size": F, "views": {"patch2x3": 6}, "size": 5}


def made(kind: str) -> Detector:
    torch.manual_seed(0)
    models: dict[str, Detector] = {
        "max": SSRL(**SSRL_ARGUMENTS, patches="max"),
        "relation": SSRL(**SSRL_ARGUMENTS, patches="relation"),
        "memory": PatchMemory(**MEMORY_ARGUMENTS),
        "probe": LinearProbe(F, VIEWS),
        "actions": ActionDetector(F, {"patch2x3": 6}, 10, [1, 4]),
        "fused": FusedDetector(SSRL_ARGUMENTS, MEMORY_ARGUMENTS, 0.3),
    }
    model = models[kind].eval()
    for name, rows in model.named_buffers():
        if name.endswith(("patch2x3_mean", "normal", "weight")):
            rows.copy_(torch.randn(rows.shape))
    return model


def window_scores(model: Detector, snippets: dict[str, Tensor], hidden: Tensor | None) -> list[float]:
    """Of each snippet among the latest four; snippets: view name -> [T, P, F]."""
    scorer, scores = WindowScorer(model, CPU, size=4), []
    window = scorer.window()
    for t in range(len(snippets["clip"])):
        views = {name: rows[t : t + 1] for name, rows in snippets.items()}
        (score,) = scorer.add([window], views, None if hidden is None else {"patch2x3": hidden[None]})
        assert score is not None
        scores.append(score)
    return scores


def made_up(seed: int = 1, snippets: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(snippets, count, F, generator=generator) for name, count in VIEWS.items()}


@pytest.mark.parametrize("kind", ["max", "relation", "memory", "probe", "actions", "fused"])
def test_what_a_hidden_patch_shows_changes_no_score(kind: str) -> None:
    model, quiet = made(kind), made_up()
    wild = {"clip": quiet["clip"], "patch2x3": quiet["patch2x3"].clone()}
    wild["patch2x3"][3:, HIDDEN] = 50.0
    assert window_scores(model, wild, HIDDEN) == window_scores(model, quiet, HIDDEN)
    assert window_scores(model, wild, None) != window_scores(model, quiet, None)
    seen = {"clip": quiet["clip"], "patch2x3": quiet["patch2x3"].clone()}
    seen["patch2x3"][3:, 4] = 50.0
    assert window_scores(model, seen, HIDDEN) != window_scores(model, quiet, HIDDEN)


def test_cameras_that_are_scored_together_hide_patches_of_their_own() -> None:
    model, snippets = made("memory"), made_up(snippets=2)
    scorer = WindowScorer(model, CPU, size=1)
    other = ~HIDDEN
    hidden = {"patch2x3": torch.stack([HIDDEN, other])}
    together = scorer.add([scorer.window(), scorer.window()], snippets, hidden)
    alone = [
        window_scores(model, {name: rows[i : i + 1] for name, rows in snippets.items()}, which)
        for i, which in enumerate([HIDDEN, other])
    ]
    assert together == pytest.approx([alone[0][0], alone[1][0]], abs=1e-6)


def test_the_memory_leaves_hidden_patches_out_of_its_mean() -> None:
    model, views = made("memory"), made_up(snippets=1)
    memory = model.memories["patch2x3"]  # type: ignore[union-attr, operator, index]
    patches = views["patch2x3"][0] - memory.scaling.patch2x3_mean
    away = [(memory.normal[p] - patches[p]).norm(dim=1).min().item() for p in range(6)]
    seen = [math.exp(away[p]) for p in range(6) if not HIDDEN[p]]
    x = STEEPNESS * math.log(sum(seen) / len(seen))  # centre 0, deviation 1, alarm 0, median -1
    expected = 0.5 + 0.5 * x / (1 + abs(x))
    assert window_scores(model, views, HIDDEN) == pytest.approx([expected], abs=1e-5)


def test_the_greatest_of_a_views_patches_is_that_of_those_that_count() -> None:
    patches = made_up()["patch2x3"]
    hidden = made("max").hide({"patch2x3": patches[None]}, {"patch2x3": HIDDEN[None]})["patch2x3"]
    assert torch.equal(hidden[0].amax(dim=1), patches[:, ~HIDDEN].amax(dim=1))


def test_where_patches_are_related_a_hidden_one_is_the_mean_normal_one() -> None:
    model, patches = made("relation"), made_up()["patch2x3"]
    hidden = model.hide({"patch2x3": patches[None]}, {"patch2x3": HIDDEN[None]})["patch2x3"][0]
    mean = model.get_buffer("scaling.patch2x3_mean")
    assert torch.equal(hidden[:, HIDDEN], mean.expand(6, 3, F))
    assert torch.equal(hidden[:, ~HIDDEN], patches[:, ~HIDDEN])


@pytest.mark.parametrize("kind", ["memory", "fused"])
def test_a_hidden_patch_is_one_that_the_memory_holds_where_features_stand_for_it(kind: str) -> None:
    model, views = made(kind), made_up()
    hidden = model.hide({n: rows[None] for n, rows in views.items()}, {"patch2x3": HIDDEN[None]})
    memory = model if kind == "memory" else model.parts[1]
    distances = memory(hidden).distances["patch2x3"][0]
    assert distances[:, HIDDEN].abs().max() < 1e-2
    assert distances[:, ~HIDDEN].min() > 1
    assert torch.equal(hidden["patch2x3"][0, :, ~HIDDEN], views["patch2x3"][:, ~HIDDEN])
