"""Cells of a feature map against integrals of piecewise constant functions."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.base import Backbone
from ssrl_pipeline.extractors.passes import DensePatches, plan_passes, pool_cells
from ssrl_pipeline.extractors.views import Crops, Frame, Grid, Resize, cut_views

SIZE = Resize((64, 96))


class Identity(Backbone):
    """Its last feature map is what it is given."""

    def feature_map(self, clips: Tensor) -> Tensor:
        return clips


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


@pytest.mark.parametrize(("h", "w"), [(12, 20), (15, 27), (4, 7), (1, 1), (2, 3)])
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (3, 5), (4, 7), (1, 1)])
def test_a_cell_is_the_integral_over_it(h: int, w: int, rows: int, columns: int) -> None:
    """Enlarged until every border falls between positions, the map is cut by plain slicing."""
    last = noise(2, 5, 3, h, w)
    enlarged = last.repeat_interleave(rows, 3).repeat_interleave(columns, 4).mean(2)
    found = pool_cells(last, rows, columns)
    assert found.shape == (2, rows * columns, 5)
    for row in range(rows):
        for column in range(columns):
            cell = enlarged[:, :, row * h : (row + 1) * h, column * w : (column + 1) * w]
            expected = cell.mean(dim=(2, 3))
            torch.testing.assert_close(found[:, row * columns + column], expected)


def test_a_position_on_a_border_counts_by_its_shares() -> None:
    """Seven columns in three cells: borders at 7/3 and 14/3."""
    third = Fraction(1, 3)
    weights = np.array(
        [[1, 1, third, 0, 0, 0, 0], [0, 0, 2 * third, 1, 2 * third, 0, 0], [0, 0, 0, 0, third, 1, 1]]
    )
    expected = (weights / Fraction(7, 3)).astype(float)
    found = pool_cells(torch.eye(7, dtype=torch.float64)[None, :, None, None], 1, 3)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_aligned_cells_are_blocks_row_by_row() -> None:
    blocks = torch.arange(15.0).reshape(3, 5)
    last = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1).expand(1, 2, 2, 12, 20)
    np.testing.assert_allclose(pool_cells(last, 3, 5)[0, :, 1], np.arange(15), rtol=1e-6)


def test_a_map_of_low_precision_is_averaged_in_float32() -> None:
    """Sums of 160 bfloat16 numbers in bfloat16 would be off by percents."""
    last = noise(2, 5, 2, 9, 14).to(torch.bfloat16)
    found = pool_cells(last, 2, 3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pool_cells(last.double(), 2, 3).float(), rtol=1e-5, atol=1e-6)
    whole = Identity()(last)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, last.double().mean(dim=(2, 3, 4)).float(), rtol=1e-5, atol=1e-6)


class Copies(TorchDispatchMode):
    """Counts what is copied from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.count += any(one.device != out.device for one in args if isinstance(one, Tensor))
        return out


def test_nothing_is_copied_to_the_device_while_it_pools() -> None:
    """Nor is the device asked for a value: the meta device has none to give."""
    network = DensePatches(Identity(), (Grid(2, 3, SIZE), Grid(3, 5, SIZE)))
    with Copies() as copies:
        clips = torch.zeros(2, 3, 4, 8, 14).to("meta")
        assert copies.count == 1  # it is seen
        features = network(clips)
    assert features.device.type == "meta" and features.shape == (2, 21, 3)
    assert copies.count == 1


def test_one_pass_for_the_grids_of_a_resize() -> None:
    clip, small, large = Crops("clip", SIZE, 32), Grid(2, 3, SIZE), Grid(1, 2, Resize((128, 64)))
    views = (clip, small, large, Grid(4, 7, SIZE))
    passes = plan_passes(Identity(), views, "dense")
    assert [(one.cut, one.views) for one in passes] == [
        (clip, (clip,)),
        (Frame(SIZE), (small, views[3])),
        (Frame(large.resize), (large,)),
    ]
    assert [one.cut for one in plan_passes(Identity(), views, "exact")] == list(views)


def test_grids_of_one_pass_come_one_after_the_other() -> None:
    network = DensePatches(Identity(), (Grid(2, 3, SIZE), Grid(1, 1, SIZE), Grid(4, 7, SIZE)))
    clips = noise(2, 3, 4, 64, 96)
    features = network(clips)
    assert features.shape == (2, 6 + 1 + 28, 3)
    torch.testing.assert_close(features[:, 3], clips[:, :, :, 32:, :32].mean(dim=(2, 3, 4)))
    torch.testing.assert_close(features[:, 6], clips.mean(dim=(2, 3, 4)))


@pytest.fixture(scope="module")
def dense() -> FeatureExtractor:
    return FeatureExtractor("i3d", "live", device="cpu", weights="random", patches="dense")


def test_one_cell_is_the_backbone_on_the_frame(dense: FeatureExtractor) -> None:
    clips = noise(1, 3, 16, 65, 97).float()
    with torch.inference_mode():
        found = DensePatches(dense.backbone, (Grid(1, 1, SIZE),))(clips)
        expected = dense.backbone(clips)
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_extractor_pools_the_map_of_the_frame(dense: FeatureExtractor) -> None:
    """240x420 pixels make a map of 8x14: a row of 2x3 cells is 4 positions high and 14/3 wide."""
    rng = np.random.default_rng(0)
    snippets = [rng.integers(0, 256, (16, *size, 3), np.uint8) for size in ((48, 64), (60, 40))]
    frame = Frame(Resize((240, 420)))
    for snippet, features in zip(snippets, dense.describe(snippets), strict=True):
        whole = cut_views(snippet, (frame,))[frame.name]
        with torch.inference_mode():
            last = dense.backbone.feature_map((whole.float() - 127.5) / 127.5)[0].mean(1)
        assert last.shape == (1024, 8, 14)
        weights = torch.tensor([1.0] * 4 + [2 / 3])
        expected = (last[:, 4:, :5] * weights).sum(dim=(1, 2)) / (4 * 14 / 3)
        assert {name: value.shape for name, value in features.items()} == {
            "clip": (1, 1, 1024),
            "patch2x3": (1, 6, 1024),
        }
        limit = 1e-5 * float(expected.max())
        np.testing.assert_allclose(features["patch2x3"][0, 3], expected.numpy(), rtol=0, atol=limit)
    exact = FeatureExtractor("i3d", "live", device="cpu", weights="random")
    (alone,) = exact.describe(snippets[1:])
    np.testing.assert_allclose(features["clip"], alone["clip"], rtol=0, atol=1e-5 * alone["clip"].max())


def test_recipe_names_dense_patches_and_is_else_as_it_was(dense: FeatureExtractor) -> None:
    exact = FeatureExtractor("i3d", "live", device="cpu", weights="random")
    assert dense.recipe == {**exact.recipe, "patches": "dense"}
    assert set(exact.recipe) == {
        *("preset", "backbone", "weights_sha256", "feature_size", "views", "geometry")
    }
