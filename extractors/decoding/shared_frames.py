"""Frames in memory that two processes share: a ring of blocks, of up to 16 frames each.

On Linux the memory has no name and is on no disk (/dev/shm is small in many
containers); on other POSIX systems it is a file without a name; on Windows
a named section, which goes with its last user.
"""

import mmap
import os
import sys
import tempfile
import uuid
from typing import NamedTuple

import numpy as np

if sys.platform == "linux":
    import fcntl

SLOTS = 4  # blocks in the ring
BLOCK_FRAMES = 16
BLOCK_BYTES = 32 << 20  # at most, where a frame is not larger
NO_PIXELS = np.empty((0, 0, 3), np.uint8)  # a frame that is not chosen


class Layout(NamedTuple):
    """How the ring is divided; both sides reckon it from the size of a frame."""

    height: int
    width: int
    most: int = BLOCK_FRAMES  # frames of a block; 1 where none may wait for the next

    @property
    def frame_bytes(self) -> int:
        return self.height * self.width * 3

    @property
    def block_frames(self) -> int:
        return max(1, min(self.most, BLOCK_BYTES // self.frame_bytes))

    @property
    def total_bytes(self) -> int:
        return SLOTS * self.block_frames * self.frame_bytes


class SharedMemory:
    """The consumer's handle of memory whose size is not known yet."""

    def __init__(self) -> None:
        self.descriptor = -1
        if sys.platform == "linux":
            self.descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        elif sys.platform != "win32":
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self.key: int | str = self.descriptor if self.descriptor >= 0 else f"frames-{uuid.uuid4().hex}"

    def grow(self, size: int) -> None:
        """Sets the size, and on Linux that nobody can shorten it under the other's feet."""
        if sys.platform != "win32":
            os.ftruncate(self.descriptor, size)
        if sys.platform == "linux":
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)

    def close(self) -> None:
        """Mapped frames stay where they are until nobody uses them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def map_blocks(key: int | str, layout: Layout) -> np.ndarray:
    """The ring of a :attr:`SharedMemory.key`: uint8 [slots, frames of a block, H, W, 3]."""
    if isinstance(key, int):
        memory = mmap.mmap(key, layout.total_bytes)
    elif sys.platform == "win32":
        memory = mmap.mmap(-1, layout.total_bytes, tagname=key)
    else:
        raise ValueError(f"{key!r} is no file descriptor")
    shape = (SLOTS, layout.block_frames, layout.height, layout.width, 3)
    return np.frombuffer(memory, np.uint8).reshape(shape)
