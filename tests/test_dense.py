"""Cells of a feature map against integrals of piecewise constant functions."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from ssrl_pipeline.extractors.backbone import Backbone
from ssrl_pipeline.extractors.dense import DensePatches, pool_cells
from ssrl_pipeline.extractors.inception import InceptionI3d
from ssrl_pipeline.extractors.views import Grid, Resize

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


def test_grids_of_one_pass_have_names_and_order() -> None:
    grids = (Grid(2, 3, SIZE), Grid(1, 1, SIZE), Grid(4, 7, SIZE))
    network = DensePatches(Identity(), grids)
    clips = noise(2, 3, 4, 64, 96)
    views = network.split(network(clips))
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        "patch2x3": (2, 6, 3),
        "patch1x1": (2, 1, 3),
        "patch4x7": (2, 28, 3),
    }
    bottom_left = clips[:, :, :, 32:, :32].mean(dim=(2, 3, 4))
    torch.testing.assert_close(views["patch2x3"][:, 3], bottom_left)


def test_one_cell_is_the_backbone_on_the_frame() -> None:
    torch.manual_seed(0)
    backbone = InceptionI3d().eval()
    clips = noise(1, 3, 16, 65, 97).float()
    with torch.inference_mode():
        found = DensePatches(backbone, (Grid(1, 1, SIZE),))(clips)
        torch.testing.assert_close(found[:, 0], backbone(clips), rtol=1e-4, atol=1e-6)
