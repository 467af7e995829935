"""By what a stage's best checkpoint is chosen: validation bags, or test videos as published code does.

Dimensions: V videos.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from ssrl_pipeline.evaluation import frame_metrics
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import SSRL, MILLoss
from ssrl_pipeline.scoring import score_stored
from ssrl_pipeline.training.bags import Bags
from ssrl_pipeline.training.group import Group


class Verdict(NamedTuple):
    """What is known of a model's weights at one step."""

    val_loss: float | None = None  # cross-entropy of the validation bags, both classes alike
    test_auc: float | None = None  # of the frames of the test videos

    @property
    def cost(self) -> float | None:
        """The less, the better; None where there is nothing to choose by."""
        return self.val_loss if self.test_auc is None else 1 - self.test_auc


class Judge(Protocol):
    """Tells how good a model in evaluation mode is."""

    def __call__(self, model: SSRL) -> Verdict: ...


class NoJudge:
    """Where no video is kept to choose by: the last step counts as the best."""

    def __call__(self, model: SSRL) -> Verdict:
        return Verdict()


class ValidationJudge:
    """Judges by the bags of validation videos, which the processes share out among them."""

    def __init__(self, bags: Bags, loss: MILLoss, batch_size: int, group: Group):
        self.bags, self.loss, self.batch_size, self.group = bags, loss, batch_size, group

    @torch.no_grad()
    def __call__(self, model: SSRL) -> Verdict:
        own = range(self.group.rank, len(self.bags.videos), self.group.size)
        scores: dict[int, float] = {}
        for start in range(0, len(own), self.batch_size):
            index = own[start : start + self.batch_size]
            views, _ = self.bags.batch(index, self.group.device)
            picked, _ = self.loss.eval().pick(model(views))
            scores |= dict(zip(index, picked.tolist(), strict=True))
        for other in self.group.collect(scores):
            scores |= other
        ordered = torch.tensor([scores[i] for i in range(len(self.bags.videos))])  # [V]
        abnormal = self.bags.abnormal
        losses = F.binary_cross_entropy(ordered, abnormal.float(), reduction="none")
        return Verdict(val_loss=float((losses[abnormal].mean() + losses[~abnormal].mean()) / 2))


class FrameJudge:
    """Judges by the frames of the test videos. What is chosen so says nothing about new videos."""

    def __init__(self, store: Features, truth: Mapping[str, np.ndarray], group: Group):
        self.store, self.truth, self.group = store, truth, group

    def __call__(self, model: SSRL) -> Verdict:
        scores = {}
        for video in sorted(self.truth)[self.group.rank :: self.group.size]:
            scores[video] = score_stored(video, model, self.store, self.group.device)
        for other in self.group.collect(scores):
            scores |= other
        return Verdict(test_auc=frame_metrics(scores, self.truth).auc)
