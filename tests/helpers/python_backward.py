"""Back through a graph of PyTorch's, node by node, in Python.

PyTorch's engine asks the CUDA driver for streams, and there is none where a device is made up. Every
derivative is PyTorch's own; only the order of the nodes and the sums of what meets are made here.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def run_backward(root: Tensor, gradient: Tensor) -> None:
    """Adds the gradients of `root` to the `grad` of the leaves, as `root.backward(gradient)` does."""
    nodes, awaited = _graph(root.grad_fn)  # holds each node, whose identity counts
    arrived: dict[Any, list[Tensor | None]] = {
        node: [None] * len(node._input_metadata) if hasattr(node, "_input_metadata") else [None]
        for node in nodes
    }
    arrived[root.grad_fn][root.output_nr] = gradient
    ready = [root.grad_fn]
    while ready:
        node = ready.pop()
        gradients = node(*arrived.pop(node))
        if not node.next_functions:
            continue
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for (following, number), value in zip(node.next_functions, gradients, strict=True):
            if following is None:
                continue
            if value is not None:
                kind = following._input_metadata[number]
                value = value.sum_to_size(kind.shape).to(kind.dtype)
                before = arrived[following][number]
                arrived[following][number] = value if before is None else before + value
            awaited[following] -= 1
            if not awaited[following]:
                ready.append(following)


def _graph(root: Any) -> tuple[list[Any], Counter[Any]]:
    """All nodes, and how many edges lead to each."""
    nodes, awaited = [root], Counter[Any]()
    for node in nodes:  # grows
        for following, _ in node.next_functions:
            if following is not None:
                if not awaited[following]:
                    nodes.append(following)
                awaited[following] += 1
    return nodes, awaited
