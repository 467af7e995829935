"""Actions by their names: scores from probabilities."""

import numpy as np
import pytest
import torch

from ssrl_pipeline.models import ActionDetector
from ssrl_pipeline.models.occlusion import patch_heat

A, F, P = 7, 5, 6
CHOSEN = [2, 4]


@pytest.fixture
def model() -> ActionDetector:
    torch.manual_seed(0)
    made = ActionDetector(F, {"patch2x3": P}, A, CHOSEN, ["two", "four"]).eval()
    made.load_state_dict({"weight": torch.randn(A, F), "bias": torch.randn(A)}, strict=False)
    return made


def by_hand(model: ActionDetector, patches: np.ndarray) -> np.ndarray:
    """[..., P, F] -> [..., P]: log odds of the sum of both probabilities."""
    logits = patches.astype(float) @ model.weight.double().numpy().T + model.bias.double().numpy()
    odds = np.exp(logits)
    probability = odds[..., CHOSEN].sum(-1) / odds.sum(-1)
    return np.log(probability / (1 - probability))


def test_evidence_is_the_log_odds_of_the_sum(model: ActionDetector) -> None:
    patches = torch.randn(2, 9, P, F)
    found = model({"patch2x3": patches})
    expected = by_hand(model, patches.numpy())
    np.testing.assert_allclose(found.evidence, expected, atol=1e-5)
    order = expected.max(-1).ravel().argsort()
    assert (np.diff(found.scores.ravel().numpy()[order]) > 0).all()
    assert ((found.scores > 0) & (found.scores < 1)).all()


def test_what_0_1_and_0_5_stand_for(model: ActionDetector) -> None:
    patches = torch.randn(1, 2001, P, F)
    evidence = model.evidence(patches[0]).amax(dim=-1)
    model.set_usual(evidence, 0.99)
    scores = model({"patch2x3": patches}).scores[0]
    assert np.median(scores) == pytest.approx(0.1, abs=1e-4)
    assert (scores < 0.5).float().mean().item() == pytest.approx(0.99, abs=1e-3)


def test_snippets_that_are_all_alike_leave_a_scale(model: ActionDetector) -> None:
    model.set_usual(torch.full((10,), -3.0), 0.99)
    scores = model({"patch2x3": torch.randn(1, 9, P, F)}).scores
    assert scores.isfinite().all() and scores.std() > 0


def test_heat_is_what_the_greatest_patch_adds(model: ActionDetector) -> None:
    patches = torch.randn(1, 9, P, F)
    model.set_usual(torch.linspace(-2, 0, 100), 0.99)
    views = {"patch2x3": patches}
    heat = patch_heat(model, views)["2x3"][0]
    whole, evidence = model(views).scores[0], model(views).evidence[0]
    for t in range(9):
        best = int(evidence[t].argmax())
        left = max(float(evidence[t].topk(2).values[1]), float(model.median))
        reach = 4 * (left - float(model.alarm)) / float(model.alarm - model.median)
        without = 0.5 + 0.5 * reach / (1 + abs(reach))
        score = float(whole[t])
        lost = np.log(score / (1 - score)) - np.log(without / (1 - without))
        assert float(heat[t, best]) == pytest.approx(max(lost, 0), abs=1e-4)
        assert heat[t].count_nonzero() <= 1


def test_what_does_not_fit_is_refused(model: ActionDetector) -> None:
    for chosen in ([], list(range(A)), [A], [-1]):
        with pytest.raises(ValueError, match="chosen actions are some of 7"):
            ActionDetector(F, {"patch2x3": P}, A, chosen)
    with pytest.raises(ValueError, match="one view, not 2"):
        ActionDetector(F, {"clip": 1, "patch2x3": P}, A, CHOSEN)
    with pytest.raises(ValueError, match="view 'patch2x3' is missing"):
        model({"clip": torch.zeros(1, 1, 1, F)})
    with pytest.raises(ValueError, match=r"is \[B, T, 6, 5\], not \[1, 2, 5, 5\]"):
        model({"patch2x3": torch.zeros(1, 2, 5, 5)})
