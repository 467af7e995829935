"""Max-pools in int8: the same maxima, computed in int8 with what is behind them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.engines.engines import OnPixels
from ssrl_pipeline.extractors.graphs import Graphs, import_openvino
from ssrl_pipeline.extractors.graphs.graphs import convert
from ssrl_pipeline.extractors.graphs.pools import in_first_form

pytest.importorskip("openvino")

SHAPE = (3, 8, 20, 22)


def on_pixels(pool: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = nn.Conv3d(3, 16, 3, padding=1), nn.ReLU(), pool, nn.Conv3d(16, 8, 1), nn.Flatten()
        return OnPixels(nn.Sequential(*layers), Normalisation(127.5, 127.5), torch.float32).eval()


def run(graph: Any) -> tuple[np.ndarray, dict[str, str]]:
    """What it gives for a clip, and in which precision each kind of node was computed."""
    clip = np.random.default_rng(1).integers(0, 256, (1, *SHAPE), np.uint8)
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    request = import_openvino().Core().compile_model(graph, "CPU", options).create_infer_request()
    found = np.array(request.infer([clip])[0])
    nodes = [(node.node_type, node.exec_type) for node in request.profiling_info]
    return found, {kind: by for kind, by in nodes if kind in ("MaxPool", "Convolution")}


def forms(graph: Any) -> set[str]:
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MaxPool"]
    return {node.get_type_info().version_id for node in nodes}


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        nn.MaxPool3d(3, 1, 1),
        nn.MaxPool3d(2, 2),
        nn.MaxPool3d(3, 2, ceil_mode=True),
        nn.MaxPool3d((2, 3, 2), (2, 3, 2), (0, 1, 0), ceil_mode=True),  # a last window would be of zeros
    ],
)
def test_maxima_are_the_same(pool: nn.Module) -> None:
    expected, _ = run(convert(on_pixels(pool), SHAPE))
    found, _ = run(in_first_form(convert(on_pixels(pool), SHAPE)))
    assert np.allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_what_the_first_form_cannot_say_stays_as_it_is() -> None:
    graph = convert(on_pixels(nn.MaxPool3d(2, 1, dilation=2)), SHAPE)
    before = forms(graph)
    assert forms(in_first_form(graph)) == before != {"opset1"}


def test_pools_and_what_is_behind_them_are_in_int8_and_kept_graphs_are_as_before(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    network = on_pixels(nn.MaxPool3d(3, 1, 1))
    with_pools, without = Graphs(tmp_path), Graphs(tmp_path, pools=False)
    fast, plain = with_pools.graph(network, SHAPE, "int8"), without.graph(network, SHAPE, "int8")
    assert forms(fast) == {"opset1"} and forms(plain) != {"opset1"}
    assert len(list(tmp_path.glob("*/hashes.json"))) == 1
    (expected, _), (found, computed) = run(plain), run(fast)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    if "INT8" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert all(by.lower().endswith("i8") for by in computed.values())
