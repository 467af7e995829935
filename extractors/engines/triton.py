"""I3D on a GPU with kernels of our own: eager PyTorch leaves nine tenths of an H200 idle.

All layers are convolutions of stride 1 (:mod:`ssrl_pipeline.extractors.engines.triton_convolution`)
and poolings. The first convolution has stride 2: over cells of 2x2x2 pixels it has stride 1, and a
kernel of 4x4x4 cells.
Each cell is stored with the one below it, and four cells of a row follow each other in memory, so
the kernel is one of 4x2 taps of 192 numbers.

Of an Inception module the three 1x1x1 convolutions that share its input are one product. All
branches write into one map, so nothing is concatenated:

    | reduced for branch 1 | reduced for branch 2 | branch 0 | branch 1 | branch 2 | branch 3 |
                                                   the module's output ...

Dimensions: N clips, t frames, h x w pixels; T frames, H x W positions, C channels of maps.
"""

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.backbones import Backbone, InceptionI3d, MaxPool, Mixed, Unit3d, same_padding
from ssrl_pipeline.extractors.engines import triton_kernels as kernels
from ssrl_pipeline.extractors.engines.triton_convolution import FIRST, Convolution, Maps, pack, pack_units

CELL = 48  # numbers of a cell: 2x4x2 pixels of three colours; the next row's holds two of its rows again
BEFORE, BEHIND = 1, 2  # cells that the first convolution looks at before and behind its own


class TritonI3d(Backbone):
    """Computes what an :class:`InceptionI3d` does, from pixels.

    Args:
        network: in evaluation mode, batch norms folded into the convolutions before them; on a
            GPU of compute capability 9.0 or newer.
        normalisation: of the pixels.
        dtype: bfloat16 or float16, of feature maps and weights; sums are float32.
    """

    feature_size = InceptionI3d.feature_size
    frame_stride = InceptionI3d.frame_stride
    mean, std = InceptionI3d.mean, InceptionI3d.std

    def __init__(self, network: InceptionI3d, normalisation: Normalisation, dtype: torch.dtype):
        super().__init__()
        self.dtype, self.subtracted = dtype, normalisation.mean
        self.layers: list[Convolution | MaxPool | Module] = []
        for name, layer in network.named_children():
            if name == "Conv3d_1a_7x7":
                self.first = _first_convolution(cast(Unit3d, layer), normalisation.std, dtype)
            elif isinstance(layer, Unit3d):
                self.layers.append(pack_units([layer], dtype))
            elif isinstance(layer, Mixed):
                self.layers.append(Module.of(layer, dtype))
            else:
                self.layers.append(cast(MaxPool, layer))

    def feature_map(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> [B, 1024, t/8, h/32, w/32], rounded up, of `dtype`."""
        x = self.first_maps(clips)
        for layer in self.layers:
            if isinstance(layer, MaxPool):
                x = max_pool(x, layer)
            elif isinstance(layer, Convolution):
                y = x.like(layer.outputs)
                layer(x, y)
                x = y
            else:
                x = layer(x)
        return x.inside

    def first_maps(self, clips: Tensor) -> Maps:
        """The first convolution, over cells of pixels."""
        cells, shape = fold_pixels(clips, self.subtracted, self.dtype)
        n, channels = len(clips), (BEFORE + 1 + BEHIND) * CELL
        # Window m is the cells from m - 1 to m + 2: those of a row overlap in memory.
        windows = cells.as_strided((n, shape.length, channels), cells.stride())
        y = shape.of(cells.new_empty(n, shape.length, self.first.outputs))
        self.first.run(windows, y.data, y, FIRST)
        return y


@dataclass(frozen=True)
class Module:
    """An Inception module."""

    reduce: Convolution  # to branches 1 and 2, and branch 0
    branch_1: Convolution
    branch_2: Convolution
    pool: MaxPool
    branch_3: Convolution

    @classmethod
    def of(cls, module: Mixed, dtype: torch.dtype) -> "Module":
        b1, b2, b3 = module.branch_1, module.branch_2, module.branch_3
        units = [[b1[0], b2[0], module.branch_0], [b1[1]], [b2[1]], [b3[1]]]
        reduce, *rest = [pack_units(cast(list[Unit3d], u), dtype) for u in units]
        return cls(reduce, rest[0], rest[1], cast(MaxPool, b3[0]), rest[2])

    def __call__(self, x: Maps) -> Maps:
        c1, c2, c3 = self.branch_1.outputs, self.branch_2.outputs, self.branch_3.outputs
        r1 = self.branch_1.inputs
        reduced = r1 + self.branch_2.inputs
        c0 = self.reduce.outputs - reduced
        ends = [reduced, reduced + c0, reduced + c0 + c1, reduced + c0 + c1 + c2]
        y = x.like(ends[-1] + c3)
        self.reduce(x, y.channels(0, ends[1]))
        self.branch_1(y.channels(0, r1), y.channels(ends[1], ends[2]))
        self.branch_2(y.channels(r1, reduced), y.channels(ends[2], ends[3]))
        self.branch_3(max_pool(x, self.pool), y.channels(ends[3], ends[3] + c3))
        return y.channels(reduced, ends[3] + c3)


def fold_pixels(clips: Tensor, mean: float, dtype: torch.dtype) -> tuple[Tensor, Maps]:
    """uint8 [N, 3, t, h, w] -> cells [N, before + L + behind, 48], and the positions of which they are."""
    n, _, *sizes = clips.shape
    frames, height, width = (math.ceil(size / 2) for size in sizes)
    first = [2 - same_padding(size, 7, 2)[0] for size in sizes]  # one pixel earlier where the size is odd
    first[1] -= 2  # the first row of cells is that before the first position's
    shape = Maps(torch.empty(0), frames, height, width, BEHIND, BEHIND)
    held = BEFORE + shape.length + BEHIND
    cells = torch.empty(n, held, CELL, dtype=dtype, device=clips.device)
    block = 64
    kernels.fold_pixels[(math.ceil(held / block), n)](
        clips,
        cells,
        *sizes,
        *clips.stride(),
        *first,
        held,
        shape.rows,
        shape.pitch,
        2 * mean,
        BEFORE=BEFORE,
        BLOCK=block,
    )
    return cells, shape


def max_pool(x: Maps, layer: MaxPool) -> Maps:
    """With TensorFlow's SAME padding; see :class:`MaxPool`."""
    sizes = (x.frames, x.height, x.width)
    front = [same_padding(*axis)[0] for axis in zip(sizes, layer.kernel, layer.stride, strict=True)]
    frames, height, width = (math.ceil(s / step) for s, step in zip(sizes, layer.stride, strict=True))
    n, _, channels = x.data.shape
    y = Maps(x.data, frames, height, width)
    y = y.of(x.data.new_empty(n, y.length, channels))
    places, chunk = 16, min(64, 1 << (channels - 1).bit_length())
    kernels.pool[(math.ceil(y.rows * y.pitch / places), math.ceil(channels / chunk), n)](
        x.data,
        y.data,
        channels,
        *x.data.stride()[:2],
        x.frames,
        x.rows,
        x.pitch,
        *y.data.stride()[:2],
        frames,
        height,
        y.rows,
        width,
        y.pitch,
        *front,
        *layer.kernel,
        *layer.stride,
        BM=places,
        BC=chunk,
        num_warps=4,
    )
    return y


def _first_convolution(unit: Unit3d, std: float, dtype: torch.dtype) -> Convolution:
    """That of 7x7x7 and stride 2 as one of 4x2 windows of four cells, for pixels as 2 * (x - mean)."""
    weight = F.pad(unit.conv.weight, (0, 1) * 3) / (2 * std)  # [O, 3, 8, 8, 8]
    parts = weight.unflatten(4, (4, 2)).unflatten(3, (2, 4)).unflatten(2, (4, 2))
    taps = parts.permute(2, 4, 6, 3, 5, 7, 1, 0)  # tap of t, h, w, then place in t, h, w, colour, O
    taps = taps.flatten(2, 6).flatten(0, 1)  # [8, 4 * 48, O]
    bias = cast(Tensor, unit.conv.bias)
    return replace(pack(taps, bias, (4, 2, 1), (BEFORE, 0, 0), 64, dtype), step=2)
