"""Masks and zones: parts of a camera's frame that do not count, and parts that have a name.

What is masked is painted over before a snippet is cut into views, with colours that run on from what is
seen around it. So nothing that happens there changes a feature of any view. A patch of which at least half
is masked does not count at all (:meth:`ssrl_pipeline.models.Detector.hide`): painted over, it would look
unlike what the model learnt.

Dimensions: P patches of a scale, row by row; H x W pixels, t frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ssrl_pipeline.results import frame_heat
from ssrl_pipeline.scales import parse_scale, scale_of

Polygon = tuple[tuple[float, float], ...]  # (x, y), as shares of the frame's width and height
HIDING = 0.5  # share of a patch that is masked from which on it does not count
TOUCHING = 0.1  # share of a patch or of a zone, from which on they have something in common
HOT = 0.5  # share of the greatest heat, from which on a place belongs to what is seen
CELL = 128  # points to either side of a patch, at which areas are measured
PAINT = 64  # pixels to either side, in which colours are found
_FRACTIONS = 16  # of a pixel: 2 ** 4


@dataclass(frozen=True)
class Zone:
    """A part of the frame that events name."""

    name: str
    area: Polygon


@dataclass(frozen=True)
class Sight:
    """What of a camera's frame counts, and what is where in it."""

    masks: tuple[Polygon, ...] = ()
    zones: tuple[Zone, ...] = ()

    def cover(self, images: np.ndarray) -> np.ndarray:
        """Paints over what is masked: uint8 [t, H, W, 3] -> the same, a copy where there are masks."""
        return paint_over(images, masked_pixels(self.masks, *images.shape[1:3])) if self.masks else images

    def hidden(self, views: Mapping[str, int]) -> dict[str, np.ndarray]:
        """View -> bool [P], whether each patch does not count; of views that have such patches.

        Args:
            views: name -> P.
        """
        if not self.masks:
            return {}
        found = {name: hidden_patches(self.masks, scale) for name in views if (scale := scale_of(name))}
        return {name: hidden for name, hidden in found.items() if hidden.any()}

    def zones_at(self, heat: Mapping[str, np.ndarray]) -> list[str]:
        """The names of the zones that hot places are in, in the file's order.

        Args:
            heat: scale -> [P], of one snippet, as :func:`ssrl_pipeline.models.occlusion.patch_heat` has it.
        """
        if not heat or not self.zones:
            return []
        cells = frame_heat({scale: rows[None].astype(np.float32) for scale, rows in heat.items()})[0]
        hot = cells >= HOT * cells.max() if cells.max() > 0 else np.zeros_like(cells, bool)
        return [zone.name for zone in self.zones if _touches(zone.area, hot)]


def masked_pixels(polygons: tuple[Polygon, ...], height: int, width: int) -> np.ndarray:
    """bool [H, W]: every pixel that a polygon touches."""
    return _drawn(polygons, height, width)


def hidden_patches(polygons: tuple[Polygon, ...], scale: str) -> np.ndarray:
    """bool [P]: the patches of a scale of which at least half is inside polygons."""
    return shares(polygons, *parse_scale(scale)).ravel() >= HIDING


@lru_cache(maxsize=256)
def shares(polygons: tuple[Polygon, ...], rows: int, columns: int) -> np.ndarray:
    """float [rows, columns]: the share of each cell of a grid over the frame that polygons cover."""
    drawn = _drawn(polygons, rows * CELL, columns * CELL)
    found: np.ndarray = drawn.reshape(rows, CELL, columns, CELL).mean(axis=(1, 3))
    return found


def paint_over(images: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """A copy in which masked pixels have colours of the first frame's others: of those near them, mostly.

    Args:
        images: uint8 [t, H, W, 3].
        masked: bool [H, W].
    """
    height, width = masked.shape
    painted = images.copy()
    small = min(PAINT, width), min(PAINT, height)
    seen = (~masked).view(np.uint8)
    weight = cv2.resize(seen.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    shown = cv2.copyTo(images[0], seen, np.zeros_like(images[0]))
    colours = cv2.resize(shown.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    blended = np.clip(_spread(colours, weight) + 0.5, 0, 255).astype(np.uint8)
    paint = cv2.resize(blended, (width, height), interpolation=cv2.INTER_LINEAR)
    for frame in painted:
        cv2.copyTo(paint, masked.view(np.uint8), frame)
    return painted


def _spread(colours: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Colours [h, w, 3], each times its weight [h, w], as colours everywhere: ever wider means fill gaps."""
    if min(weight.shape) > 1:
        half = max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2)
        wider = _spread(
            cv2.resize(colours, half, interpolation=cv2.INTER_AREA),
            cv2.resize(weight, half, interpolation=cv2.INTER_AREA),
        )
    else:
        total = weight.sum()
        wider = (colours.sum(axis=(0, 1)) / total if total else np.full(3, 127.5, np.float32))[None, None]
    around = cv2.resize(wider, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    filled: np.ndarray = colours + (1 - weight)[..., None] * around
    return filled.astype(np.float32)


def _touches(area: Polygon, hot: np.ndarray) -> bool:
    """Whether a polygon has at least TOUCHING of itself in hot cells, or covers as much of one."""
    covered = shares((area,), *hot.shape)
    inside = covered[hot]
    return bool(inside.size and (inside.max() >= TOUCHING or inside.sum() >= TOUCHING * covered.sum() > 0))


@lru_cache(maxsize=256)
def _drawn(polygons: tuple[Polygon, ...], height: int, width: int) -> np.ndarray:
    """bool [height, width], whether each pixel is in a polygon or at its edge."""
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.array(polygon) * (width, height) - 0.5  # a pixel's middle has the whole number
        points = np.round(corners * _FRACTIONS).astype(np.int32)
        cv2.fillPoly(canvas, [points], 1, shift=_FRACTIONS.bit_length() - 1)
    return canvas.astype(bool)
