"""OpenVINO: the fastest engine on CPUs, and what `auto` takes there.

One clip is one request, and as many are under way as PyTorch has threads. That
was faster than larger batches on all threads, whose steps wait for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.graphs import Graphs, import_openvino, multiplies_tiles, over_cells


def requests_for(clips: int, threads: int) -> int:
    """How many requests are under way at once: a power of two that holds all clips, or all threads.

    Each number is a network to compile, and where some clips have not changed, any number of them comes.
    """
    return min(1 << (clips - 1).bit_length(), threads)


class OpenVino:
    """Runs a network converted from PyTorch, one conversion for each size of clips.

    Args:
        module: uint8 [B, 3, t, h, w] -> float32 [B, ...], on the CPU and in float32.
        precision: `float32`, `bfloat16` or `int8`; what int8 leaves out is in float32 on every CPU, as
            features of a graph whose rest is in bfloat16 are 3e-2 apart from those.
        graphs: make and keep what it is converted to; None: that is kept nowhere.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    name = "openvino"

    def __init__(self, module: nn.Module, precision: str = "float32", graphs: Graphs | None = None):
        self.module, self.precision, self.graphs = module, precision, graphs or Graphs()
        # Without the hint it takes bfloat16 where the CPU has it.
        self.hint = "bf16" if precision == "bfloat16" else "f32"
        self.openvino = import_openvino()
        self.core = self.openvino.Core()
        self.converted: dict[tuple[int, ...], Any] = {}  # [3, t, h, w] -> model of one clip
        # And requests at once, and threads -> their queue.
        self.queues: dict[tuple[tuple[int, ...], int, int], Any] = {}

    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]."""
        threads = torch.get_num_threads()
        queue = self._queue(tuple(clips.shape[1:]), requests_for(len(clips), threads), threads)
        rows: list[np.ndarray] = [np.empty(0)] * len(clips)
        planar: list[np.ndarray] = [np.empty(0)] * len(clips)  # kept while requests read it

        def keep(request: Any, index: int) -> None:
            rows[index] = request.get_output_tensor().data[0].copy()

        queue.set_callback(keep)
        with self._told("run"):
            try:
                for index, clip in enumerate(clips.numpy()):
                    planar[index] = np.ascontiguousarray(clip[None])  # beside the requests that are under way
                    queue.start_async([planar[index]], index, share_inputs=True)
            finally:  # also where a signal ends the program, which must not go while requests are under way
                queue.wait_all()
        return torch.from_numpy(np.stack(rows))

    def _queue(self, shape: tuple[int, ...], requests: int, threads: int) -> Any:
        if (shape, requests, threads) not in self.queues:
            options = {
                "INFERENCE_PRECISION_HINT": self.hint,
                "NUM_STREAMS": requests,
                "INFERENCE_NUM_THREADS": threads,
                # Pinned to cores, the threads of all processes crowd on the first ones: `--devices 2`
                # was half as fast.
                "ENABLE_CPU_PINNING": False,
            }
            with self._told("compile"):
                compiled = self.core.compile_model(self.convert(shape), "CPU", options)
                self.queues[shape, requests, threads] = self.openvino.AsyncInferQueue(compiled, requests)
        return self.queues[shape, requests, threads]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of OpenVINO as a PipelineError; that the memory does not suffice stays what it is."""
        try:
            yield
        except Exception as error:
            if isinstance(error, PipelineError) or is_out_of_memory(error):
                raise
            other = "--engine eager" if self.precision == "float32" else "--engine eager --precision float32"
            raise PipelineError(
                f"OpenVINO cannot {what} the network ({first_line(error)}); {other} does without"
            ) from error

    def convert(self, shape: tuple[int, ...]) -> Any:
        """The model for one clip of a size, uint8 [1, 3, t, h, w] -> float32 [1, ...]."""
        if shape not in self.converted:
            graph = self.graphs.graph(self.module, shape, self.precision)
            if self.precision != "float32" and multiplies_tiles():
                graph = over_cells(graph)
            self.converted[shape] = graph
        return self.converted[shape]
