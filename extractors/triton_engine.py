"""I3D on a GPU with kernels of our own: what a network of small convolutions needs to keep the chip at work.

Feature maps lie channels last, and rows and frames have zeros behind them, which the next row or
frame has before it: so a convolution of stride 1 is a matrix product for each tap of its kernel,
of positions that are shifted by a constant, and its padding costs no case of its own. What is
outside of a clip the chip's copy engine reads as zero. Bias and ReLU are part of it. The first
convolution, whose stride is 2, sees cells of 2x2x2 pixels, and with stride 1 the kernel of 4x4x4
cells that is the same; four cells of a row follow each other in memory and are one tap.

Of an Inception module the three 1x1x1 convolutions that share its input are one product. All
branches write into one map, so nothing is concatenated:

    | reduced for branch 1 | reduced for branch 2 | branch 0 | branch 1 | branch 2 | branch 3 |
                                                   the module's output ...

Dimensions: N clips, T frames, H x W positions, C channels.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, cast

import torch
import triton
from torch import Tensor
from torch.nn import functional as F
from triton.tools.tensor_descriptor import TensorDescriptor

from ssrl_pipeline.extractors import triton_kernels as kernels
from ssrl_pipeline.extractors.backbone import Backbone
from ssrl_pipeline.extractors.inception import InceptionI3d, MaxPool, Mixed, Unit3d, same_padding
from ssrl_pipeline.extractors.presets import Normalisation

CHUNK_COSTS = {64: 1.0, 32: 1.1, 16: 1.4}  # of a channel
CELL = 48  # numbers of a cell: 2x4x2 pixels of three colours; the next row's holds two of its rows again
BEFORE, BEHIND = 1, 2  # cells that the first convolution looks at before and behind its own


@dataclass(frozen=True)
class Maps:
    """Feature maps of N clips: [N, T * rows * pitch, C], zero where no position is."""

    data: Tensor
    frames: int
    height: int
    width: int
    below: int = 1  # rows of zeros behind each frame
    beside: int = 1  # and positions behind each row

    @property
    def rows(self) -> int:
        return self.height + self.below

    @property
    def pitch(self) -> int:
        return self.width + self.beside

    @property
    def length(self) -> int:
        """Positions of a clip, zeros among them."""
        return self.frames * self.rows * self.pitch

    def like(self, channels: int) -> "Maps":
        """An empty one of the same positions."""
        return self.of(self.data.new_empty(len(self.data), self.length, channels))

    def of(self, data: Tensor) -> "Maps":
        return Maps(data, self.frames, self.height, self.width, self.below, self.beside)

    @property
    def inside(self) -> Tensor:
        """[N, C, T, H, W], without the zeros, in the same memory."""
        maps = self.data.unflatten(1, (self.frames, self.rows, self.pitch))
        return maps[:, :, : self.height, : self.width].permute(0, 4, 1, 2, 3)

    def channels(self, begin: int, end: int) -> "Maps":
        """Some of the channels, in the same memory."""
        return self.of(self.data[:, :, begin:end])


class Tiles(NamedTuple):
    """How the work of a convolution is cut."""

    positions: int
    outputs: int
    more: int = 0  # outputs that the same program computes beside these: 192 are 128 and 64
    warps: int = 4
    stages: int = 0  # copies that run ahead; 0: by the chunk
    shared: bool = False  # as many programs as the chip has processors go through all tiles; else one each


# The most outputs that it is for -> how they are cut.
TILES = {
    32: Tiles(256, 32, warps=8),
    64: Tiles(128, 64),
    96: Tiles(128, 64, 32),
    128: Tiles(128, 128),
    192: Tiles(128, 128, 64, warps=8),
    256: Tiles(128, 256, warps=8),
    288: Tiles(128, 256, 32, warps=8),
    320: Tiles(256, 128, warps=8, stages=4),
}
POINTWISE = {
    32: Tiles(128, 32, stages=4),
    320: Tiles(256, 64, warps=8, stages=4, shared=True),
    1024: Tiles(128, 256, warps=8, stages=3, shared=True),
}
FIRST = Tiles(256, 64, warps=8, stages=4)  # of the first convolution
SMALL = 64  # positions of a clip that fill no larger tile


@dataclass(frozen=True)
class Convolution:
    """Weights as the kernel takes them."""

    weights: Tensor  # [taps * chunks * chunk, O]
    bias: Tensor  # float32 [O]
    kernel: tuple[int, int, int]
    front: tuple[int, int, int]  # how far before its own position it begins
    inputs: int
    chunk: int  # input channels of one product
    step: int = 1  # rows from one tap to the next

    @property
    def chunks(self) -> int:
        return math.ceil(self.inputs / self.chunk)

    @property
    def outputs(self) -> int:
        return len(self.bias)

    def __call__(self, x: Maps, y: Maps, tiles: Tiles | None = None) -> None:
        """Writes into `y`, of the same positions."""
        source, target = x.data, y.data
        if self.kernel == (1, 1, 1):  # no neighbours: all clips are one
            source, target = source.flatten(0, 1)[None], target.flatten(0, 1)[None]
        self.run(source, target, x, tiles)

    def run(self, source: Tensor, target: Tensor, shape: Maps, tiles: Tiles | None = None) -> None:
        """[N, L, C] -> [N, L, O]; `shape` tells where its zeros are."""
        clips, length = target.shape[:2]
        tiles = tiles or choose_tiles(self, length)
        blocks = math.ceil(self.outputs / (tiles.outputs + tiles.more))
        count = math.ceil(length / tiles.positions)
        work = clips * count * blocks
        sizes = (tiles.outputs, tiles.more)
        own_weights, more_weights = (_descriptor(self.weights, (self.chunk, n)) for n in sizes)
        own, more = (_descriptor(target, (1, tiles.positions, n)) for n in sizes)
        kernels.convolve[(min(work, _processors(target.device)) if tiles.shared else work,)](
            _descriptor(source, (1, tiles.positions, self.chunk)),
            own_weights,
            more_weights,
            self.bias,
            own,
            more,
            clips,
            count,
            blocks,
            self.outputs,
            shape.width,
            shape.pitch,
            shape.height,
            shape.rows,
            *self.kernel,
            self.step,
            *self.front,
            CHUNKS=self.chunks,
            BM=tiles.positions,
            BC=self.chunk,
            BN=tiles.outputs,
            MORE=tiles.more,
            STAGES=tiles.stages,
            SHARED=tiles.shared,
            num_warps=tiles.warps,
        )


def choose_tiles(convolution: Convolution, length: int) -> Tiles:
    """What was fastest on an H200, by the kernel and its outputs, for clips of `length` positions."""
    outputs, pointwise = convolution.outputs, convolution.kernel == (1, 1, 1)
    if length <= SMALL:
        return Tiles(SMALL, min(128, max(16, triton.next_power_of_2(outputs))), stages=4)
    bound = next((bound for bound in sorted(POINTWISE if pointwise else TILES) if outputs <= bound), None)
    tiles = (POINTWISE if pointwise else TILES)[bound] if bound else Tiles(128, 128)
    half = tiles.positions // 2
    if tiles.positions > 128 and math.ceil(length / half) % 2 and length < 4 * tiles.positions:
        tiles = tiles._replace(positions=half, warps=tiles.warps // 2)  # less of the last tile is empty
    if not tiles.stages:  # shorter copies, more of them ahead
        tiles = tiles._replace(stages={64: 3, 32: 4, 16: 5}[convolution.chunk])
    return tiles


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
        strides = ((BEFORE + shape.length + BEHIND) * CELL, CELL, 1)
        windows = cells.as_strided((n, shape.length, channels), strides)
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
    places, chunk = 16, min(64, triton.next_power_of_2(channels))
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


def pack_units(units: list[Unit3d], dtype: torch.dtype) -> Convolution:
    """Convolutions of one kernel that share an input, as one."""
    weight = torch.cat([unit.conv.weight for unit in units])  # [O, C, kt, kh, kw]
    bias = torch.cat([cast(Tensor, unit.conv.bias) for unit in units])
    inputs, kernel = weight.shape[1], cast(tuple[int, int, int], tuple(weight.shape[2:]))
    chunk = choose_chunk(inputs)
    taps = weight.permute(2, 3, 4, 1, 0).flatten(0, 2)  # [taps, C, O]
    front = cast(tuple[int, int, int], tuple(size // 2 for size in kernel))
    return _packed(taps, bias, kernel, front, chunk, dtype)


def _first_convolution(unit: Unit3d, std: float, dtype: torch.dtype) -> Convolution:
    """That of 7x7x7 and stride 2 as one of 4x2 windows of four cells, for pixels as 2 * (x - mean)."""
    weight = F.pad(unit.conv.weight, (0, 1) * 3) / (2 * std)  # [O, 3, 8, 8, 8]
    parts = weight.unflatten(4, (4, 2)).unflatten(3, (2, 4)).unflatten(2, (4, 2))
    taps = parts.permute(2, 4, 6, 3, 5, 7, 1, 0)  # tap of t, h, w, then place in t, h, w, colour, O
    taps = taps.flatten(2, 6).flatten(0, 1)  # [8, 4 * 48, O]
    bias = cast(Tensor, unit.conv.bias)
    return replace(_packed(taps, bias, (4, 2, 1), (BEFORE, 0, 0), 64, dtype), step=2)


def _packed(
    taps: Tensor,
    bias: Tensor,
    kernel: tuple[int, int, int],
    front: tuple[int, int, int],
    chunk: int,
    dtype: torch.dtype,
) -> Convolution:
    """[taps, C, O]: each tap's channels are filled up with zeros to whole chunks."""
    inputs = taps.shape[1]
    filled = F.pad(taps, (0, 0, 0, -inputs % chunk)).flatten(0, 1)
    return Convolution(filled.to(dtype).contiguous(), bias.float().contiguous(), kernel, front, inputs, chunk)


def choose_chunk(channels: int) -> int:
    """Input channels of one product: many are quicker, but what fills up the last chunk is lost."""
    costs = {chunk: cost * math.ceil(channels / chunk) * chunk for chunk, cost in CHUNK_COSTS.items()}
    return min(costs, key=lambda chunk: costs[chunk])


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _descriptor(x: Tensor, block: tuple[int, ...]) -> TensorDescriptor | None:
    """What the copy engine moves at a time; None for nothing."""
    return TensorDescriptor(x, list(x.shape), list(x.stride()), list(block)) if all(block) else None
