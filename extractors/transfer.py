"""Frames to the device and features back, beside what the device computes meanwhile."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Transfer:
    """Copies to and from a device. On a CPU there is nothing to copy.

    On a GPU frames pass through pinned memory on a stream of their own, and nobody
    waits: what is computed from them begins when they are there.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def up(self, frames: Tensor) -> Tensor:
        """A tensor of the CPU, on the device."""
        if self._stream is None:
            return frames
        with torch.cuda.stream(self._stream):
            there = frames.contiguous().pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        there.record_stream(computing)  # its memory is not used again before that is through
        return there

    def down(self, rows: Tensor) -> Callable[[], np.ndarray]:
        """What waits for a tensor of the device and gives it as an array."""
        if self._stream is None:
            return rows.numpy
        here = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        here.copy_(rows, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(self.device))

        def wait() -> np.ndarray:
            copied.synchronize()
            return here.numpy().copy()  # pinned memory is scarce

        return wait
