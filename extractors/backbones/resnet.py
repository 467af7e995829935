"""I3D ResNet-50 in two flavours, both from PyTorchVideo's building blocks.

`i3d_r50` is PyTorchVideo's own (8 frames). `i3d_r50_nl` is the I3D ResNet-50
32x2 of video-nonlocal-net (Wang et al., "Non-local Neural Networks", CVPR
2018), whose features RTFM and SSRL released, or its variant with five
non-local blocks: the weights that are loaded decide.
"""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssrl_pipeline.extractors.backbones.base import Backbone


class I3dR50(Backbone):
    """PyTorchVideo's i3d_r50 without its head."""

    feature_size = 2048
    frame_stride = 2  # 8 of the 16 frames
    mean, std = 0.45 * 255, 0.225 * 255

    def __init__(self) -> None:
        super().__init__()
        self.blocks = _pytorchvideo("models.hub.resnet").i3d_r50().blocks[:-1]

    def feature_map(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, 8, h, w] -> [B, 2048, 4, h/32, w/32], rounded up."""
        x = clips
        for block in self.blocks:
            x = block(x)
        return x

    def own_state_dict(self, mapping: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PyTorchVideo's names are ours; its head is left out."""
        head = f"blocks.{len(self.blocks)}."
        return {name: value for name, value in mapping.items() if not name.startswith(head)}


class I3dR50NL(Backbone):
    """video-nonlocal-net's I3D ResNet-50, without its classifier."""

    feature_size = 2048
    frame_stride = 1
    mean, std = 114.75, 57.375

    def __init__(self) -> None:
        super().__init__()
        self.stem = _pytorchvideo("models.stem").create_res_basic_stem(
            in_channels=3,
            out_channels=64,
            conv_kernel_size=(5, 7, 7),
            conv_stride=(2, 2, 2),
            conv_padding=(2, 3, 3),
            pool_kernel_size=(2, 3, 3),
            pool_stride=(2, 2, 2),
            pool_padding=(0, 0, 0),
        )
        self.layer1 = _stage(3, inputs=64, width=64, stride=1, temporal_kernels=[3])
        self.pool = nn.MaxPool3d((2, 1, 1))
        self.layer2 = _stage(4, inputs=256, width=128, stride=2, temporal_kernels=[3, 1])
        self.layer3 = _stage(6, inputs=512, width=256, stride=2, temporal_kernels=[3, 1])
        self.layer4 = _stage(3, inputs=1024, width=512, stride=2, temporal_kernels=[1, 3])

    def feature_map(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, 16, h, w] -> [B, 2048, 2, h/32, w/32], a position more or less."""
        x = self.pool(self.layer1(self.stem(clips)))
        return self.layer4(self.layer3(self.layer2(x)))

    def own_state_dict(self, mapping: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Renames the community's PyTorch port (``layer1.0.conv1.weight``); ``fc`` is left out."""
        if any(".nl." in name for name in mapping):
            self._add_nonlocal_blocks()
        return {_own_name(name): value for name, value in mapping.items() if not name.startswith("fc.")}

    def _add_nonlocal_blocks(self) -> None:
        """One behind every second block of layers 2 and 3, after the block's ReLU."""
        stages: tuple[Any, ...] = (self.layer2, self.layer3)
        for stage in stages:
            for block in stage.res_blocks[1::2]:
                channels = block.branch2.conv_c.out_channels
                nonlocal_block = _pytorchvideo("layers.nonlocal_net").create_nonlocal(
                    dim_in=channels, dim_inner=channels // 2, pool_size=(1, 2, 2)
                )
                block.activation = nn.Sequential(nn.ReLU(), nonlocal_block)
        self.train(self.training).to(self.stem.conv.weight.device)  # the new ones too


def _stage(blocks: int, *, inputs: int, width: int, stride: int, temporal_kernels: list[int]) -> nn.Module:
    """A residual stage; the blocks take the temporal kernels in turn."""
    resnet = _pytorchvideo("models.resnet")
    stage: nn.Module = resnet.create_res_stage(
        depth=blocks,
        dim_in=inputs,
        dim_inner=width,
        dim_out=4 * width,
        bottleneck=resnet.create_bottleneck_block,
        conv_a_kernel_size=[(k, 1, 1) for k in temporal_kernels],
        conv_a_stride=(1, 1, 1),
        conv_a_padding=[(k // 2, 0, 0) for k in temporal_kernels],
        conv_b_stride=(1, stride, stride),
    )
    return stage


def _pytorchvideo(module: str) -> Any:
    """One of its modules. They bring torchvision, which takes seconds: not before a network is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torch.jit.script, which PyTorch advises against
        return importlib.import_module(f"pytorchvideo.{module}")


_PARTS = {
    "conv1": "branch2.conv_a",
    "conv2": "branch2.conv_b",
    "conv3": "branch2.conv_c",
    "bn1": "branch2.norm_a",
    "bn2": "branch2.norm_b",
    "bn3": "branch2.norm_c",
    "downsample.0": "branch1_conv",
    "downsample.1": "branch1_norm",
    "nl.theta": "activation.1.conv_theta",
    "nl.phi": "activation.1.conv_phi",
    "nl.g": "activation.1.conv_g",
    "nl.out": "activation.1.conv_out",
    "nl.bn": "activation.1.norm",
}


def _own_name(name: str) -> str:
    """``layer2.1.bn3.bias`` -> ``layer2.res_blocks.1.branch2.norm_c.bias``; unknown names stay."""
    path, _, leaf = name.rpartition(".")
    if path in ("conv1", "bn1"):
        return f"stem.{'conv' if path == 'conv1' else 'norm'}.{leaf}"
    layer, _, rest = path.partition(".")
    block, _, part = rest.partition(".")
    return f"{layer}.res_blocks.{block}.{_PARTS.get(part, part)}.{leaf}"
