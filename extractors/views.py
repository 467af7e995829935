"""Views of a snippet: crops of the whole frame and grids of patches, cut from the same frames.

Dimensions: P views of one kind, t frames, h x w pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True)
class Resize:
    """How a frame is brought to size: `size` is its short side, or its (height, width)."""

    size: int | tuple[int, int]
    filter: str = "bilinear"  # antialiased bilinear as in Pillow, or Pillow's "lanczos"

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W] -> uint8 [t, 3, h, w]."""
        if self.filter == "lanczos":
            assert isinstance(self.size, tuple)
            return _pillow_lanczos(frames, self.size)
        size = [self.size] if isinstance(self.size, int) else list(self.size)
        return F.resize(frames, size, InterpolationMode.BILINEAR, antialias=True)

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
        size = [self.crop, self.crop]
        if self.layout == "centre":
            return F.center_crop(frames, size).transpose(0, 1)[None]
        crops = F.ten_crop(frames, size)  # TL TR BL BR centre, then mirrored
        if self.layout == "gowtham":  # TL TR centre BL BR, then mirrored
            crops = [crops[i] for i in (0, 1, 4, 2, 3, 5, 6, 9, 7, 8)]
        return torch.stack(list(crops)).transpose(1, 2)


@dataclass(frozen=True)
class Grid:
    """The frame cut into rows x columns patches that do not overlap, row by row."""

    rows: int
    columns: int
    resize: Resize

    @property
    def name(self) -> str:
        return f"patch{self.rows}x{self.columns}"

    @property
    def count(self) -> int:
        return self.rows * self.columns

    def describe(self) -> str:
        return f"{self.resize.describe()}, grid {self.rows}x{self.columns}"

    def cut(self, frames: Tensor) -> Tensor:
        """uint8 [t, 3, H, W], resized -> uint8 [P, 3, t, H/rows, W/columns]."""
        t, channels, height, width = frames.shape
        h, w = height // self.rows, width // self.columns
        patches = frames.reshape(t, channels, self.rows, h, self.columns, w)
        return patches.permute(2, 4, 1, 0, 3, 5).reshape(self.count, channels, t, h, w)


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


View = Crops | Grid | Frame


def cut_views(snippet: np.ndarray, views: tuple[View, ...], device: torch.device) -> dict[str, Tensor]:
    """All views of one snippet.

    Args:
        snippet: RGB frames, uint8 [t, H, W, 3].
        views: what to cut; views of the same resize share its work.
        device: where the frames are resized and cut.

    Returns:
        view name -> uint8 [P, 3, t, h, w].
    """
    frames = torch.from_numpy(snippet).to(device).permute(0, 3, 1, 2)
    resized = {resize: resize(frames) for resize in {view.resize for view in views}}
    return {view.name: view.cut(resized[view.resize]) for view in views}


def _pillow_lanczos(frames: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    images = [Image.fromarray(frame) for frame in frames.permute(0, 2, 3, 1).cpu().numpy()]
    resized = [image.resize((width, height), Image.Resampling.LANCZOS) for image in images]
    return torch.from_numpy(np.stack([np.asarray(i) for i in resized])).to(frames.device).permute(0, 3, 1, 2)
