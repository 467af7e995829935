"""I3D as a GPU likes it, in plain PyTorch: the same sums and maxima, in another order.

- The first convolution (7x7x7, stride 2, three colours) as one of 4x4x4 and stride 1 over cells of
  2x2x2 pixels: three channels leave most of a tensor core idle, 24 do not.
- Bias and ReLU are part of a convolution's kernel where cuDNN offers it.
- The three 1x1x1 convolutions of a module that share its input are one.
- Max-pools are those of PyTorch over each frame, which are quick channels last, then over time.

Dimensions: B clips, t frames, h x w positions.
"""

import contextlib
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssrl_pipeline.extractors.backbones import Backbone, InceptionI3d, MaxPool, Mixed, Unit3d, same_padding


class RearrangedI3d(Backbone):
    """Computes what an :class:`InceptionI3d` does, whose batch norms are folded into its convolutions.

    Args:
        network: in evaluation mode; its weights are shared where they need no new order.
    """

    feature_size = InceptionI3d.feature_size
    frame_stride = InceptionI3d.frame_stride
    mean, std = InceptionI3d.mean, InceptionI3d.std

    def __init__(self, network: InceptionI3d):
        super().__init__()
        for name, layer in network.named_children():
            if name == "Conv3d_1a_7x7":
                self.add_module(name, _First(cast(Unit3d, layer)))
            elif isinstance(layer, Unit3d):
                self.add_module(name, _Convolution([layer]))
            elif isinstance(layer, Mixed):
                self.add_module(name, _Module(layer))
            else:
                self.add_module(name, _Pool(cast(MaxPool, layer)))

    def feature_map(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, h, w] -> [B, 1024, t/8, h/32, w/32], rounded up."""
        x = clips
        for layer in self.children():
            x = layer(x)
        return x


class _Convolution(nn.Module):
    """Units of one kernel that share an input, with stride 1: bias and ReLU are part of it."""

    def __init__(self, units: list[Unit3d]):
        super().__init__()
        self.weight = nn.Parameter(torch.cat([unit.conv.weight for unit in units]), requires_grad=False)
        bias = torch.cat([cast(Tensor, unit.conv.bias) for unit in units])
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.weight.shape[-1] // 2)


class _First(nn.Module):
    """The convolution of 7x7x7 and stride 2 over cells."""

    def __init__(self, unit: Unit3d):
        super().__init__()
        cells = fold(F.pad(unit.conv.weight, (0, 1) * 3))  # [O, 24, 4, 4, 4]
        self.weight = nn.Parameter(cells.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(cast(Tensor, unit.conv.bias), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, t, h, w] -> [B, O, t/2, h/2, w/2], rounded up."""
        pads: list[int] = []
        for size in reversed(x.shape[-3:]):
            before = same_padding(size, 7, 2)[0]
            cells = -(-size // 2) + 3  # that the kernel sees
            pads += [before, 2 * cells - before - size]
        return convolve(fold(F.pad(x, pads)), self.weight, self.bias, 0)


class _Module(nn.Module):
    """An Inception module."""

    def __init__(self, module: Mixed):
        super().__init__()
        sharing = [module.branch_0, cast(Unit3d, module.branch_1[0]), cast(Unit3d, module.branch_2[0])]
        self.shared, self.sizes = _Convolution(sharing), [len(unit.conv.weight) for unit in sharing]
        self.branch_1 = _Convolution([cast(Unit3d, module.branch_1[1])])
        self.branch_2 = _Convolution([cast(Unit3d, module.branch_2[1])])
        self.pool = _Pool(cast(MaxPool, module.branch_3[0]))
        self.branch_3 = _Convolution([cast(Unit3d, module.branch_3[1])])

    def forward(self, x: Tensor) -> Tensor:
        own, first, second = self.shared(x).split(self.sizes, dim=1)
        last = self.branch_3(self.pool(x))
        return torch.cat([own, self.branch_1(first), self.branch_2(second), last], dim=1)


class _Pool(nn.Module):
    def __init__(self, layer: MaxPool):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return pool(x, self.layer)


def pool(x: Tensor, layer: MaxPool) -> Tensor:
    """What a :class:`MaxPool` makes of [B, C, t, h, w]."""
    b, channels, t, h, w = x.shape
    frames = x.transpose(1, 2).reshape(b * t, channels, h, w)  # channels last as before: nothing moves
    front = [same_padding(*axis)[0] for axis in zip((t, h, w), layer.kernel, layer.stride, strict=True)]
    pooled = F.max_pool2d(frames, layer.kernel[1:], layer.stride[1:], front[1:], ceil_mode=True)
    y = pooled.view(b, t, *pooled.shape[1:]).transpose(1, 2)
    return _over_time(y, layer.kernel[0], layer.stride[0], front[0])


def fold(x: Tensor) -> Tensor:
    """[B, C, t, h, w] -> [B, 8 * C, t/2, h/2, w/2]: cells of 2x2x2 as channels, which lie last in memory."""
    b, channels, t, h, w = x.shape
    parts = x.reshape(b, channels, t // 2, 2, h // 2, 2, w // 2, 2)
    cells = parts.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, t // 2, h // 2, w // 2, 8 * channels)
    return cells.permute(0, 4, 1, 2, 3)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Convolution of stride 1, bias, ReLU."""
    if x.is_cuda and not torch.compiler.is_compiling():  # a compiler fuses what it likes
        with contextlib.suppress(RuntimeError):  # cuDNN has no such kernel for it, or no memory: so below
            return torch.cudnn_convolution_relu(x, weight, bias, [1] * 3, [padding] * 3, [1] * 3, 1)
    return F.relu_(F.conv3d(x, weight, bias, padding=padding))


def _over_time(x: Tensor, kernel: int, stride: int, front: int) -> Tensor:
    """The greatest of each window of frames, of [B, C, t, h, w]."""
    if kernel == 1:
        return x
    frames = x.shape[2]
    most = x[:, :, ::stride].clone(memory_format=torch.channels_last_3d)
    for ahead in range(-front, kernel - front):
        first = max(
            0, -(ahead // stride)
        )  # the first window that has this frame, and the one behind the last
        end = min(most.shape[2], -(-(frames - ahead) // stride))
        if ahead and first < end:
            begin = first * stride + ahead
            here = most[:, :, first:end]
            here.clamp_(min=x[:, :, begin : begin + (end - first - 1) * stride + 1 : stride])
    return most
