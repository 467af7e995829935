"""Max-pools that are computed in int8, with the convolutions behind them.

OpenVINO does so where a max-pool has its first form, without dilation and indices; what comes of PyTorch has
the newest. That and the 1x1x1 convolutions behind it are computed in float32 else, by numbers that were
rounded for int8 all the same.
"""

from typing import Any

from ssrl_pipeline.extractors.graphs.library import operations, replace_node


def in_first_form(graph: Any) -> Any:
    """A quantised graph with max-pools in that form, where it says the same; changed in place."""
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "MaxPool" and (first := _first_form(node)) is not None:
            replace_node(node, first)
    graph.validate_nodes_and_infer_types()
    return graph


def _first_form(pool: Any) -> Any:
    """None where there is no such."""
    of = pool.get_attributes()
    has_indices = pool.get_output_size() > 1 and pool.output(1).get_target_inputs()
    if has_indices or any(step != 1 for step in of.get("dilations", ())):
        return None
    window = of["strides"], of["pads_begin"], of["pads_end"], of["kernel"]
    rounding = of["rounding_type"].removesuffix("_torch")  # which leaves out a window of nothing but zeros
    first = operations("opset1").max_pool(pool.input_value(0), *window, rounding, of["auto_pad"])
    return first if first.get_output_shape(0) == pool.get_output_shape(0) else None
