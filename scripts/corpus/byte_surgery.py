"""Changes the bytes of healthy videos: cuts them, overwrites them, or makes them lie."""

import struct
from collections.abc import Callable

import numpy as np


def shorter(share: float) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[: int(len(content) * share)])


def noise(begin: float, end: float, every: int = 1) -> Callable[[bytearray], bytearray]:
    """Overwrites a stretch (as shares of the file) with noise."""

    def change(content: bytearray) -> bytearray:
        rng, n = np.random.default_rng(0), len(content)
        for i in range(int(begin * n), int(end * n), every):
            content[i] = int(rng.integers(256))
        return content

    return change


def zeros(begin: float, end: float) -> Callable[[bytearray], bytearray]:
    def change(content: bytearray) -> bytearray:
        a, b = int(begin * len(content)), int(end * len(content))
        content[a:b] = bytes(b - a)
        return content

    return change


def without_box(name: bytes) -> Callable[[bytearray], bytearray]:
    """Renames a box, but not to `free`, where libav looks for an index too."""

    def change(content: bytearray) -> bytearray:
        at = content.index(name)
        content[at : at + 4] = b"junk"
        return content

    return change


def lie(name: bytes, offset: int, value: int) -> Callable[[bytearray], bytearray]:
    """Writes a 32-bit number into an MP4 box, `offset` bytes behind its name."""

    def change(content: bytearray) -> bytearray:
        at = content.index(name) + 4 + offset
        content[at : at + 4] = struct.pack(">I", value & 0xFFFFFFFF)
        return content

    return change


def avi_lies(frames: int) -> Callable[[bytearray], bytearray]:
    """Writes another number of frames into an AVI's main header and stream header."""

    def change(content: bytearray) -> bytearray:
        at = content.index(b"avih") + 8 + 16
        content[at : at + 4] = struct.pack("<I", frames)
        at = content.index(b"strh") + 8 + 32
        content[at : at + 4] = struct.pack("<I", frames)
        return content

    return change


def avi_without_index(content: bytearray) -> bytes:
    return bytes(content[: content.index(b"idx1")])


def shown_by(a: int, b: int, c: int, d: int, width: int, height: int) -> Callable[[bytearray], bytearray]:
    """The matrix ((a, b), (c, d)) by which players turn or mirror an MP4's frames."""

    def change(content: bytearray) -> bytearray:
        at = content.index(b"tkhd") + 4 + 40
        x, y = (width * (a < 0) + height * (c < 0), width * (b < 0) + height * (d < 0))
        numbers = [n << 16 for n in (a, b, 0, c, d, 0, x, y)]
        content[at : at + 36] = struct.pack(">8iI", *numbers, 1 << 30)
        return content

    return change


def lost_packets(content: bytearray) -> bytes:
    """Leaves out some of the packets of 188 bytes, as a poor connection does."""
    packets = [content[i : i + 188] for i in range(0, len(content), 188)]
    return b"".join(p for i, p in enumerate(packets) if i % 50 or i < 50)
