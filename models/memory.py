"""A memory of normal patches: the nearest neighbours of each patch's feature at its own position.

Learns from normal videos alone; :mod:`ssrl_pipeline.models.memory_fit` fills it. A bounded memory of
patch features as in PatchCore (Roth et al., CVPR 2022), here one for each position of a fixed camera.

Dimensions: B videos, T snippets, P crops or patches, M remembered snippets, F feature size.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.scales import scale_of

STEEPNESS = 4.0  # makes the median normal snippet score 0.1


class MemoryOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1; 0.5 is the alarm level, see PatchMemory
    distances: dict[str, Tensor]  # view -> [B, T, P]: deviations above what normal patches are away


class ViewMemory(nn.Module):
    """One view: how far each patch is from the normal ones remembered at its position.

    Args:
        view: its name.
        positions: P.
        size: M, remembered snippets at each position.
        feature_size: F.
        neighbours: whose mean distance counts.
    """

    def __init__(self, view: str, positions: int, size: int, feature_size: int, neighbours: int = 1):
        super().__init__()
        self.view, self.size, self.neighbours = view, size, neighbours
        self.scaling = FeatureScaling([view], feature_size)
        self.register_buffer("normal", torch.zeros(positions, size, feature_size))  # standardised
        self.register_buffer("centre", torch.zeros(positions))  # of held-out normal distances
        self.register_buffer("deviation", torch.ones(positions))

    def forward(self, patches: Tensor) -> Tensor:
        """[B, T, P, F] -> [B, T, P]: distances less their normal centre, in normal deviations."""
        b, t, p, f = patches.shape
        queries = self.scaling(self.view, patches).reshape(b * t, p, f)
        normal, nearest = self.get_buffer("normal"), torch.empty(p, b * t, device=patches.device)
        for position in range(p):  # all at once would need P times the memory in a long video
            away = torch.cdist(queries[:, position], normal[position])  # [B*T, M]
            nearest[position] = away.topk(min(self.neighbours, away.shape[1]), largest=False).values.mean(1)
        distances = nearest.T.view(b, t, p)
        return (distances - self.get_buffer("centre")) / self.get_buffer("deviation")


class PatchMemory(Detector):
    """Scores the snippets of videos by what was never near in normal videos.

    A view's evidence is the log of the mean of exp(distance) over its patches:
    one patch far away is enough, several count more. The views' evidence is put
    in units of held-out normal snippets and added up. A score of 0.5 is the alarm
    level: the quantile of held-out normal snippets that was chosen when fitting
    (`alarm`, 0.99). The median one scores 0.1; what is as far above the alarm level
    as the median is below it scores 0.9. Scores approach 1 slowly, so that the
    strange and the stranger still differ.

    Args:
        feature_size: F.
        views: view name -> P.
        size: M, remembered snippets at each position.
        neighbours: whose mean distance counts.
        sizes: F of the views that have one of their own.
    """

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        feature_size: int,
        views: Mapping[str, int],
        size: int,
        neighbours: int = 1,
        sizes: Mapping[str, int] | None = None,
    ):
        super().__init__()
        if not views:
            raise ValueError("a memory needs at least one view")
        for name, value in {"feature_size": feature_size, "size": size, "neighbours": neighbours}.items():
            if value < 1:
                raise ValueError(f"{name} is 1 or more, not {value}")
        self.feature_size, self.size, self.neighbours = feature_size, size, neighbours
        self.views, self._own_sizes = dict(views), dict(sizes or {})
        self.memories = nn.ModuleDict(
            {
                name: ViewMemory(name, count, size, self.sizes[name], neighbours)
                for name, count in views.items()
            }
        )
        self.register_buffer("evidence_centre", torch.zeros(len(views)))  # of held-out normal snippets
        self.register_buffer("evidence_deviation", torch.ones(len(views)))
        self.register_buffer("median", torch.tensor(-1.0))  # of the views' sum, held-out normal snippets
        self.register_buffer("alarm", torch.tensor(0.0))  # the quantile of the same

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "feature_size": self.feature_size,
            "views": self.views,
            "size": self.size,
            "neighbours": self.neighbours,
            **({"sizes": self._own_sizes} if self._own_sizes else {}),
        }

    @property
    def sizes(self) -> dict[str, int]:
        return {name: self._own_sizes.get(name, self.feature_size) for name in self.views}

    def forward(self, views: Mapping[str, Tensor]) -> MemoryOutput:
        """Scores snippets.

        Args:
            views: each of :attr:`views` as [B, T, P, F]; others are not looked at.

        Raises:
            ValueError: a view is missing or has another shape.
        """
        self._check(views)
        distances = {name: memory(views[name]) for name, memory in self.memories.items()}
        total = self.total(torch.stack([evidence(z) for z in distances.values()], dim=-1))
        alarm = self.get_buffer("alarm")
        beyond = (total - alarm) / (alarm - self.get_buffer("median"))
        return MemoryOutput(0.5 + 0.5 * F.softsign(STEEPNESS * beyond), distances)

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log odds lost if a patch were as far as normal ones are on average."""
        distances = self(views).distances
        evidences = {name: evidence(z) for name, z in distances.items()}  # view -> [B, T]
        whole = self._log_odds(evidences)
        lost = {}
        for name, z in distances.items():
            scale = scale_of(name)
            if scale is None:
                continue
            without = []
            for position in range(z.shape[2]):
                occluded = z.clone()
                occluded[:, :, position] = 0  # the centre of held-out normal distances
                without.append(self._log_odds({**evidences, name: evidence(occluded)}))
            lost[scale] = (whole[..., None] - torch.stack(without, dim=-1)).clamp(min=0)
        return lost

    def _log_odds(self, evidences: Mapping[str, Tensor]) -> Tensor:
        """[B, T] of the score that the evidence gives, (1 + softsign(x)) / 2: log(1 + 2x) where x > 0."""
        alarm, median = self.get_buffer("alarm"), self.get_buffer("median")
        total = self.total(torch.stack([evidences[name] for name in self.views], dim=-1))
        x = STEEPNESS * (total - alarm) / (alarm - median)
        return x.sign() * (2 * x.abs()).log1p()

    def total(self, evidence_of_views: Tensor) -> Tensor:
        """[..., V], in the order of the views -> [...]: their sum in units of normal snippets."""
        centred = evidence_of_views - self.get_buffer("evidence_centre")
        return (centred / self.get_buffer("evidence_deviation")).sum(dim=-1)

    def _check(self, views: Mapping[str, Tensor]) -> None:
        for name, count in self.views.items():
            if name not in views:
                raise ValueError(f"view {name!r} is missing; there are {', '.join(views) or 'none'}")
            shape = tuple(views[name].shape)
            if len(shape) != 4 or shape[2:] != (count, size := self.sizes[name]):
                raise ValueError(f"view {name!r} is [B, T, {count}, {size}], not {list(shape)}")


def evidence(distances: Tensor) -> Tensor:
    """[..., P] -> [...]: log of the mean of exp over the patches."""
    return distances.logsumexp(dim=-1) - math.log(distances.shape[-1])
