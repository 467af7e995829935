"""Features in units of what is normal: each view's mean and deviation over normal training snippets."""

from collections.abc import Iterable, Mapping

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

    @torch.no_grad()
    def fit(self, views: Mapping[str, Tensor], floor: float = 0.1) -> None:
        """Takes the statistics of normal videos.

        Args:
            views: view name -> [..., F].
            floor: share of the mean deviation that is added to each, so that a
                feature that normal videos hardly use cannot drown the others.
        """
        for name in self.views:
            rows = views[name].flatten(0, -2)
            deviation = rows.std(dim=0, correction=0)
            self.get_buffer(f"{name}_mean").copy_(rows.mean(dim=0))
            self.get_buffer(f"{name}_deviation").copy_(deviation + floor * deviation.mean() + 1e-6)

    def forward(self, name: str, x: Tensor) -> Tensor:
        """[..., F] -> [..., F] of the view `name`."""
        return (x - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_deviation")
