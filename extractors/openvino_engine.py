"""OpenVINO: the fastest engine on CPUs with wide vectors.

One clip is one request, and as many are under way as PyTorch has threads. That
was faster than larger batches on all threads, whose steps wait for each other.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class OpenVino:
    """Runs a network converted from PyTorch, one conversion for each size of clips.

    Args:
        module: uint8 [B, 3, t, h, w] -> float32 [B, ...], on the CPU.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    name = "openvino"

    def __init__(self, module: nn.Module):
        import openvino

        self.module = module
        self.core = openvino.Core()
        self.converted: dict[tuple[int, ...], Any] = {}  # [3, t, h, w] -> model of one clip
        self.queues: dict[tuple[tuple[int, ...], int], Any] = {}  # and requests at once -> their queue

    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]."""
        requests = min(len(clips), torch.get_num_threads())
        queue = self._queue(tuple(clips.shape[1:]), requests)
        rows: list[np.ndarray] = [np.empty(0)] * len(clips)

        def keep(request: Any, index: int) -> None:
            rows[index] = request.get_output_tensor().data[0].copy()

        queue.set_callback(keep)
        for index, clip in enumerate(clips.contiguous().numpy()):
            queue.start_async([clip[None]], index, share_inputs=True)
        queue.wait_all()
        return torch.from_numpy(np.stack(rows))

    def _queue(self, shape: tuple[int, ...], requests: int) -> Any:
        import openvino

        if (shape, requests) not in self.queues:
            threads = torch.get_num_threads()
            options = {
                "INFERENCE_PRECISION_HINT": "f32",  # or it takes bfloat16 where the CPU has it
                "NUM_STREAMS": requests,
                "INFERENCE_NUM_THREADS": threads,
            }
            compiled = self.core.compile_model(self.convert(shape), "CPU", options)
            self.queues[shape, requests] = openvino.AsyncInferQueue(compiled, requests)
        return self.queues[shape, requests]

    def convert(self, shape: tuple[int, ...]) -> Any:
        """The model for one clip of a size, uint8 [1, 3, t, h, w] -> float32 [1, ...]."""
        import openvino

        if shape not in self.converted:
            example = torch.zeros(1, *shape, dtype=torch.uint8)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that sizes are fixed, which is meant, and jit is old
                traced = torch.jit.trace(self.module, example, check_trace=False)
                self.converted[shape] = openvino.convert_model(
                    traced, example_input=example, input=[openvino.PartialShape([1, *shape])]
                )
        return self.converted[shape]
