"""The first convolution over cells: the same sums, whatever the kernel, the padding and the size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.engines import openvino as engine
from ssrl_pipeline.extractors.engines.engines import OnPixels, make_engine
from ssrl_pipeline.extractors.graphs import Graphs, over_cells

openvino = pytest.importorskip("openvino")

PIXELS = Normalisation(127.5, 127.5)


def network(first: nn.Conv3d) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for parameter in first.parameters():
            nn.init.normal_(parameter, std=0.1)
        return nn.Sequential(first, nn.ReLU(), nn.Conv3d(8, 4, 3, padding=1), nn.Flatten()).eval()


def first_kernel(graph: Any) -> list[int]:
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return list(nodes[0].input(1).get_shape())[1:]


def outputs(graph: Any, clip: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([clip])[0])


def clip_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (1, *shape), np.uint8)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("shape", [(3, 16, 24, 30), (3, 15, 23, 31)])
@pytest.mark.parametrize(
    ("kernel", "padding", "folded"),
    [
        (7, 3, [24, 4, 4, 4]),
        (7, 2, [24, 4, 4, 4]),
        ((5, 7, 7), (2, 3, 3), [24, 3, 4, 4]),
        (3, 0, [24, 2, 2, 2]),
    ],
)
def test_the_sums_are_the_same(
    kernel: Any, padding: Any, folded: list[int], shape: tuple[int, ...], precision: str
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
    module = OnPixels(network(nn.Conv3d(3, 8, kernel, 2, padding)), PIXELS, torch.float32).eval()
    graph, clip = Graphs().graph(module, shape, precision), clip_of(shape)
    expected = outputs(graph, clip)
    assert first_kernel(over_cells(graph)) == folded
    found, scale = outputs(graph, clip), np.abs(expected).max()
    assert np.allclose(found, expected, atol=scale * (1e-5 if precision == "float32" else 2e-2))
    wrong = np.mean(~np.isclose(found, expected, atol=scale * 1e-5))
    assert wrong < 1e-2  # in int8 a sum may fall to the other side of a step


@pytest.mark.parametrize(
    "first", [nn.Conv3d(3, 8, 7, 1, 3), nn.Conv3d(3, 8, 4, 2), nn.Conv3d(3, 8, 7, (1, 2, 2))]
)
def test_what_makes_no_cells_stays_as_it_is(first: nn.Conv3d) -> None:
    module = OnPixels(network(first), PIXELS, torch.float32).eval()
    graph = Graphs().graph(module, (3, 16, 24, 30), "float32")
    kernel, expected = first_kernel(graph), outputs(graph, clip_of((3, 16, 24, 30)))
    assert first_kernel(over_cells(graph)) == kernel
    assert np.array_equal(outputs(graph, clip_of((3, 16, 24, 30))), expected)


@pytest.mark.parametrize(
    ("tiles", "precision", "channels"), [(True, "int8", 24), (True, "float32", 3), (False, "int8", 3)]
)
def test_only_tiles_want_cells_and_what_is_kept_has_none(
    tiles: bool, precision: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
    monkeypatch.setattr(engine, "multiplies_tiles", lambda: tiles)
    shape, kept = (3, 16, 24, 30), Graphs(tmp_path)
    network_ = network(nn.Conv3d(3, 8, 7, 2, 3))
    made = make_engine("openvino", network_, PIXELS, torch.device("cpu"), precision, kept)
    assert isinstance(made, engine.OpenVino)
    assert first_kernel(made.convert(shape))[0] == channels
    assert first_kernel(kept.graph(made.module, shape, precision))[0] == 3
