"""By what a stage's best checkpoint is chosen: validation bags, or test videos as published code does.

Dimensions: V videos.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from ssrl_pipeline.evaluation import frame_metrics
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import SSRL, MILLoss
from ssrl_pipeline.scoring import score_stored
from ssrl_pipeline.training.bags import Bags
from ssrl_pipeline.training.group import Group


class Validated(NamedTuple):
    """What is known of a model's weights at one step."""

    val_loss: float | None = None  # cross-entropy of the validation bags, both classes alike
    test_auc: float | None = None  # of the frames of the test videos
    losses: tuple[float, ...] = ()  # of the validation bags, whose mean is `val_loss`

    @property
    def cost(self) -> float | None:
        """The less, the better; None where there is nothing to choose by."""
        return self.val_loss if self.test_auc is None else 1 - self.test_auc

    @property
    def figures(self) -> dict[str, float | None]:
        """What is logged and kept."""
        return {"val_loss": self.val_loss, "test_auc": self.test_auc}

    def beats(self, best: "Validated") -> bool:
        """Whether it is better than the best so far, by more than chance.

        Of validation bags, whose losses differ by more than one standard error of their mean
        difference: of checkpoints that are as good, the earliest is the one that chance shaped least.
        """
        if self.cost is None or best.cost is None:
            return True
        gains = np.subtract(best.losses, self.losses) if self.losses and best.losses else np.zeros(1)
        chance = float(gains.std(ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        return best.cost - self.cost > chance


def best_of(state: dict[str, Any]) -> Validated:
    """What is known of the best checkpoint so far, from a state that this or an older version has saved."""
    if "best" in state:
        val_loss, test_auc, losses = state["best"]
        return Validated(val_loss, test_auc, tuple(losses))
    return Validated(val_loss=state["best_cost"]) if math.isfinite(state["best_cost"]) else Validated()


class Judge(Protocol):
    """Tells how good a model in evaluation mode is."""

    def __call__(self, model: SSRL) -> Validated: ...

    def rivals(self, model: SSRL) -> dict[str, float]:
        """How the model last judged and others do by the same videos, for the record."""
        ...


class NoJudge:
    """Where no video is kept to choose by: the last step counts as the best."""

    def __call__(self, model: SSRL) -> Validated:
        return Validated()

    def rivals(self, model: SSRL) -> dict[str, float]:
        return {}


class ValidationJudge:
    """Judges by the bags of validation videos, which the processes share out among them."""

    def __init__(self, bags: Bags, loss: MILLoss, batch_size: int, group: Group):
        self.bags, self.loss, self.batch_size, self.group = bags, loss, batch_size, group
        self._scores = torch.empty(0)  # [V], of the bags, by the model last judged

    @torch.no_grad()
    def __call__(self, model: SSRL) -> Validated:
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
        abnormal, self._scores = self.bags.abnormal, ordered
        losses = F.binary_cross_entropy(ordered, abnormal.float(), reduction="none")
        shares = torch.where(abnormal, 1 / abnormal.sum(), 1 / (~abnormal).sum()) / 2
        each = losses * shares * len(losses)
        return Validated(val_loss=float(each.mean()), losses=tuple(each.tolist()))

    @torch.no_grad()
    def rivals(self, model: SSRL) -> dict[str, float]:
        """Areas under the ROC curve over the bags: "auc", and "probe_auc" of its evidence by itself."""
        abnormal = self.bags.abnormal.numpy()
        if model.probe is None or len(set(abnormal.tolist())) < 2:
            return {}
        odds = []
        for row in range(len(abnormal)):
            views, _ = self.bags.batch([row], self.group.device)
            odds.append(float(model.probe(views).odds.mean()))
        return {
            "auc": float(roc_auc_score(abnormal, self._scores)),
            "probe_auc": float(roc_auc_score(abnormal, odds)),
        }


class FrameJudge:
    """Judges by the frames of the test videos. What is chosen so says nothing about new videos."""

    def __init__(self, store: Features, truth: Mapping[str, np.ndarray], group: Group):
        self.store, self.truth, self.group = store, truth, group

    def __call__(self, model: SSRL) -> Validated:
        scores = {}
        for video in sorted(self.truth)[self.group.rank :: self.group.size]:
            scores[video] = score_stored(video, model, self.store, self.group.device)
        for other in self.group.collect(scores):
            scores |= other
        return Validated(test_auc=frame_metrics(scores, self.truth).auc)

    def rivals(self, model: SSRL) -> dict[str, float]:
        return {}


def beside_probe(what: str, own: float, probe: float) -> str:
    """How a detector and a linear probe rank the same videos; where the probe does better, what to type."""
    line = f"{what}: {own:.3f}; a linear probe reaches {probe:.3f}"
    if probe <= own:
        return line
    return f"{line}: try --model probe, or --model auto, which takes what is best"
