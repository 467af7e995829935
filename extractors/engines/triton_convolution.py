"""Convolutions of stride 1 on a GPU, with bias and ReLU, over maps in which padding is part of the memory.

Rows and frames have zeros behind them, which are also before the next row or frame. So each tap of a
kernel is a matrix product of positions that are shifted by a constant. What lies outside of
a clip the chip's copy engine reads as zero.

Dimensions: N clips, T frames, H x W positions, C channels, O output channels, L positions in memory.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast

import torch
import triton
from torch import Tensor
from torch.nn import functional as F
from triton.tools.tensor_descriptor import TensorDescriptor

from ssrl_pipeline.extractors.backbones import Unit3d
from ssrl_pipeline.extractors.engines import triton_kernels as kernels

CHUNK_COSTS = {64: 1.0, 32: 1.1, 16: 1.4}  # of an input channel, by how many pass at once


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


# The most outputs that it is for, in order -> how they are cut.
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
    outputs = convolution.outputs
    if length <= SMALL:
        return Tiles(SMALL, min(128, max(16, triton.next_power_of_2(outputs))), stages=4)
    table = POINTWISE if convolution.kernel == (1, 1, 1) else TILES
    tiles = next((tiles for most, tiles in table.items() if outputs <= most), Tiles(128, 128))
    half = tiles.positions // 2
    if tiles.positions > 128 and math.ceil(length / half) % 2 and length < 4 * tiles.positions:
        tiles = tiles._replace(positions=half, warps=tiles.warps // 2)  # less of the last tile is empty
    if not tiles.stages:  # shorter copies, more of them ahead
        tiles = tiles._replace(stages={64: 3, 32: 4, 16: 5}[convolution.chunk])
    return tiles


def pack_units(units: list[Unit3d], dtype: torch.dtype) -> Convolution:
    """Convolutions of one kernel that share an input, as one."""
    weight = torch.cat([unit.conv.weight for unit in units])  # [O, C, kt, kh, kw]
    bias = torch.cat([cast(Tensor, unit.conv.bias) for unit in units])
    inputs, kernel = weight.shape[1], cast(tuple[int, int, int], tuple(weight.shape[2:]))
    chunk = choose_chunk(inputs)
    taps = weight.permute(2, 3, 4, 1, 0).flatten(0, 2)  # [taps, C, O]
    front = cast(tuple[int, int, int], tuple(size // 2 for size in kernel))
    return pack(taps, bias, kernel, front, chunk, dtype)


def pack(
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
