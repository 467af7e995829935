"""The first convolution over cells of pixels, for CPUs that multiply tiles (AMX).

Three colours fill three of the 32 places of such a tile's rows; a cell of 2x2x2 pixels fills 24. A
convolution of stride 2 is one of stride 1 over cells, with half the kernel: the same sums in another order,
and some products by zero. On other CPUs it is no faster (docs/performance.md).

Dimensions: B clips, C colours, t frames, h x w pixels.
"""

from typing import Any

import numpy as np
import torch

from ssrl_pipeline.extractors.graphs.library import operations, replace_node

_CELL = 2  # pixels a side, and frames
_COLOURS = 3


def multiplies_tiles() -> bool:
    """Whether this CPU does; no, where PyTorch is too old to tell."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("amx_tile"))


def over_cells(graph: Any) -> Any:
    """A graph of OpenVINO's, for one clip, whose first convolution is over cells; changed in place.

    One that does not begin with a convolution of stride 2 and an odd kernel stays as it is.
    """
    first = next((node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"), None)
    if first is not None and _is_foldable(first):
        _fold(first)
        graph.validate_nodes_and_infer_types()
    return graph


def _is_foldable(convolution: Any) -> bool:
    _, colours, *kernel = convolution.input(1).get_shape()
    strides = convolution.get_attributes()["strides"]
    return colours == _COLOURS and strides == [_CELL] * 3 and all(n % _CELL for n in kernel)


def _fold(convolution: Any) -> None:
    opset, pads = operations("opset8"), convolution.get_attributes()["pads_begin"]
    pixels = convolution.input_value(0)
    if any(odd := [n % _CELL for n in list(pixels.get_shape())[2:]]):
        pixels = opset.pad(pixels, [0] * 5, [0, 0, *odd], "constant", 0.0).output(0)
    shape, order, folded = _cells(pixels.get_shape())
    parts = opset.transpose(opset.reshape(pixels, shape, special_zero=False), order)
    cells = opset.reshape(parts, folded, special_zero=False)
    kernel = _fold_weight(opset, convolution, [pad % _CELL for pad in pads])
    front = [-(-pad // _CELL) for pad in pads]
    lengths = list(convolution.get_output_shape(0))[2:]  # and as much behind as these need
    back = [n + k - 1 - c - f for n, k, c, f in zip(lengths, kernel[2:], folded[2:], front, strict=True)]
    ones = [1] * 3
    replace_node(convolution, opset.convolution(cells, convolution.input_value(1), ones, front, back, ones))


def _fold_weight(opset: Any, convolution: Any, ahead: list[int]) -> list[int]:
    """Folds the constant that its weight is made of; returns the new shape.

    Args:
        ahead: for each axis, whether the zero that makes the kernel even comes first, not last.
    """
    weight = convolution.input_value(1).get_node()
    scaled: list[Any] = []
    while weight.get_type_name() != "Constant":
        scaled.insert(0, weight)  # by a number for each output
        weight = weight.input_value(0).get_node()
    even = np.pad(weight.get_data(), [(0, 0), (0, 0), *((one, 1 - one) for one in ahead)])
    shape, order, folded = _cells(even.shape)
    kernel = np.ascontiguousarray(even.reshape(shape).transpose(order)).reshape(folded)
    replace_node(weight, opset.constant(kernel, weight.get_element_type()))
    for node in scaled:
        node.constructor_validate_and_infer_types()
    return folded


def _cells(shape: Any) -> tuple[list[int], list[int], list[int]]:
    """How [B, C, t, h, w] becomes [B, 8 C, t/2, h/2, w/2]: what to cut it to, the order, the new shape."""
    batch, channels, *sizes = shape
    halves = [size // _CELL for size in sizes]
    parts = [part for half in halves for part in (half, _CELL)]
    return [batch, channels, *parts], [0, 1, 3, 5, 7, 2, 4, 6], [batch, channels * _CELL**3, *halves]
