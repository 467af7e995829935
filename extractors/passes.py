"""Which network describes which cut of a snippet: a pass for every patch, or one over the frame for all.

The one over the frame, `dense`, is an approximation and a part of the work.

The backbone's last feature map of the frame is cut as the frame would have been, and
averaged within each cell. One pass does for all grids of a size, and cells see beyond
their borders, where a patch that enters the backbone by itself sees zeros.
"""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.extractors.backbones import Backbone, for_sums
from ssrl_pipeline.extractors.choices import Patches
from ssrl_pipeline.extractors.views import Frame, Grid, View

PATCHES = get_args(Patches)


class Pass(NamedTuple):
    """A network and the cut that it is given; its rows are the features of `views`, in their order."""

    cut: View
    network: nn.Module  # normalised float [B, 3, t, h, w] -> [B, D], or [B, sum of P, D]
    views: tuple[View, ...]


class Wanted(NamedTuple):
    """Which clips of a snippet are to be described: for the cut of each pass bool [P]."""

    described: tuple[np.ndarray, ...]
    checked: tuple[np.ndarray, ...]  # of these, the ones that have not changed

    @classmethod
    def everything(cls, passes: Sequence[Pass]) -> "Wanted":
        counts = [one.cut.count for one in passes]
        return cls(tuple(np.ones(n, bool) for n in counts), tuple(np.zeros(n, bool) for n in counts))

    @property
    def anything(self) -> bool:
        return any(one.any() for one in self.described)


def plan_passes(backbone: Backbone, views: Sequence[View], patches: str) -> tuple[Pass, ...]:
    """One pass per view; where `patches` is "dense", one for all grids of a resize."""
    passes: dict[View, Pass] = {}
    for view in views:
        if patches == "dense" and isinstance(view, Grid):
            frame = Frame(view.resize)
            if frame not in passes:
                grids = tuple(v for v in views if isinstance(v, Grid) and v.resize == view.resize)
                passes[frame] = Pass(frame, DensePatches(backbone, grids), grids)
        else:
            passes[view] = Pass(view, backbone, (view,))
    return tuple(passes.values())


def split_rows(
    rows: np.ndarray, passes: Sequence[Pass], wanted: Sequence[Wanted]
) -> list[dict[str, np.ndarray]]:
    """What the passes gave, as views of each snippet.

    Args:
        rows: float32 [n, D], pass by pass, in each snippet by snippet, those that were described alone.
        wanted: of each snippet.

    Returns:
        for each snippet, view name -> float32 [1, P, D]; rows that were not described are nan.
    """
    found: list[dict[str, np.ndarray]] = [{} for _ in wanted]
    begin = 0
    for number, one in enumerate(passes):
        counts = [view.count for view in one.views]
        share = sum(counts) // one.cut.count  # rows of a clip
        for views, of in zip(found, wanted, strict=True):
            mask = np.repeat(of.described[number], share)
            end = begin + int(mask.sum())
            whole = np.full((1, len(mask), rows.shape[1]), np.nan, np.float32)
            whole[0, mask] = rows[begin:end]
            begin = end
            parts = np.split(whole, np.cumsum(counts)[:-1], axis=1)
            views.update((view.name, part) for view, part in zip(one.views, parts, strict=True))
    return found


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

    def extra_repr(self) -> str:
        """What its weights do not tell of it."""
        return repr(self.grids)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, H, W] -> [B, sum of P, D], grid by grid."""
        last = self.backbone.feature_map(clips)
        return torch.cat([pool_cells(last, grid.rows, grid.columns) for grid in self.grids], dim=1)


def pool_cells(last: Tensor, rows: int, columns: int) -> Tensor:
    """Averages a feature map [B, D, t, h, w] over time and each cell's area -> [B, rows * columns, D].

    The map is a function that is constant on the unit square of each position, and
    is integrated exactly: a position that a border crosses counts in each cell by
    the share of it that lies there. In float32 at least, as :class:`Backbone` averages.
    """
    h, w = map(int, last.shape[-2:])  # numbers also where the network is traced
    pixels = last.mean(dim=2, dtype=for_sums(last.dtype))  # [B, D, h, w]
    cells = _shares(h, rows, pixels) @ pixels @ _shares(w, columns, pixels).T  # [B, D, rows, columns]
    return cells.flatten(2).transpose(1, 2)


def _shares(positions: int, cells: int, like: Tensor) -> Tensor:
    """[cells, positions]: what share of each cell is each position's; rows sum to 1.

    It is reckoned anew on the device of `like`, in whole numbers: that is some tiny kernels, where
    a matrix from the CPU would be a copy that the device waits for.
    """
    position = torch.arange(positions, device=like.device) * cells  # where each begins, of positions * cells
    cell = torch.arange(cells, device=like.device)[:, None] * positions
    overlap = torch.minimum(position + cells, cell + positions) - torch.maximum(position, cell)
    return overlap.clamp(min=0).to(like.dtype) / positions  # a cell is `positions` long
