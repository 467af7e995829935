"""Bilinear resizing with antialias on a GPU, to the last bit what PyTorch computes on a CPU with AVX2.

That is Pillow's way: first along the rows, then along the columns, each rounded to whole grey
levels, with weights in fixed point. (PyTorch's own on a GPU rounds once, in floating point, and
reads the frame as float32.)

Dimensions: t frames, H x W before, h x w after.
"""

import math
from contextlib import nullcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


class Taps(NamedTuple):
    """For each place of an axis, from where and with what weights it is computed."""

    first: Tensor  # int32 [places]
    weights: Tensor  # int32 [places, taps], of `precision` binary places
    precision: int


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 [t, H, W, 3], contiguous -> uint8 [t, height, width, 3]."""
    t, old_height, old_width, colours = frames.shape
    rows = _resample(frames.view(t * old_height, old_width, colours), width)
    columns = _resample(rows.view(t, old_height, width * colours), height)
    return columns.view(t, height, width, colours)


def _resample(x: Tensor, places: int) -> Tensor:
    """uint8 [A, L, B] -> [A, places, B]."""
    outer, length, inner = x.shape
    if length == places:
        return x
    taps = _taps_on(length, places, x.device)
    y = x.new_empty(outer, places, inner)
    blocks = math.ceil(places * inner / BLOCK)
    # Triton starts kernels on the current device.
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        _resample_kernel[(blocks * outer,)](
            x,
            y,
            taps.first,
            taps.weights,
            length,
            places,
            inner,
            blocks,
            taps=taps.weights.shape[1],
            precision=taps.precision,
            BLOCK=BLOCK,
        )
    return y


@lru_cache(maxsize=256)
def _taps_on(length: int, places: int, device: torch.device) -> Taps:
    first, weights, precision = find_taps(length, places)
    return Taps(first.to(device), weights.to(device), precision)


def find_taps(length: int, places: int) -> Taps:
    """A triangle as wide as two places after resizing or two before, whichever is more; cut at the ends."""
    scale = length / places
    support, stretch = max(scale, 1.0), min(1 / scale, 1.0)
    centre = scale * (np.arange(places) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), length) - first
    tap = np.arange(count.max())
    distance = (first[:, None] + tap - centre[:, None] + 0.5) * stretch
    weights = np.where(tap < count[:, None], np.maximum(1 - np.abs(distance), 0), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    precision = 0  # the most with which weights fit 16 bits
    while precision < 22 and int(0.5 + weights.max() * (1 << (precision + 1))) < 1 << 15:
        precision += 1
    fixed = (weights * (1 << precision) + 0.5).astype(np.int32)
    return Taps(torch.from_numpy(first.astype(np.int32)), torch.from_numpy(fixed), precision)


@triton.jit(do_not_specialize=["length", "places", "blocks", "taps", "precision"])
def _resample_kernel(
    x,  # uint8 [A, L, B]
    y,  # uint8 [A, places, B]
    first,
    weights,
    length,
    places,
    inner,
    blocks,
    taps,
    precision,
    BLOCK: tl.constexpr,
):
    outer = (tl.program_id(0) // blocks).to(tl.int64)
    at = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = at < places * inner
    place, rest = at // inner, at % inner
    begin = tl.load(first + place, mask=inside, other=0)
    x += outer * length * inner + rest
    total = tl.zeros((BLOCK,), tl.int32) + (1 << (precision - 1))
    for tap in range(taps):
        weight = tl.load(weights + place * taps + tap, mask=inside, other=0)
        pixel = tl.load(x + (begin + tap) * inner, mask=inside & (begin + tap < length), other=0)
        total += weight * pixel.to(tl.int32)
    value = tl.minimum(tl.maximum(total >> precision, 0), 255)
    tl.store(y + outer * places * inner + at, value.to(tl.uint8), mask=inside)
