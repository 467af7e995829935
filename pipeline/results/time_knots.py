"""The times of a video's frames, small enough for a page: a line of straight pieces.

Dimensions: N frames.
"""

import itertools
from typing import Any

import numpy as np

from ssrl_pipeline.times import FrameTimes

OFF = 0.2  # lengths of a frame, that its start may be off
MOST_KNOTS = 50_000  # of more, times may be off by twice as much, and so on


def time_knots(times: FrameTimes, frames: int) -> dict[str, Any]:
    """Where the pieces begin and end.

    Args:
        times: with stamps.
        frames: N.

    Returns:
        `frames` and `seconds`, of the same length. From one knot to the next a frame lasts
        as long as the other. Two knots of one frame are the end of the frame before it and,
        behind a pause, its start. The last knot is that of N, the end of the last frame.
    """
    starts, ends = times.starts(frames), times.ends(frames)
    lengths = ends - starts
    near = OFF * np.minimum(lengths, np.append(lengths[0], lengths[:-1]))
    edges = [0, *times.pauses(frames).tolist(), frames]
    stretches = list(itertools.pairwise(edges))
    while True:
        knots = [
            knot
            for begin, end in stretches
            for knot in _knots(begin, [*starts[begin:end].tolist(), float(ends[end - 1])], near[begin:end])
        ]
        if len(knots) <= max(MOST_KNOTS, 2 * len(stretches)):
            break
        near = 2 * near
    numbers, seconds = zip(*knots, strict=True)
    return {"frames": list(numbers), "seconds": [round(second, 4) for second in seconds]}


def _knots(first: int, seconds: list[float], near: np.ndarray) -> list[tuple[int, float]]:
    """Points that a line through them passes all others near enough.

    Args:
        first: number of the first point.
        seconds: its height and those of all that follow.
        near: how near, of each but the last, which is met.
    """
    found, at = [(first, seconds[0])], 0
    lowest, highest = -np.inf, np.inf  # slopes from the last knot, that pass all points since
    for point, (second, off) in enumerate(zip(seconds[1:], [*near[1:].tolist(), 0.0], strict=True), 1):
        slope = (second - seconds[at]) / (point - at)
        if not lowest <= slope <= highest:
            at, lowest, highest = point - 1, -np.inf, np.inf
            found.append((first + at, seconds[at]))
            slope = second - seconds[at]
        lowest = max(lowest, slope - off / (point - at))
        highest = min(highest, slope + off / (point - at))
    return [*found, (first + len(seconds) - 1, seconds[-1])]
