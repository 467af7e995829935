"""Views of a snippet: crops of the whole frame and grids of patches, cut from the same frames.

Colours lie last in memory, as they come from a decoder and as the networks take them.

Dimensions: P views of one kind, t frames, h x w pixels.
"""

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ssrl_pipeline.errors import first_line, is_out_of_memory
from ssrl_pipeline.extractors import engines
from ssrl_pipeline.extractors.snippets import Empty, empty_array
from ssrl_pipeline.scales import view_of

Box = tuple[int, int, int, int]  # top, bottom, left and right edge, in pixels
GOWTHAM = (0, 1, 4, 2, 3, 5, 6, 9, 7, 8)  # of torchvision's ten crops: TL TR centre BL BR, then mirrored

log = logging.getLogger(__name__)

FAST, ARM = ("AVX2", "AVX512"), ("aarch64", "arm64")  # CPUs on which PyTorch resizes bytes


@cache
def kernels_for(device: torch.device) -> Any:
    """The module that resizes on a GPU; None where there is no Triton for it."""
    if engines.why_not_triton() or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    try:
        engines.triton_resize.resize(torch.zeros(1, 4, 4, 3, dtype=torch.uint8, device=device), 2, 2)
    except Exception as error:  # a compiler, or a cache that cannot be written: nearly anything
        if is_out_of_memory(error):
            raise
        log.warning("Triton does not resize on %s, PyTorch does: %s", device, first_line(error))
        return None
    return engines.triton_resize


def _bilinear(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 [t, 3, H, W] -> uint8 [t, 3, h, w]: as torchvision does it, which takes seconds to load.

    PyTorch has kernels for bytes on CPUs; without AVX2 they are its slow ones, and others are none.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    of_bytes = frames.device.type == "cpu" and (capability in FAST or platform.machine() in ARM)
    pixels = frames if of_bytes else frames.float()
    resized = interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized if of_bytes else resized.round_().to(torch.uint8)


@dataclass(frozen=True)
class Resize:
    """How a frame is brought to size: `size` is its short side, or its (height, width)."""

    size: int | tuple[int, int]
    filter: str = "bilinear"  # antialiased bilinear as in Pillow, or Pillow's "lanczos"

    @property
    def is_pillows(self) -> bool:
        """Whether it is done on the CPU alone."""
        return self.filter == "lanczos"

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W] -> uint8 [t, 3, h, w].

        A GPU that Triton makes kernels for gives what a CPU with AVX2 does, which rounds after each
        of two passes. PyTorch's own kernel for GPUs rounds once, at the end: it may differ by 1.
        """
        if self.is_pillows:
            return torch.from_numpy(self.by_pillow(frames.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
        height, width = self.fitted(frames.shape[2], frames.shape[3])
        if frames.is_cuda and (kernels := kernels_for(frames.device)):
            resized: Tensor = kernels.resize(frames.permute(0, 2, 3, 1).contiguous(), height, width)
            return resized.permute(0, 3, 1, 2)
        if frames.shape[2:] == (height, width):
            return frames
        return _bilinear(frames, height, width)

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that frames of another have afterwards."""
        if isinstance(self.size, tuple):
            return self.size
        short = min(height, width)
        return int(self.size * height / short), int(self.size * width / short)

    def by_pillow(self, frames: np.ndarray, empty: Empty = empty_array) -> np.ndarray:
        """uint8 [t, H, W, 3] -> uint8 [t, h, w, 3], in memory that `empty` gives; what has the size stays."""
        assert isinstance(self.size, tuple)
        height, width = self.size
        if frames.shape[1:3] == self.size:
            return frames
        resized = empty((len(frames), height, width, 3))
        for frame, place in zip(frames, resized, strict=True):
            place[:] = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        return resized

    def describe(self) -> str:
        size = f"short side {self.size}" if isinstance(self.size, int) else f"{self.size[0]}x{self.size[1]}"
        return f"{size} {self.filter}"


@dataclass(frozen=True)
class Crops:
    """Square crops of the frame: `layout` names which, and in what order."""

    name: str
    resize: Resize
    crop: int
    layout: str = "ten"

    @property
    def count(self) -> int:
        return {"centre": 1, "ten": 10, "gowtham": 10}[self.layout]

    def describe(self) -> str:
        return f"{self.resize.describe()}, crops {self.layout} {self.crop}x{self.crop}"

    def cut(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W], resized -> uint8 [P, 3, t, crop, crop]."""
        if self.layout == "centre":
            return self._five(frames)[-1].transpose(0, 1)[None]
        crops = self._five(frames) + self._five(frames.flip(-1))  # TL TR BL BR centre, then mirrored
        if self.layout == "gowtham":
            crops = [crops[i] for i in GOWTHAM]
        return torch.stack([crop.permute(0, 2, 3, 1) for crop in crops]).permute(0, 4, 1, 2, 3)

    def _five(self, frames: Tensor) -> list[Tensor]:
        """[t, 3, H, W] -> the corners and the centre, each [t, 3, crop, crop]."""
        bottom, right = (length - self.crop for length in frames.shape[2:])
        places = (0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))
        return [frames[..., top : top + self.crop, left : left + self.crop] for top, left in places]

    def boxes(self, height: int, width: int) -> list[Box]:
        """Where in the resized frame each crop lies; a mirrored one where what it shows lies."""
        down, right = max(0, height - self.crop), max(0, width - self.crop)
        middle = round(down / 2), round(right / 2)
        corners = [middle]
        if self.layout != "centre":
            tl, tr, bl, br = (0, 0), (0, right), (down, 0), (down, right)
            ten = [tl, tr, bl, br, middle, tr, tl, br, bl, middle]
            corners = [ten[i] for i in GOWTHAM] if self.layout == "gowtham" else ten
        return [(y, min(height, y + self.crop), x, min(width, x + self.crop)) for y, x in corners]


@dataclass(frozen=True)
class Grid:
    """The frame cut into rows x columns patches that do not overlap, row by row."""

    rows: int
    columns: int
    resize: Resize

    @property
    def name(self) -> str:
        return view_of(f"{self.rows}x{self.columns}")

    @property
    def count(self) -> int:
        return self.rows * self.columns

    def describe(self) -> str:
        return f"{self.resize.describe()}, grid {self.rows}x{self.columns}"

    def cut(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W], resized -> uint8 [P, 3, t, H/rows, W/columns]."""
        t, channels, height, width = frames.shape
        h, w = height // self.rows, width // self.columns
        cells = frames.permute(0, 2, 3, 1).reshape(t, self.rows, h, self.columns, w, channels)
        patches = cells.permute(1, 3, 0, 2, 4, 5).reshape(self.count, t, h, w, channels)
        return patches.permute(0, 4, 1, 2, 3)

    def boxes(self, height: int, width: int) -> list[Box]:
        """Where in the resized frame each patch lies."""
        h, w = height // self.rows, width // self.columns
        corners = [(h * row, w * column) for row in range(self.rows) for column in range(self.columns)]
        return [(y, y + h, x, x + w) for y, x in corners]


@dataclass(frozen=True)
class Frame:
    """The whole frame."""

    resize: Resize
    count: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return f"frame {self.describe()}"

    def describe(self) -> str:
        return self.resize.describe()

    def cut(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W], resized -> uint8 [1, 3, t, H, W]."""
        return frames.transpose(0, 1)[None]

    def boxes(self, height: int, width: int) -> list[Box]:
        """All of it."""
        return [(0, height, 0, width)]


View = Crops | Grid | Frame


def cut_views(
    snippet: np.ndarray, views: tuple[View, ...], up: Callable[[Tensor], Tensor] = lambda frames: frames
) -> dict[str, Tensor]:
    """All views of one snippet.

    Args:
        snippet: RGB frames, uint8 [t, H, W, 3].
        views: what to cut; views of the same resize share its work.
        up: brings frames to the device that resizes and cuts them; where a resize is
            Pillow's, it is given what is resized already. uint8 [t, h, w, 3] of the CPU -> the same there.

    Returns:
        view name -> uint8 [P, 3, t, h, w].
    """
    resizes = {view.resize for view in views}
    resized = {
        resize: up(torch.from_numpy(resize.by_pillow(snippet))).permute(0, 3, 1, 2)
        for resize in resizes
        if resize.is_pillows
    }
    if len(resized) < len(resizes):
        there = up(torch.from_numpy(snippet)).permute(0, 3, 1, 2)
        resized |= {resize: resize(there) for resize in resizes if not resize.is_pillows}
    return {view.name: view.cut(resized[view.resize]) for view in views}
