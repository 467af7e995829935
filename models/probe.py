"""Linear detectors: logistic regression on what stands out in a snippet, the rival of all that learns more.

Dimensions: B videos, T snippets, P crops or patches, F feature size, W pooled size.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.scales import scale_of

POOLED = "pooled"  # the one view, to the scaling
FLOOR = 0.01  # share of the mean deviation that each gets more: what hardly varies must not drown the rest


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

    def pool(self, views: Mapping[str, Tensor]) -> Tensor:
        self._check(views)
        pooled = [views[n].amax(dim=2) if scale_of(n) else views[n].mean(dim=2) for n in self.views]
        return torch.cat(pooled, dim=-1)

    def _check(self, views: Mapping[str, Tensor]) -> None:
        for name, count in self.views.items():
            if name not in views:
                raise ValueError(f"view {name!r} is missing; there are {', '.join(views) or 'none'}")
            shape = tuple(views[name].shape)
            if len(shape) != 4 or shape[3] != self.feature_size or (scale_of(name) and shape[2] != count):
                raise ValueError(f"view {name!r} is [B, T, {count}, {self.feature_size}], not {list(shape)}")
