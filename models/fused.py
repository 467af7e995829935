"""SSRL and the memory of normal patches side by side, their scores averaged as log odds.

Dimensions: B videos, T snippets, P patches, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.models.memory import PatchMemory
from ssrl_pipeline.models.ssrl import SSRL

EPS = 1e-6  # scores nearer to 0 or 1 count as this near


class FusedOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1
    ssrl: Tensor  # [B, T], its scores
    memory: Tensor  # [B, T], its scores
    distances: dict[str, Tensor]  # of the memory: view -> [B, T, P]


class FusedDetector(Detector):
    """The weighted mean of SSRL's and the memory's scores, in log odds.

    Log odds, because what SSRL is sure of lies so near 1 that the memory could
    not rank it otherwise. Both have their alarm level at 0.5: SSRL's score is
    trained as a probability, the memory's is a quantile of normal snippets.

    Args:
        ssrl: arguments of :class:`SSRL`.
        memory: arguments of :class:`PatchMemory`.
        weight: of SSRL, 0 to 1.
    """

    kind: ClassVar[str] = "fused"

    def __init__(self, ssrl: Mapping[str, Any], memory: Mapping[str, Any], weight: float = 0.5):
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is 0 to 1, not {weight}")
        self.ssrl, self.memory, self.weight = SSRL(**ssrl), PatchMemory(**memory), weight
        if self.ssrl.feature_size != self.memory.feature_size:
            raise ValueError(
                f"SSRL takes {self.ssrl.feature_size} features, the memory {self.memory.feature_size}"
            )
        self.feature_size = self.ssrl.feature_size
        self.views = self.ssrl.views | self.memory.views

    @classmethod
    def of(cls, ssrl: Detector, memory: Detector, weight: float) -> "FusedDetector":
        """Of a trained SSRL and a trained memory, with whose weights it works."""
        with torch.device("meta"):
            model = cls(ssrl.arguments, memory.arguments, weight)
        for part, trained in zip(model.parts, (ssrl, memory), strict=True):
            part.load_state_dict(trained.state_dict(), assign=True)
        return model.eval()

    @property
    def arguments(self) -> dict[str, Any]:
        return {"ssrl": self.ssrl.arguments, "memory": self.memory.arguments, "weight": self.weight}

    def forward(self, views: Mapping[str, Tensor]) -> FusedOutput:
        """Scores snippets; `views` as of both parts, which raise ValueError where one does not fit."""
        ssrl, memory = self.ssrl(views), self.memory(views)
        scores = self.combine([ssrl.scores, memory.scores])
        return FusedOutput(scores, ssrl.scores, memory.scores, memory.distances)

    @property
    def parts(self) -> tuple[Detector, ...]:
        return self.ssrl, self.memory

    def combine(self, scores: Sequence[Tensor]) -> Tensor:
        ssrl, memory = scores
        return blend(ssrl, memory, self.weight)

    @property
    def reach(self) -> int:
        return self.ssrl.reach

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts' weighted sum, as their log odds are summed."""
        heat: dict[str, Tensor] = {}
        for weight, part in ((self.weight, self.ssrl), (1 - self.weight, self.memory)):
            for scale, its in part.heat(views).items():
                heat[scale] = heat[scale] + weight * its if scale in heat else weight * its
        return heat


def blend(ssrl: Tensor, memory: Tensor, weight: float) -> Tensor:
    """Scores of both, of one shape, as one: their log odds' mean with `weight` for SSRL."""
    return torch.sigmoid(weight * torch.logit(ssrl, EPS) + (1 - weight) * torch.logit(memory, EPS))
