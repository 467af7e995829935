"""The loss against the same sums written out in NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ssrl_pipeline.models import LossWeights, MILLoss, SSRLOutput

WEIGHTS = LossWeights(margin=5.0, magnitude=0.1, smoothness=0.2, sparsity=0.3, dropout=0.0)
LABELS = torch.tensor([False, True, True, False])  # two normal, two abnormal bags, in any order


def output(t: int = 20, crops: int = 3) -> SSRLOutput:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, crops, t, 8, generator=generator)
    return SSRLOutput(torch.rand(4, t, generator=generator), features.norm(dim=3).mean(1), features)


@pytest.mark.parametrize("across_videos", [False, True])
def test_terms(across_videos: bool) -> None:
    out = output()
    losses = MILLoss(WEIGHTS, across_videos)(out, LABELS)
    scores, features = out.scores.numpy(), out.features.numpy()
    top = np.argsort(-out.magnitudes.numpy(), axis=1)[:, :2]  # k = 20 // 10
    bag = np.array([scores[b, top[b]].mean() for b in range(4)])
    y = LABELS.numpy().astype(float)
    assert losses.bags.item() == pytest.approx(
        -np.mean(y * np.log(bag) + (1 - y) * np.log(1 - bag)), rel=1e-5
    )

    length = np.array([[np.linalg.norm(features[b, c, top[b]].mean(0)) for c in range(3)] for b in range(4)])
    misfit = [(abs(5.0 - length[a, c]) + length[n, c]) ** 2 for a, n in ((1, 0), (2, 3)) for c in range(3)]
    assert losses.magnitude.item() == pytest.approx(0.1 * np.mean(misfit), rel=1e-5)

    steps = sum(((scores[b, 1:] - scores[b, :-1]) ** 2).sum() for b in (1, 2))
    if across_videos:
        steps += (scores[2, 0] - scores[1, -1]) ** 2
    assert losses.smoothness.item() == pytest.approx(0.2 * steps, rel=1e-5)
    assert losses.sparsity.item() == pytest.approx(0.3 * np.sqrt((scores[1:3] ** 2).sum()), rel=1e-5)
    assert losses.total.item() == pytest.approx(sum(term.item() for term in losses[1:]), rel=1e-6)


def test_what_is_added_to_evidence_costs_its_mean_square() -> None:
    added = torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(2))
    weights = replace(WEIGHTS, correction=0.5)
    plain, corrected = output(), output()._replace(added=added)
    without = MILLoss(weights)(plain, LABELS)
    assert without.correction == 0 and without == MILLoss(WEIGHTS)(corrected, LABELS)
    losses = MILLoss(weights)(corrected, LABELS)
    assert losses.correction.item() == pytest.approx(0.5 * np.mean(added.numpy() ** 2), rel=1e-5)
    assert losses.total.item() == pytest.approx(without.total.item() + losses.correction.item(), rel=1e-6)


def test_autocast_changes_nothing() -> None:
    """Its own operations are those that bfloat16 would spoil: sums of squares, and logarithms near 1."""
    out = output()
    with torch.autocast("cpu", torch.bfloat16):
        rough = MILLoss(WEIGHTS)(out, LABELS)
    assert rough == MILLoss(WEIGHTS)(out, LABELS)


@pytest.mark.parametrize("bag", range(4))
def test_a_score_that_is_no_number_makes_the_loss_none(bag: int) -> None:
    out = output()
    out.scores[bag, :] = torch.nan
    losses = MILLoss(WEIGHTS)(out, LABELS)
    assert losses.bags.isnan() and losses.total.isnan()


def test_fewer_than_ten_snippets_still_pick_one() -> None:
    out = output(t=4)
    scores, _ = MILLoss(WEIGHTS).pick(out)
    expected = out.scores.gather(1, out.magnitudes.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(scores, expected)


def test_dropout_of_magnitudes_only_while_training() -> None:
    out, loss = output(t=100), MILLoss(LossWeights(dropout=0.9))
    torch.manual_seed(0)
    assert not torch.equal(loss.train().pick(out)[0], loss.pick(out)[0])
    assert torch.equal(loss.eval().pick(out)[0], loss.pick(out)[0])


@pytest.mark.parametrize(("top", "picked"), [(0.1, 1), (0.3, 3), (0.5, 5), (0.58, 5), (1.0, 10)])
def test_share_of_snippets_that_a_bag_is_judged_by(top: float, picked: int) -> None:
    out = output(t=10)
    scores, _ = MILLoss(WEIGHTS, top=top).eval().pick(out)
    by_hand = [
        out.scores[b][out.magnitudes[b].argsort(descending=True)[:picked]].mean() for b in range(len(scores))
    ]
    torch.testing.assert_close(scores, torch.stack(by_hand))
