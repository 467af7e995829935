"""The linear probe: what it pools, how it scores, and which patch it says it was."""

import numpy as np
import pytest
import torch

from ssrl_pipeline.models import LinearProbe

VIEWS = {"clip": 2, "patch2x3": 6}


@pytest.fixture
def model() -> LinearProbe:
    generator = torch.Generator().manual_seed(0)
    model = LinearProbe(4, VIEWS)
    for value in (*model.parameters(), *model.buffers()):
        value.data = torch.randn(value.shape, generator=generator).abs() + 0.1
    return model.eval()


def made_up(snippets: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(snippets)
    return {name: torch.randn(1, snippets, count, 4, generator=generator) for name, count in VIEWS.items()}


def odds(model: LinearProbe, clip: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """[T], in NumPy, of [T, C, F] and [T, P, F]."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    pooled = np.concatenate([clip.mean(axis=1), patches.max(axis=1)], axis=1)
    scaled = (pooled - state["scaling.pooled_mean"]) / state["scaling.pooled_deviation"]
    return scaled @ state["linear.weight"][0] + state["linear.bias"][0]


@torch.no_grad()
def test_scores_are_those_of_plain_mathematics(model: LinearProbe) -> None:
    views = made_up(5)
    expected = odds(model, *(view[0].numpy() for view in views.values()))
    found = model(views)
    np.testing.assert_allclose(found.odds[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.scores[0], 1 / (1 + np.exp(-expected)), rtol=1e-5)


@torch.no_grad()
def test_heat_is_what_a_patch_adds_to_the_mean_of_the_others(model: LinearProbe) -> None:
    views = made_up(3)
    clip, patches = (view[0].numpy() for view in views.values())
    heat = model.heat(views)
    assert list(heat) == ["2x3"] and heat["2x3"].shape == (1, 3, 6)
    for position in range(6):
        without = patches.copy()
        without[:, position] = np.delete(patches, position, axis=1).mean(axis=1)
        lost = np.maximum(odds(model, clip, patches) - odds(model, clip, without), 0)
        np.testing.assert_allclose(heat["2x3"][0, :, position], lost, rtol=1e-4, atol=1e-5)
    assert (heat["2x3"] > 0).any()


def test_units_are_those_of_all_normal_snippets_however_they_come() -> None:
    rows = torch.randn(40, 12, generator=torch.Generator().manual_seed(1)) * 3 + 5
    model = LinearProbe(4, {"clip": 1, "patch2x3": 6, "patch3x5": 15})
    model.fit_scaling(rows.split(7))
    scaled = model.scaled(rows)
    np.testing.assert_allclose(scaled.mean(dim=0), np.zeros(12), atol=1e-5)
    np.testing.assert_allclose(scaled.std(dim=0, correction=0), np.full(12, 0.99), atol=0.01)


def test_what_does_not_fit_is_refused(model: LinearProbe) -> None:
    with pytest.raises(ValueError, match="'patch2x3' is missing"):
        model({"clip": torch.zeros(1, 2, 1, 4)})
    with pytest.raises(ValueError, match=r"'patch2x3' is \[B, T, 6, 4\], not \[1, 2, 5, 4\]"):
        model({"clip": torch.zeros(1, 2, 1, 4), "patch2x3": torch.zeros(1, 2, 5, 4)})
    with pytest.raises(ValueError, match="at least one view"):
        LinearProbe(4, {})
