"""OpenVINO: the fastest engine on CPUs, and what `auto` takes there.

One clip is one request, and as many are under way as PyTorch has threads, each on one core. That was faster
than larger batches on all threads, whose steps wait for each other. Clips of the next size begin when a core
is free, not when those of the last are done.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.graphs import Graphs, import_openvino, multiplies_tiles, over_cells


class Compiled(NamedTuple):
    """A network for one size of clips."""

    network: Any
    idle: deque[Any]  # requests that are not under way

    def run(self, clip: np.ndarray) -> np.ndarray:
        """uint8 [3, t, h, w], of any layout -> float32 [...]."""
        planar = np.ascontiguousarray(clip[None])  # beside the requests that are under way
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.network.create_infer_request()
        request.infer([planar], share_inputs=True)
        row: np.ndarray = request.get_output_tensor().data[0].copy()
        self.idle.append(request)
        return row


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
        self.compiled: dict[tuple[tuple[int, ...], int], Compiled] = {}  # and threads -> what runs it
        self.cores: dict[int, ThreadPoolExecutor] = {}  # threads -> those that wait for a core each

    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]."""
        return self.each([clips])[0]

    def each(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """Clips of several sizes, uint8 [B, 3, t, h, w] each -> float32 [B, ...] of each."""
        threads = torch.get_num_threads()
        if threads not in self.cores:
            self.cores[threads] = ThreadPoolExecutor(threads, "describing clips")
        networks = [self._compile(tuple(clips.shape[1:]), threads) for clips in batches]
        with self._told("run"):
            begun: list[list[Future[np.ndarray]]] = [
                [self.cores[threads].submit(network.run, clip) for clip in clips.numpy()]
                for network, clips in zip(networks, batches, strict=True)
            ]
            try:
                return [torch.from_numpy(np.stack([row.result() for row in rows])) for rows in begun]
            finally:  # also where one fails, or a signal ends the program: none is under way then
                every = [row for rows in begun for row in rows]
                for row in every:
                    row.cancel()
                wait(every)

    def _compile(self, shape: tuple[int, ...], threads: int) -> Compiled:
        if (shape, threads) not in self.compiled:
            options = {
                "INFERENCE_PRECISION_HINT": self.hint,
                "NUM_STREAMS": threads,
                "INFERENCE_NUM_THREADS": threads,
                # Pinned to cores, the threads of all processes crowd on the first ones: `--devices 2`
                # was half as fast.
                "ENABLE_CPU_PINNING": False,
            }
            with self._told("compile"):
                network = self.core.compile_model(self.convert(shape), "CPU", options)
            self.compiled[shape, threads] = Compiled(network, deque())
        return self.compiled[shape, threads]

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
