"""Patches from one pass over the whole frame: an approximation of a pass for every patch.

The backbone's last feature map of the frame is cut as the frame would have been, and
averaged within each cell. One pass does for all grids of a size, and cells see beyond
their borders, where a patch that enters the backbone by itself sees zeros.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssrl_pipeline.extractors.backbone import Backbone
from ssrl_pipeline.extractors.views import Grid


class DensePatches(nn.Module):
    """A backbone that describes the cells of several grids instead of the whole clip.

    Args:
        backbone: whose last feature map is cut.
        grids: all of one resize.
    """

    def __init__(self, backbone: Backbone, grids: Sequence[Grid]):
        super().__init__()
        self.backbone = backbone
        self.grids = tuple(grids)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, H, W] -> [B, sum of P, D], grid by grid; :meth:`split` names them."""
        last = self.backbone.feature_map(clips)
        return torch.cat([pool_cells(last, grid.rows, grid.columns) for grid in self.grids], dim=1)

    def split(self, features: Tensor) -> dict[str, Tensor]:
        """[B, sum of P, D] -> view name -> [B, P, D]."""
        parts = features.split([grid.count for grid in self.grids], dim=1)
        return {grid.name: part for grid, part in zip(self.grids, parts, strict=True)}


def pool_cells(last: Tensor, rows: int, columns: int) -> Tensor:
    """Averages a feature map [B, D, t, h, w] over time and each cell's area -> [B, rows * columns, D].

    The map is a function that is constant on the unit square of each position, and
    is integrated exactly: a position that a border crosses counts in each cell by
    the share of it that lies there.
    """
    h, w = last.shape[-2:]
    down = _overlaps(h, rows).to(last) / h  # [rows, h], each row sums to 1
    across = _overlaps(w, columns).to(last) / w  # [columns, w]
    cells = down @ last.mean(dim=2) @ across.T  # [B, D, rows, columns]
    return cells.flatten(2).transpose(1, 2)


def _overlaps(positions: int, cells: int) -> Tensor:
    """int64 [cells, positions]: on how much of a length each pair overlaps; a cell is `positions` long."""
    position = torch.arange(positions) * cells  # where each begins, on a length of positions * cells
    cell = torch.arange(cells)[:, None] * positions
    return (torch.minimum(position + cells, cell + positions) - torch.maximum(position, cell)).clamp(min=0)
