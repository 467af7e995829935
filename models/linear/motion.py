"""A linear detector of motion: logistic regression on how fast, how unsteadily and which way cells move.

What I3D hardly tells: on real clips of fights the motion alone ranks well, and beside a probe on I3D's
features it adds to it.

Dimensions: B videos, T snippets, P cells of a frame, W numbers of a snippet.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ssrl_pipeline.models.linear.probe import LinearDetector
from ssrl_pipeline.scales import MOTION, MOTION_SIZE

STILL = 1e-4  # widths of the frame a frame: slower counts as this slow, for logarithms
MOVES, RUSHES = 8e-4, 4e-3  # widths a frame: 2 % and 10 % of the frame's in a second of 25
RARE = 0.01  # added to shares, for logarithms
MOST, BUSY = 3, 0.3  # cells that count as the most moving; share of the greatest speed that is busy
NUMBERS = 26  # W


class MotionDetector(LinearDetector):
    """A linear detector on the view `motion`.

    Args:
        cells: P.
    """

    kind: ClassVar[str] = "motion"

    def __init__(self, cells: int = 48):
        if cells < MOST:
            raise ValueError(f"motion is of {MOST} cells or more, not {cells}")
        super().__init__(NUMBERS)
        self.feature_size, self.views = MOTION_SIZE, {MOTION: cells}

    @property
    def arguments(self) -> dict[str, Any]:
        return {"cells": self.views[MOTION]}

    def pool(self, views: Mapping[str, Tensor]) -> Tensor:
        self.require(views)
        return motion_numbers(views[MOTION])


def motion_numbers(cells: Tensor) -> Tensor:
    """[B, T, P, 12], as :func:`ssrl_pipeline.extractors.motion.snippet_motion` tells -> [B, T, W].

    Of speed, its root mean square, its deviation and its change: mean, deviation and 95 % quantile over
    cells, and the most moving cell; the greatest rms and change of any cell; shares of cells that move;
    how mixed the directions are; and how much of the motion is in one place. What has no upper bound is a
    logarithm, so that a camera that is twice as near differs by a sum.
    """
    cells = cells.clamp(min=0)
    kinds = cells[..., :4].unbind(dim=-1)  # [B, T, P]: speed, rms, deviation, change
    speed, rms, _, change = kinds
    ways = cells[..., 4:] * speed[..., None]  # [B, T, P, 8]
    top = speed.topk(MOST, dim=-1).indices  # [B, T, 3]
    ways_of_top = ways.gather(2, top[..., None].expand(*top.shape, ways.shape[-1]))
    sizes = [number for kind in kinds for number in (kind.mean(-1), kind.std(-1, correction=0), _high(kind))]
    sizes += [kind.gather(-1, top[..., :1])[..., 0] for kind in kinds]
    sizes += [rms.amax(dim=-1), change.amax(dim=-1)]
    mean, most = speed.mean(dim=-1), speed.amax(dim=-1)
    shares = [(speed > MOVES).float().mean(dim=-1), (speed > RUSHES).float().mean(dim=-1)]
    mixed = [
        _entropy(ways_of_top).mean(dim=-1),
        (_entropy(ways) * speed).sum(dim=-1) / speed.sum(dim=-1).clamp(min=STILL),
        _entropy(ways_of_top.sum(dim=2)),
        _entropy(ways.sum(dim=2)),
    ]
    busy = (speed > BUSY * most[..., None]).float().mean(dim=-1)
    peak = most.clamp(min=STILL) / mean.clamp(min=STILL)
    logs = [size.clamp(min=STILL) for size in sizes] + [share + RARE for share in [*shares, busy]] + [peak]
    return torch.stack([*(one.log() for one in logs), *mixed], dim=-1)


def _high(values: Tensor) -> Tensor:
    """The 95 % quantile over the last axis, between its neighbours, as torch.quantile: ONNX has not that."""
    last = values.shape[-1] - 1
    low = int(0.95 * last)
    share = 0.95 * last - low
    above = values.topk(last - low + 1, dim=-1).values  # the greatest first; `low` stands last
    return above[..., -1] * (1 - share) + above[..., -2] * share


def _entropy(ways: Tensor) -> Tensor:
    """[..., 8], amounts of motion -> [...]: nats, 0 where all goes one way or nothing moves."""
    shares = ways / ways.sum(dim=-1, keepdim=True).clamp(min=1e-9)
    return -(shares * shares.clamp(min=1e-9).log()).sum(dim=-1)
