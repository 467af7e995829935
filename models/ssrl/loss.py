"""The multiple-instance loss of RTFM (Tian et al., ICCV 2021), which SSRL trains with.

Dimensions: B bags of either kind, T snippets, C crops, F feature size, k = top * T.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssrl_pipeline.models.ssrl.network import SSRLOutput


class Losses(NamedTuple):
    """The terms, already weighted; `total` is their sum."""

    total: Tensor
    bags: Tensor  # binary cross-entropy of the bags' scores
    magnitude: Tensor  # abnormal features long, normal ones short
    smoothness: Tensor
    sparsity: Tensor
    correction: Tensor  # of a probe's evidence: small where the evidence suffices


@dataclass(frozen=True)
class LossWeights:
    margin: float = 100.0  # the length that abnormal features should have
    magnitude: float = 1e-4
    smoothness: float = 8e-4
    sparsity: float = 8e-3
    correction: float = 0.0
    dropout: float = 0.7  # of magnitudes, before the k greatest are picked


class MILLoss(nn.Module):
    """Judges each bag by its k snippets of the greatest feature magnitude.

    Args:
        weights: of the terms.
        top: k as a share of T; RTFM's and SSRL's is a tenth.
        across_videos: neighbours are taken over the flattened batch, as the
            published code does, and not within each video.
    """

    def __init__(
        self,
        weights: LossWeights | None = None,
        across_videos: bool = False,
        top: float = 0.1,
    ):
        super().__init__()
        self.weights = weights or LossWeights()
        self.across_videos, self.top = across_videos, top

    def forward(
        self, output: SSRLOutput, labels: Tensor, gather: Callable[[Tensor], Tensor] = lambda x: x
    ) -> Losses:
        """The loss of a batch of equally many normal and abnormal bags; not finite where a score is not.

        It is computed in the output's own precision also under autocast, and without
        waiting for a GPU.

        Args:
            output: of the model on 2B bags.
            labels: bool [2B], True for abnormal bags.
            gather: concatenates along B what several processes hold of one batch.
        """
        with torch.autocast(output.scores.device.type, enabled=False):
            bag_scores, bag_features = map(gather, self.pick(output))  # [2B], [2B, C, F]
            added = None if output.added is None else gather(output.added)
            return self._losses(bag_scores, bag_features, gather(output.scores), added, gather(labels))

    def _losses(
        self, bag_scores: Tensor, bag_features: Tensor, scores: Tensor, added: Tensor | None, labels: Tensor
    ) -> Losses:
        w = self.weights
        # On a GPU the cross-entropy of NaN would end the process.
        bags = F.binary_cross_entropy(bag_scores.nan_to_num(0.5), labels.to(bag_scores.dtype))
        bags = bags.masked_fill(bag_scores.isnan().any(), torch.nan)
        # Indices: a mask would make the host wait for the GPU to say how many it picks.
        normal, abnormal = labels.int().argsort(stable=True).chunk(2)  # [B] each
        lengths = bag_features.norm(dim=2)  # [2B, C]
        misfit = (w.margin - lengths[abnormal]).abs() + lengths[normal]  # [B, C], paired in order
        magnitude = w.magnitude * misfit.square().mean()
        anomalous = scores[abnormal]  # [B, T]
        steps = (anomalous.flatten() if self.across_videos else anomalous).diff(dim=-1)
        smoothness = w.smoothness * steps.square().sum()
        sparsity = w.sparsity * anomalous.norm()
        correction = scores.new_zeros(()) if added is None else w.correction * added.square().mean()
        total = bags + magnitude + smoothness + sparsity + correction
        return Losses(total, bags, magnitude, smoothness, sparsity, correction)

    def pick(self, output: SSRLOutput) -> tuple[Tensor, Tensor]:
        """Mean score [B] and mean feature [B, C, F] of each bag's k chosen snippets."""
        k = max(1, int(self.top * output.scores.shape[1] + 1e-6))
        keep = F.dropout(torch.ones_like(output.magnitudes), self.weights.dropout, self.training)
        top = (output.magnitudes * keep).topk(k, dim=1).indices  # [2B, k]
        scores = output.scores.gather(1, top).mean(dim=1)
        index = top[:, None, :, None].expand(-1, output.features.shape[1], -1, output.features.shape[3])
        return scores, output.features.gather(2, index).mean(dim=2)
