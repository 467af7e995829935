"""Linear detectors: logistic regression on what stands out in a snippet, the rival of all that learns more.

Dimensions: B videos, T snippets, P crops or patches, F feature size, W pooled size.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.models.detector import Detector, Footage
from ssrl_pipeline.models.lessons import Lesson, fine_tune
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.scales import scale_of

POOLED = "pooled"  # the one view, to the scaling
FLOOR = 0.01  # share of the mean deviation that each gets more: what hardly varies must not drown the rest
STRETCH = 8  # snippets, of which the mean is taken to see what varies in normal footage
RIDGE = 0.1  # share of the mean variance along a direction, below which it hardly counts


class ProbeOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1
    odds: Tensor  # [B, T], their log odds


class LinearDetector(Detector):
    """Scores each snippet by a weighted sum of W numbers, in units of the normal training snippets.

    A kind says by :meth:`pool` which numbers these are.

    Args:
        size: W.
    """

    def __init__(self, size: int):
        super().__init__()
        self.scaling = FeatureScaling([POOLED], size)
        self.linear = nn.Linear(size, 1)

    def pool(self, views: Mapping[str, Tensor]) -> Tensor:
        """View name -> [B, T, P, F], as one [B, T, W]; raises as :meth:`forward`."""
        raise NotImplementedError

    def forward(self, views: Mapping[str, Tensor]) -> ProbeOutput:
        """Scores snippets.

        Args:
            views: each of :attr:`views` as [B, T, P, F]; others are not looked at.

        Raises:
            ValueError: a view is missing or has another shape.
        """
        odds: Tensor = self.linear(self.scaled(self.pool(views))).squeeze(-1)
        return ProbeOutput(odds.sigmoid(), odds)

    def fit_scaling(self, pooled: Iterable[Tensor]) -> None:
        """Takes the mean and the deviation of normal snippets, [n, W] at a time."""
        self.scaling.fit(POOLED, pooled, FLOOR)

    def scaled(self, pooled: Tensor) -> Tensor:
        """[..., W] in units of normal snippets."""
        scaled: Tensor = self.scaling(POOLED, pooled)
        return scaled

    @torch.no_grad()
    def adapted(self, footage: Footage) -> "LinearDetector":
        """With the camera's mean for the normal one, and deaf to what varies there anyway.

        Weights lose what they have along directions in which stretches of normal footage differ: as in
        Fisher's discriminant the covariance of what is normal, and a ridge, are divided by.
        """
        copy = super().adapted(footage)
        assert isinstance(copy, LinearDetector)
        pooled = self.footage_rows(footage)
        copy.scaling.get_buffer(f"{POOLED}_mean").copy_(pooled.double().mean(dim=0))
        rows = stretches(copy.scaled(pooled).double(), footage.parts)
        copy.linear.weight.copy_(quieted(self.linear.weight.double(), rows))
        return copy

    def footage_rows(self, footage: Footage) -> Tensor:
        """What a camera normally shows: [N, W]."""
        return self.pool({name: footage.read(name)[None] for name in self.views})[0]

    def learn(self, lessons: Sequence[Lesson]) -> bool:
        fine_tune(self, lessons)
        return True


class LinearProbe(LinearDetector):
    """A linear detector on pooled features of the backbone.

    Of the crops the mean counts, of each scale of patches the greatest value of each feature, all of it
    in units of the normal training snippets' mean and deviation.

    Args:
        feature_size: F.
        views: view name -> P.
    """

    kind: ClassVar[str] = "probe"

    def __init__(self, feature_size: int, views: Mapping[str, int]):
        if not views:
            raise ValueError("a probe needs at least one view")
        super().__init__(feature_size * len(views))
        self.feature_size, self.views = feature_size, dict(views)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"feature_size": self.feature_size, "views": self.views}

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log odds lost if a patch were as the other patches of its scale are on average."""
        whole, lost = self.forward(views).odds, {}
        for name, count in self.views.items():
            if (scale := scale_of(name)) is None:
                continue
            without = []
            for position in range(count):
                patches = views[name].clone()
                others = patches.sum(dim=2) - patches[:, :, position]
                patches[:, :, position] = others / max(count - 1, 1)
                without.append(self.forward({**views, name: patches}).odds)
            lost[scale] = (whole[..., None] - torch.stack(without, dim=-1)).clamp(min=0)
        return lost

    def footage_rows(self, footage: Footage) -> Tensor:
        """One view after the other, for they are large."""
        return torch.cat([self._pooled(name, footage.read(name)) for name in self.views], dim=-1)

    def pool(self, views: Mapping[str, Tensor]) -> Tensor:
        self.require(views, uncounted=[name for name in self.views if not scale_of(name)])
        return torch.cat([self._pooled(name, views[name]) for name in self.views], dim=-1)

    @staticmethod
    def _pooled(name: str, rows: Tensor) -> Tensor:
        """Of one view: [..., P, F] -> [..., F]."""
        return rows.amax(dim=-2) if scale_of(name) else rows.mean(dim=-2)


def stretches(rows: Tensor, parts: np.ndarray) -> Tensor:
    """[N, W] -> [K, W]: means over stretches of up to STRETCH snippets, each within one part."""
    begins = np.flatnonzero(np.diff(parts, prepend=parts[0] - 1))
    whole = rows.tensor_split(torch.from_numpy(begins[1:]))
    return torch.stack([piece.mean(dim=0) for part in whole for piece in part.split(STRETCH)])


def quieted(weight: Tensor, rows: Tensor) -> Tensor:
    """Weights [1, W] less what they have along the directions in which centred rows [K, W] vary."""
    _, sizes, axes = torch.linalg.svd(rows, full_matrices=False)
    energy = sizes.square()
    share = energy / (energy + RIDGE * energy.mean()).clamp(min=torch.finfo(energy.dtype).tiny)
    return weight - (weight @ axes.T * share) @ axes
