"""Patches that do not count: in features as `watch` leaves them out, in results by what the heat says.

Dimensions: T snippets, P patches.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.scales import parse_scale, view_of
from ssrl_pipeline.teaching.lessons import cells_of
from ssrl_pipeline.teaching.verdicts import Patch
from ssrl_pipeline.watching import Sight

EPS = 1e-6


def hidden_by(masks: Sequence[Patch], views: Mapping[str, int]) -> dict[str, np.ndarray]:
    """View -> bool [P]: the patches that do not count, as `watch` leaves them out: of which half is masked.

    Args:
        views: of a detector, name -> P.

    Raises:
        ConfigError: it looks at no such patch, or at no other.
    """
    if not masks:
        return {}
    hidden = Sight(tuple(map(_corners, masks))).hidden(views)
    said = " ".join(f"--mask {mask}" for mask in masks)
    if not hidden:
        raise ConfigError(f"{said}: covers half of no patch that the detector looks at ({', '.join(views)})")
    if closed := [view for view, which in hidden.items() if which.all()]:
        raise ConfigError(f"{said}: leaves nothing of {closed[0]}")
    return hidden


def _corners(mask: Patch) -> tuple[tuple[float, float], ...]:
    rows, columns = parse_scale(mask.scale)
    row, column = divmod(mask.cell, columns)
    left, right, top, bottom = column / columns, (column + 1) / columns, row / rows, (row + 1) / rows
    return (left, top), (right, top), (right, bottom), (left, bottom)


def masked(scores: np.ndarray, heat: Mapping[str, np.ndarray], masks: Sequence[Patch]) -> np.ndarray:
    """Scores [T] less what the masked patches add to their log odds.

    Args:
        heat: scale -> [T, P], log odds; of several scales the one with the most there counts.
    """
    added = np.zeros(len(scores))
    for scale, rows in heat.items():
        cells = np.any([cells_of(view_of(scale), rows.shape[1], mask) for mask in masks], axis=0)
        added = np.maximum(added, rows[:, cells].sum(axis=1))
    clipped = np.clip(scores.astype(np.float64), EPS, 1 - EPS)
    odds = np.log(clipped) - np.log1p(-clipped) - added
    lowered = 1 / (1 + np.exp(-odds))
    return np.where(added > 0, lowered, scores).astype(np.float32)
