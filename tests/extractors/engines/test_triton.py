"""The kernels for GPUs compute what PyTorch does: here by Triton's interpreter, on the CPU.

The interpreter is chosen before Triton is imported, so these tests run in a process of their own.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from ssrl_pipeline.extractors.backbones.inception import InceptionI3d, MaxPool, Mixed, Unit3d
from ssrl_pipeline.extractors.engines.fold import folded
from ssrl_pipeline.extractors.presets import Normalisation

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="in a process of its own")

if INTERPRETED:
    from ssrl_pipeline.extractors.engines import triton as triton_engine
    from ssrl_pipeline.extractors.engines import triton_resize
    from ssrl_pipeline.extractors.engines.triton_convolution import Maps, Tiles, choose_chunk, pack_units


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
def test_kernels_by_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def packed(x: Tensor) -> "Maps":
    """[N, C, T, H, W] as maps, with zeros behind rows and frames."""
    n, channels, frames, height, width = x.shape
    data = F.pad(x, (0, 1, 0, 1)).permute(0, 2, 3, 4, 1).reshape(n, -1, channels)
    return Maps(data.contiguous(), frames, height, width)


def unpacked(maps: "Maps") -> Tensor:
    """[N, C, T, H, W]; what lies between rows and frames must be zero."""
    data = maps.data.view(len(maps.data), maps.frames, maps.rows, maps.pitch, -1).float()
    assert not data[:, :, maps.height :].any() and not data[:, :, :, maps.width :].any()
    return maps.inside.float()


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() < 1e-3 * expected.norm()


def unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> Unit3d:
    """With a bias, as after its batch norm was folded into it."""
    torch.manual_seed(inputs + outputs)
    module = Unit3d(inputs, outputs, kernel, stride).eval()
    nn.init.kaiming_normal_(module.conv.weight)
    nn.init.normal_(module.norm.bias)
    (found,) = folded(nn.Sequential(module)).children()
    assert isinstance(found, Unit3d)
    return found


@interpreted
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "tiles"),
    [
        (24, 32, 3, None),  # a chunk that is filled up
        (16, 24, 3, (64, 16, 0, 4, 2)),  # blocks of outputs, the last one half empty
        (32, 48, 3, (64, 32, 16, 4, 2)),  # two products of one tile
        (80, 16, 1, None),
        (48, 40, 1, (64, 16, 0, 4, 2, True)),  # several tiles to a program
    ],
)
def test_convolution(inputs: int, outputs: int, kernel: int, tiles: tuple[int, ...] | None) -> None:
    module = unit(inputs, outputs, kernel)
    x = torch.rand(2, inputs, 3, 5, 4).half()
    convolution = pack_units([module], torch.float16)
    maps = packed(x)
    wide = maps.like(outputs + 16)
    wide.data.fill_(7)
    found = wide.channels(8, 8 + outputs)
    convolution(maps, found, Tiles(*tiles) if tiles else None)
    with torch.inference_mode():
        assert_near(unpacked(found), module(x.float()))
    assert (wide.data[:, :, :8] == 7).all() and (wide.data[:, :, 8 + outputs :] == 7).all()


@interpreted
@pytest.mark.parametrize("size", [(16, 12, 10), (16, 9, 11), (5, 7, 8)])
def test_first_convolution(size: tuple[int, int, int]) -> None:
    network = InceptionI3d()
    network.Conv3d_1a_7x7 = unit(3, 64, kernel=7, stride=2)
    engine = triton_engine.TritonI3d(folded(network.eval()), Normalisation(127.5, 127.5), torch.float16)
    clips = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.Conv3d_1a_7x7((clips.float() - 127.5) / 127.5)
        assert_near(unpacked(engine.first_maps(clips)), expected)
        turned = clips.transpose(3, 4).contiguous().transpose(3, 4)  # any layout in memory
        assert_near(unpacked(engine.first_maps(turned)), expected)


@interpreted
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))],
)
@pytest.mark.parametrize("size", [(4, 6, 5), (3, 5, 8), (1, 1, 1)])
def test_pooling(kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, ...]) -> None:
    layer, x = MaxPool(kernel, stride), torch.rand(2, 24, *size).half()
    assert torch.equal(unpacked(triton_engine.max_pool(packed(x), layer)), layer(x.float()))


@interpreted
def test_a_module_of_four_branches() -> None:
    torch.manual_seed(0)
    module = Mixed(32, (16, 24, 32, 16, 16, 24)).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm3d):
            nn.init.normal_(part.bias)
    (fast,) = folded(nn.Sequential(module)).children()
    x = torch.rand(2, 32, 2, 4, 3).half()
    with torch.inference_mode():
        found = triton_engine.Module.of(fast, torch.float16)(packed(x))
        assert_near(unpacked(found), module(x.float()))


def test_input_channels_are_cut_without_much_waste() -> None:
    if INTERPRETED:
        assert [choose_chunk(n) for n in (16, 24, 32, 96, 192, 480)] == [16, 32, 32, 32, 64, 64]


@interpreted
@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((24, 32), (48, 84)),
        ((37, 61), (30, 44)),
        ((50, 64), (25, 64)),
        ((33, 35), (34, 33)),
        ((9, 7), (9, 7)),
    ],
)
def test_resizing_is_the_cpus_to_the_last_bit(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("PyTorch resizes in another way on this processor")
    frames = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    expected = resize(frames.permute(0, 3, 1, 2), list(wanted), InterpolationMode.BILINEAR, antialias=True)
    assert torch.equal(triton_resize.resize(frames, *wanted), expected.permute(0, 2, 3, 1))
