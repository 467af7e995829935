"""Motion of a snippet, by dense optical flow: how fast, how unsteadily and which way each cell moves.

I3D tells what is to be seen and hardly how fast it goes; this tells nothing else, and costs a CPU some
hundredths of a second a snippet. Speeds are in widths of the frame, from one frame to the next.

Dimensions: H x W pixels, P = 48 cells of a frame, 6 rows of 8.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np
import torch

from ssrl_pipeline.scales import DIRECTIONS, MOTION, MOTION_GRID, MOTION_SIZE

WIDTH = 240  # pixels of the pictures whose flow is found
LEAST_HEIGHT, MOST_HEIGHT = 48, 480  # of these pictures, whatever the frame's shape
MOST_THREADS = 8  # that find flow beside a GPU
GEOMETRY = (
    f"optical flow (DIS fast) of {WIDTH} pixels of width, {MOTION_GRID[0]}x{MOTION_GRID[1]} cells: "
    "mean, rms, deviation and change of speed, share of 8 directions"
)

Described = Callable[[], list[dict[str, np.ndarray]]]


def snippet_motion(frames: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [P, 12], cells row by row.

    Of each cell: the mean speed and the root of its mean square, over pixels and time; of the cell's mean
    speed the deviation over time and the mean change from one pair of frames to the next, without sign;
    then the shares of the motion, weighted by speed, that go right, down and right, down, ..., up and
    right. A cell that stands still has zeros. Frames that :func:`cut_snippets` has looped count once.
    """
    pictures = _unlooped(_pictures(frames))
    rows, columns = MOTION_GRID
    cells = np.zeros((rows * columns, MOTION_SIZE), np.float32)
    if len(pictures) < 2:
        return cells
    height, width = pictures[0].shape
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    place = (row[:, None] * columns + column).ravel()  # the cell of each pixel
    area = np.bincount(place, minlength=len(cells))
    square = (
        frames.shape[1] / frames.shape[2] * width / height
    )  # of a pixel of these pictures: height / width
    speeds, squares, ways = [], np.zeros(len(cells)), np.zeros(len(cells) * DIRECTIONS)
    for flow in _flows(pictures):
        speed, angle = cv2.cartToPolar(flow[..., 0] / width, flow[..., 1] * (square / width))
        speed = speed.ravel()
        way = (angle.ravel() * (DIRECTIONS / (2 * np.pi)) + 0.5).astype(np.int64) % DIRECTIONS
        speeds.append(np.bincount(place, speed, len(cells)) / area)
        squares += np.bincount(place, speed * speed, len(cells)) / area
        ways += np.bincount(place * DIRECTIONS + way, speed, len(ways))
    steps = np.stack(speeds)  # [pairs, P]
    cells[:, 0] = steps.mean(axis=0)
    cells[:, 1] = np.sqrt(squares / len(steps))
    cells[:, 2] = steps.std(axis=0)
    cells[:, 3] = np.abs(np.diff(steps, axis=0)).mean(axis=0) if len(steps) > 1 else 0
    by_way = ways.reshape(len(cells), DIRECTIONS)
    cells[:, 4:] = by_way / np.maximum(by_way.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return cells


class Movers:
    """Threads that find the motion of snippets while a network describes them.

    Args:
        device: of the network. Beside one on a CPU there is one thread; a GPU needs more to be kept busy.
    """

    def __init__(self, device: torch.device):
        count = 1 if device.type == "cpu" else min(MOST_THREADS, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(count, "finding motion")

    def beside(
        self, snippets: Sequence[np.ndarray], start: Callable[[Sequence[np.ndarray]], Described]
    ) -> Described:
        """What `start` describes, and the view `motion` float32 [1, P, 12] of each snippet."""
        found: list[Future[np.ndarray]] = [self._threads.submit(snippet_motion, one) for one in snippets]
        described = start(snippets)
        return lambda: [
            {**views, MOTION: motion.result()[None]} for views, motion in zip(described(), found, strict=True)
        ]


def _pictures(frames: np.ndarray) -> list[np.ndarray]:
    """Small grey ones, uint8 [h, w] each."""
    height = round(WIDTH * frames.shape[1] / frames.shape[2])
    size = (WIDTH, min(max(height, LEAST_HEIGHT), MOST_HEIGHT))
    return [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        for frame in frames
    ]


def _unlooped(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Without the repetition that completes a last snippet: it would jump where it begins anew."""
    for count in range(1, len(pictures)):
        if all(np.array_equal(a, b) for a, b in zip(pictures[count:], pictures, strict=False)):
            return pictures[:count]
    return pictures


def _flows(pictures: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """float32 [h, w, 2] of each pair of neighbours, in pixels to the right and down."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # no two threads can share one
    for before, after in pairwise(pictures):
        yield finder.calc(before, after, None)  # type: ignore[call-overload]
