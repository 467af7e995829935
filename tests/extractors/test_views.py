"""Views against Pillow and plain slicing."""

import logging
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from ssrl_pipeline.extractors import views
from ssrl_pipeline.extractors.backbones import BACKBONES
from ssrl_pipeline.extractors.choices import BackboneName, PresetName
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.presets import PRESETS, Preset
from ssrl_pipeline.extractors.views import Crops, Grid, Resize, cut_views

CPU = torch.device("cpu")


@pytest.fixture
def frames() -> np.ndarray:
    """uint8 [2, 120, 160, 3]: smooth, so that resampling can be compared, and different everywhere."""
    y, x, t = np.mgrid[0:120, 0:160, 0:2]
    planes = [128 + 100 * np.sin(x / 9 + t), 128 + 100 * np.cos(y / 7), (x + y + 20 * t) % 256]
    return np.stack(planes, -1).transpose(2, 0, 1, 3).astype(np.uint8)


def test_patches_are_pillows_resize_cut_row_by_row(frames: np.ndarray) -> None:
    patches = cut_views(frames, (Grid(2, 3, Resize((240, 420))),))["patch2x3"].numpy()
    assert patches.shape == (6, 3, 2, 120, 140) and patches.dtype == np.uint8
    for t in range(2):
        whole = np.asarray(Image.fromarray(frames[t]).resize((420, 240), Image.Resampling.BILINEAR))
        for row in range(2):
            for column in range(3):
                expected = whole[row * 120 : row * 120 + 120, column * 140 : column * 140 + 140]
                found = patches[row * 3 + column, :, t].transpose(1, 2, 0)
                assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("layout", "order"), [("ten", [0, 1, 3, 4, 2]), ("gowtham", [0, 1, 2, 3, 4])])
def test_ten_crops_and_their_order(frames: np.ndarray, layout: str, order: list[int]) -> None:
    """Top left, top right, centre, bottom left, bottom right; then the same of the mirrored frame."""
    view = Crops("clip", Resize((120, 160)), 100, layout)
    crops = cut_views(frames, (view,))["clip"].numpy()
    assert crops.shape == (10, 3, 2, 100, 100)
    corners = [(0, 0), (0, 60), (10, 30), (20, 0), (20, 60)]
    for mirrored, source in enumerate((frames, frames[:, :, ::-1])):
        for index, corner in enumerate(order):
            y, x = corners[corner]
            found = crops[5 * mirrored + index].transpose(1, 2, 3, 0)
            np.testing.assert_array_equal(found, source[:, y : y + 100, x : x + 100])


def test_short_side_keeps_the_aspect_and_shares_a_resize(frames: np.ndarray) -> None:
    assert Resize(60)(torch.from_numpy(frames).permute(0, 3, 1, 2)).shape == (2, 3, 60, 80)
    tall = np.ascontiguousarray(frames.transpose(0, 2, 1, 3))
    assert Resize(60)(torch.from_numpy(tall).permute(0, 3, 1, 2)).shape == (2, 3, 80, 60)


@pytest.mark.parametrize("size", [60, 128, (240, 420), (64, 90), (120, 160)])
def test_a_resize_and_its_crops_are_torchvisions(frames: np.ndarray, size: int | tuple[int, int]) -> None:
    """Which is not loaded for them: it takes longer than the rest of what a process loads."""
    stored = torch.from_numpy(frames).permute(0, 3, 1, 2)
    sides = [size] if isinstance(size, int) else list(size)
    expected = torchvision.resize(stored, sides, InterpolationMode.BILINEAR, antialias=True)
    found = Resize(size)(stored)
    assert torch.equal(found, expected) and found.stride() == expected.stride()
    for crop in (51, 54):  # an odd and an even rest
        centre = torchvision.center_crop(expected, [crop, crop])
        assert torch.equal(Crops("clip", Resize(size), crop, "centre").cut(found)[0].transpose(0, 1), centre)
        ten = [one.transpose(0, 1) for one in torchvision.ten_crop(expected, [crop, crop])]
        assert torch.equal(Crops("clip", Resize(size), crop).cut(found), torch.stack(ten))


def test_lanczos_is_pillows(frames: np.ndarray) -> None:
    found = Resize((64, 90), "lanczos")(torch.from_numpy(frames).permute(0, 3, 1, 2))
    expected = np.asarray(Image.fromarray(frames[1]).resize((90, 64), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(found[1].permute(1, 2, 0).numpy(), expected)


def test_the_papers_table() -> None:
    paper = PRESETS["paper"]
    assert paper.view_sizes == {"clip": 10, "patch2x3": 6, "patch3x5": 15, "patch4x7": 28}
    frames = np.zeros((1, 90, 120, 3), np.uint8)
    sizes = {name: tuple(view.shape[-2:]) for name, view in cut_views(frames, paper.views).items()}
    expected = {"clip": (224, 224), "patch2x3": (240, 280), "patch3x5": (160, 168), "patch4x7": (120, 120)}
    assert sizes == expected


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (2, 300), (1081, 3)])
def test_presets_take_frames_of_any_size(name: str, size: tuple[int, int]) -> None:
    views = cut_views(np.zeros((1, *size, 3), np.uint8), PRESETS[name].views)
    assert {view: len(cuts) for view, cuts in views.items()} == PRESETS[name].view_sizes


@pytest.mark.parametrize("size", [(480, 840), 128])
def test_a_gpus_resize_is_within_one_grey_level_of_the_cpus(
    shared: Path, size: int | tuple[int, int]
) -> None:
    """A GPU computes with floats and rounds once, as is done here; the CPU with bytes."""
    video = next(path for path in sorted((shared / "data" / "samples").iterdir()) if path.suffix == ".mp4")
    frames = np.stack(list(islice(open_video(video).frames, 0, 40, 13)))
    resize = Resize(size)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    by_cpu, by_gpu = resize(pixels).float(), resize(pixels.float()).round()
    assert by_cpu.shape == by_gpu.shape and by_cpu.std() > 20
    assert (by_cpu - by_gpu).abs().max() <= 1


def test_what_pillow_resizes_goes_up_once_and_the_rest_as_it_is() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)
    sent: list[tuple[int, ...]] = []

    def up(there: torch.Tensor) -> torch.Tensor:
        sent.append(tuple(there.shape))
        return there

    lanczos = Crops("clip", Resize((256, 340), "lanczos"), 224)
    views = (lanczos, Grid(2, 3, Resize((240, 420))), Grid(4, 7, Resize((480, 840))))
    found = cut_views(frames, views, up)
    assert sent == [(2, 256, 340, 3), (2, 40, 60, 3)]
    assert [found[view.name].shape[0] for view in views] == [10, 6, 28]


@pytest.mark.parametrize("name", PRESETS)
def test_a_device_is_never_asked_for_what_it_computed(name: str) -> None:
    """The meta device takes the ways of a GPU, has no values to give, and fails where one is wanted."""
    preset = PRESETS[name]
    views = cut_views(np.zeros((4, 90, 120, 3), np.uint8), preset.views, lambda frames: frames.to("meta"))
    assert {view.device.type for view in views.values()} == {"meta"}
    on_cpu = cut_views(np.zeros((4, 90, 120, 3), np.uint8), preset.views)
    assert {n: v.shape for n, v in views.items()} == {n: v.shape for n, v in on_cpu.items()}


def test_what_pillow_resized_is_not_resized_again(frames: np.ndarray) -> None:
    resize = Resize((64, 90), "lanczos")
    small = resize.by_pillow(frames)
    assert small.shape == (2, 64, 90, 3) and resize.by_pillow(small) is small
    views = (Crops("clip", resize, 48),)
    found, again = cut_views(frames, views), cut_views(small, views)
    np.testing.assert_array_equal(found["clip"], again["clip"])


def test_only_what_all_views_begin_with_is_left_to_those_who_read() -> None:
    assert {name: preset.pillows for name, preset in PRESETS.items() if preset.pillows} == {
        "gowtham": Resize((256, 340), "lanczos")
    }
    lanczos, other = (Crops("clip", Resize((64, 90), "lanczos"), 48), Grid(2, 3, Resize((60, 90))))
    assert Preset("both", (lanczos, other)).pillows is None


def test_where_triton_fails_pytorch_resizes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton")
    from ssrl_pipeline.extractors.engines import triton_resize

    def broken(*_: object) -> None:
        raise OSError("the cache cannot be\nwritten")

    monkeypatch.setattr(views.engines, "why_not_triton", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(triton_resize, "resize", broken)
    views.kernels_for.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert views.kernels_for(torch.device("cpu")) is None
        assert views.kernels_for(torch.device("cpu")) is None
    assert caplog.messages == ["Triton does not resize on cpu, PyTorch does: the cache cannot be"]
    views.kernels_for.cache_clear()


def test_the_names_to_choose_from_are_those_that_there_are() -> None:
    assert get_args(PresetName) == tuple(PRESETS)
    assert get_args(BackboneName) == tuple(BACKBONES)
