"""Frames to the device and features back, beside what the device computes meanwhile."""

import logging
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import first_line
from ssrl_pipeline.extractors import empty_array

PINNED_BYTES = 4 << 30  # at most: all snippets that are on their way, and those that fill up

log = logging.getLogger(__name__)


class Transfer:
    """Copies to and from a device. On a CPU there is nothing to copy.

    On a GPU frames lie in pinned memory from the beginning, see :meth:`empty`. They are
    copied on a stream of their own, and nobody waits: what is computed from them
    begins when they are there.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pinned = PinnedPool(PINNED_BYTES) if device.type == "cuda" else None
        self._copying: deque[tuple[torch.cuda.Event, Tensor]] = deque()  # until when, from where

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory, uint8, from which :meth:`up` is quickest; may be called from any thread."""
        return self._pinned.empty(shape) if self._pinned else empty_array(shape)

    def up(self, frames: Tensor) -> Tensor:
        """A tensor of the CPU, on the device. What is not pinned is copied while the caller waits."""
        if self._stream is None:
            return frames
        frames = frames.contiguous()
        copied = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            there = frames.to(self.device, non_blocking=True)
            copied.record(self._stream)
        self._copying.append((copied, frames))
        self._let_go()
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
        copied = torch.cuda.Event(blocking=True)  # a thread that waits leaves its core to those that read
        copied.record(torch.cuda.current_stream(self.device))

        def wait() -> np.ndarray:
            copied.synchronize()
            self._let_go()
            return here.numpy().copy()  # pinned memory is scarce

        return wait

    def _let_go(self) -> None:
        """Of frames whose copy is done."""
        while self._copying and self._copying[0][0].query():
            self._copying.popleft()


def _pin(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


class PinnedPool:
    """Pinned memory, which is slow to get and scarce: used again and again, and never more than so much.

    What it gives out comes back by itself when nobody holds it any more. It has ordinary
    memory where its own is at its end.

    Args:
        most: bytes.
        pin: makes pinned memory, uint8 of a size.
        unpin: gives that which nobody holds back to the system; PyTorch keeps it otherwise.
    """

    def __init__(
        self,
        most: int,
        pin: Callable[[int], Tensor] = _pin,
        unpin: Callable[[], None] = lambda: torch._C._host_emptyCache(),
    ):
        self._most, self._pin, self._unpin = most, pin, unpin
        self._free: list[Tensor] = []  # grows from any thread, at any time
        self._bytes = 0  # free or given out
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """uint8 of a shape."""
        size = math.prod(shape)
        with self._lock:
            buffer = self._reuse(size) if size else None
            if buffer is None and size:
                buffer = self._new(size)
        if buffer is None:
            return empty_array(shape)
        array = buffer[:size].view(shape).numpy()
        # Its base is held by the array and by all views of it.
        weakref.finalize(array.base, self._free.append, buffer).atexit = False
        return array

    def _reuse(self, size: int) -> Tensor | None:
        """The smallest that is free and large enough."""
        fitting = [i for i, buffer in enumerate(self._free) if len(buffer) >= size]
        return self._free.pop(min(fitting, key=lambda i: len(self._free[i]))) if fitting else None

    def _new(self, size: int) -> Tensor | None:
        size = 1 << (size - 1).bit_length()  # as much as PyTorch takes for it
        if self._free and self._bytes + size > self._most:
            while self._free:  # too small, all of them
                self._bytes -= len(self._free.pop())
            self._unpin()
        if self._bytes + size > self._most:
            return None
        try:
            buffer = self._pin(size)
        except RuntimeError as error:
            self._most = self._bytes
            log.warning("no more memory can be pinned, going on without: %s", first_line(error))
            return None
        self._bytes += size
        return buffer
