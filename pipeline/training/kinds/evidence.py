"""What a linear probe knows of the training bags, for an SSRL that learns the rest.

While SSRL learns, a bag's evidence is that of a probe which did not learn from the bag: what a probe
says of its own training videos is too good to leave anything to learn. In validation, and later, the
evidence is that of one probe of all training videos.

Dimensions: V videos, T segments, W pooled size (:class:`ssrl_pipeline.models.LinearProbe`).
"""

import numpy as np
import torch

from ssrl_pipeline.data import Labels, possible_folds
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.scales import EVIDENCE
from ssrl_pipeline.training.bags import Bags
from ssrl_pipeline.training.kinds.linear import OF_FEATURES, Rows, fit_rows

FOLDS = 5  # in which bags are held out
LEAST = 1e-6  # a deviation of log odds, where normal segments do not differ


@torch.no_grad()
def fit_evidence(probe: LinearProbe, bags: Bags, labels: Labels, seed: int) -> None:
    """Fits a probe to bags, and gives each bag its evidence by a probe that did not learn from it.

    The unit is the deviation over normal bags, so that the evidence weighs alike on any set of videos.

    Args:
        bags: get a branch of the name EVIDENCE, [V, T].
        labels: of the bags' videos; groups are not parted.
    """
    abnormal = bags.abnormal.numpy()

    def pooled(row: int) -> torch.Tensor:
        """[T, W]; anew each time, for all bags at once need not fit in memory."""
        return probe.pool({name: bags.bag(name, row)[None].cpu() for name in probe.views})[0]

    probe.fit_scaling(pooled(row) for row in np.flatnonzero(~abnormal).tolist())
    means = [probe.scaled(pooled(row)).double().mean(dim=0) for row in range(len(abnormal))]
    rows = Rows(torch.stack(means).numpy(), abnormal)
    parts = held_out_rows(bags.videos, labels, seed)
    odds = torch.zeros(next(iter(bags.views.values())).shape[:2])
    for held in parts:
        fit_rows(probe, Rows(rows.bags[~held], abnormal[~held]), OF_FEATURES)
        for row in np.flatnonzero(held).tolist():
            odds[row] = probe.linear(probe.scaled(pooled(row))).squeeze(-1)
    fit_rows(probe, rows, OF_FEATURES)
    unit = max(float(odds[~abnormal].std(correction=0)), LEAST)
    for parameter in probe.linear.parameters():
        parameter.mul_(1 / unit if parts else 0)  # no evidence where none can be held out
    bags.branches[EVIDENCE] = odds / unit


def held_out_rows(videos: list[str], labels: Labels, seed: int) -> list[np.ndarray]:
    """bool [V] for each of some parts, which no group is in two of; none where a class has too few videos."""
    parts = possible_folds({video: labels[video] for video in videos}, FOLDS, seed)
    return [np.isin(videos, part) for part in parts]
