"""Named actions, told apart by a classifier that is trained already: nothing is learnt but what is usual.

A snippet's evidence is the log odds of the chosen actions' probabilities together, in the patch where these
are greatest; small figures fill a patch of 2x3 and not a whole frame.

Dimensions: B videos, T snippets, P patches, A actions, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssrl_pipeline.models.detector import Detector, Footage
from ssrl_pipeline.models.memory import STEEPNESS
from ssrl_pipeline.scales import scale_of

USUAL_ALARM = 0.99  # quantile of usual snippets, where no other is asked for
LEAST_SPREAD = 0.1  # log odds between the median and the alarm level, at the least


class ActionOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1; 0.5 is the alarm level
    evidence: Tensor  # [B, T, P], log odds that one of the actions is seen


class ActionDetector(Detector):
    """Scores snippets by the probability of chosen actions.

    A score of 0.5 is the alarm level, a quantile of usual snippets; the median one scores 0.1. Between and
    beyond them scores rise smoothly with the evidence, and approach 1 slowly, as those of
    :class:`~ssrl_pipeline.models.memory.PatchMemory` do.

    Args:
        feature_size: F.
        views: the one view that is looked at -> P.
        total: A, the classes of the classifier.
        chosen: which of these count, fewer than all.
        actions: their names, for those who read the checkpoint.
    """

    kind: ClassVar[str] = "actions"

    def __init__(
        self,
        feature_size: int,
        views: Mapping[str, int],
        total: int,
        chosen: Sequence[int],
        actions: Sequence[str] = (),
    ):
        super().__init__()
        if len(views) != 1:
            raise ValueError(f"actions are looked for in one view, not {len(views)}")
        if not chosen or len(set(chosen)) >= total or not all(0 <= place < total for place in chosen):
            raise ValueError(
                f"the chosen actions are some of {total}, and fewer than all, not {list(chosen)}"
            )
        self.feature_size, self.views = feature_size, dict(views)
        self.total, self.chosen, self.actions = total, sorted(set(chosen)), list(actions)
        self.register_buffer("weight", torch.zeros(total, feature_size))
        self.register_buffer("bias", torch.zeros(total))
        self.register_buffer("median", torch.tensor(-1.0))  # evidence of usual snippets
        self.register_buffer("alarm", torch.tensor(0.0))  # a high quantile of it

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "feature_size": self.feature_size,
            "views": self.views,
            "total": self.total,
            "chosen": self.chosen,
            "actions": self.actions,
        }

    def set_usual(self, evidence: Tensor, quantile: float) -> None:
        """Sets both levels from the evidence [N] of usual snippets."""
        median, alarm = evidence.double().quantile(torch.tensor([0.5, quantile], dtype=torch.float64))
        self.get_buffer("median").fill_(median)
        self.get_buffer("alarm").fill_(max(alarm, median + LEAST_SPREAD))

    @torch.no_grad()
    def adapted(self, footage: Footage) -> "ActionDetector":
        """With the levels of what the camera shows."""
        copy = super().adapted(footage)
        assert isinstance(copy, ActionDetector)
        ((name, _),) = self.views.items()
        copy.set_usual(self.evidence(footage.read(name)).amax(dim=-1), USUAL_ALARM)
        return copy

    def evidence(self, patches: Tensor) -> Tensor:
        """[..., P, F] -> [..., P]: log odds of all chosen actions together."""
        logits = F.linear(patches, self.get_buffer("weight"), self.get_buffer("bias"))
        others = [place for place in range(self.total) if place not in set(self.chosen)]
        return logits[..., self.chosen].logsumexp(dim=-1) - logits[..., others].logsumexp(dim=-1)

    def forward(self, views: Mapping[str, Tensor]) -> ActionOutput:
        """Scores snippets.

        Args:
            views: that of :attr:`views` as [B, T, P, F]; others are not looked at.

        Raises:
            ValueError: the view is missing or has another shape.
        """
        ((name, _),) = self.views.items()
        self.require(views)
        evidence = self.evidence(views[name])
        return ActionOutput(0.5 + 0.5 * F.softsign(self._beyond(evidence.amax(dim=-1))), evidence)

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log odds lost if a patch showed what the median usual snippet shows: of the greatest alone."""
        ((name, _),) = self.views.items()
        scale = scale_of(name)
        if scale is None:
            return {}
        evidence = self(views).evidence  # [B, T, P]
        first, second = evidence.topk(2, dim=-1).values.split(1, dim=-1)
        left = torch.maximum(second, self.get_buffer("median"))
        lost = (_log_odds(self._beyond(first)) - _log_odds(self._beyond(left))).clamp(min=0)
        return {scale: torch.where(evidence == first, lost, 0.0)}

    def _beyond(self, evidence: Tensor) -> Tensor:
        """How far above the alarm level, in units in which the median usual snippet is STEEPNESS below."""
        alarm, median = self.get_buffer("alarm"), self.get_buffer("median")
        return STEEPNESS * (evidence - alarm) / (alarm - median)


def _log_odds(beyond: Tensor) -> Tensor:
    """Of the score (1 + softsign(x)) / 2: log(1 + 2x) where x > 0."""
    return beyond.sign() * (2 * beyond.abs()).log1p()
