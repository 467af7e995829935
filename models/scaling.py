"""Features in units of what is normal: each view's mean and deviation over normal training snippets."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class FeatureScaling(nn.Module):
    """(x - mean) / deviation, per view and feature; does nothing until :meth:`fit`.

    Args:
        views: names of the views.
        feature_size: F.
    """

    def __init__(self, views: Iterable[str], feature_size: int):
        super().__init__()
        self.views = tuple(views)
        for name in self.views:
            self.register_buffer(f"{name}_mean", torch.zeros(feature_size))
            self.register_buffer(f"{name}_deviation", torch.ones(feature_size))

    @property
    def is_fitted(self) -> bool:
        """Whether it does anything."""
        return any(self.get_buffer(f"{name}_mean").any() for name in self.views)

    @torch.no_grad()
    def fit(self, name: str, videos: Iterable[Tensor], floor: float = 0.1) -> None:
        """Takes the statistics of normal videos.

        Args:
            name: of the view.
            videos: [..., F] each, one after the other.
            floor: share of the mean deviation that is added to each, so that a
                feature that normal videos hardly use cannot drown the others.
        """
        mean = self.get_buffer(f"{name}_mean")
        count, total = 0, torch.zeros(2, len(mean), dtype=torch.float64)
        for video in videos:
            rows = video.flatten(0, -2).double()
            count += len(rows)
            total += torch.stack([rows.sum(dim=0), rows.square().sum(dim=0)])
        average, square = total / count
        deviation = (square - average.square()).clamp(min=0).sqrt()
        mean.copy_(average)
        self.get_buffer(f"{name}_deviation").copy_(deviation + floor * deviation.mean() + 1e-6)

    def forward(self, name: str, x: Tensor) -> Tensor:
        """[..., F] -> [..., F] of the view `name`."""
        return (x - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_deviation")
