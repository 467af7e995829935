"""Heat of patches into one map over the frame.

Dimensions: T snippets, P patches, h x w cells of the map.
"""

import math
from collections.abc import Mapping

import numpy as np

from ssrl_pipeline.scales import parse_scale


def frame_heat(heat: Mapping[str, np.ndarray]) -> np.ndarray:
    """One map of all scales.

    A scale's patches tile the whole frame, stretched to a size of its own, so each
    is a share of the frame's height and width whatever its size in pixels. The map
    has the coarsest grid on which every patch is made of whole cells: 6 x 15 of 2x3
    and 3x5, 12 x 105 with 4x7. A patch's heat is spread evenly over its cells, and
    the scales are added up: all are log odds, and nothing else is made equal.

    Args:
        heat: scale, as "3x5" -> [T, P], row by row, of :func:`ssrl_pipeline.models.occlusion.patch_heat`.

    Returns:
        float32 [T, h, w]; a snippet's cells add up to the heat of all its patches.

    Raises:
        ValueError: there is no scale, or one has another number of patches.
    """
    if not heat:
        raise ValueError("there is no heat of any patch scale to draw")
    grids = {scale: parse_scale(scale) for scale in heat}
    height, width = (math.lcm(*sizes) for sizes in zip(*grids.values(), strict=True))
    snippets = len(next(iter(heat.values())))
    whole = np.zeros((snippets, height, width), np.float32)
    for scale, (rows, columns) in grids.items():
        if heat[scale].shape != (snippets, rows * columns):
            raise ValueError(
                f"heat of {scale} is {[snippets, rows * columns]}, not {list(heat[scale].shape)}"
            )
        down, across = height // rows, width // columns  # cells of a patch
        density = heat[scale].reshape(snippets, rows, columns) / (down * across)
        whole += density.repeat(down, axis=1).repeat(across, axis=2)
    return whole
