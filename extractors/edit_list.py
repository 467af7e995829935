"""How much of its frames an MP4 or MOV shows: cut without re-encoding, it keeps hidden ones before the cut.

Decoders leave out what the edit list hides, and the number of frames in the
index counts it; compared with that number, a whole file would seem cut.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_LARGEST_INDEX = 256 << 20  # bytes: far more than a day of video has


def shown_seconds(path: Path) -> float:
    """What the edit list of the first video shows; 0 where there is no such list, or no MP4."""
    try:
        moov = _index(path)
        timescale = next(_inside(moov, b"mvhd"))
        (scale,) = struct.unpack_from(">I", timescale, 20 if timescale[0] else 12)
        for track in _inside(moov, b"trak"):
            if next(_inside(track, b"mdia", b"hdlr"))[8:12] == b"vide":
                edits = next(_inside(track, b"edts", b"elst"))
                form = ">Qqhh" if edits[0] else ">Iihh"  # duration, start in the media (-1: a pause), rate
                (count,) = struct.unpack_from(">I", edits, 4)
                entries = struct.iter_unpack(form, edits[8 : 8 + count * struct.calcsize(form)])
                return float(sum(duration for duration, start, *_ in entries if start >= 0) / scale)
    except (StopIteration, struct.error, ZeroDivisionError, IndexError):
        pass
    return 0.0


def _index(path: Path) -> bytes:
    """The content of the file's box `moov`; nothing where there is none."""
    with path.open("rb") as file:
        end, at = file.seek(0, os.SEEK_END), 0
        while at + 8 <= end:
            file.seek(at)
            head = file.read(16)
            skipped, size = _size(head, end - at)
            if head[4:8] == b"moov":
                file.seek(at + skipped)
                return file.read(min(size - skipped, _LARGEST_INDEX))
            at += size
    return b""


def _inside(content: bytes, name: bytes, *inner: bytes) -> Iterator[bytes]:
    """The contents of all boxes of a name; with more names, of those inside the first that has them."""
    at = 0
    while at + 8 <= len(content):
        skipped, size = _size(content[at : at + 16], len(content) - at)
        if content[at + 4 : at + 8] == name:
            box = content[at + skipped : at + size]
            yield from _inside(box, *inner) if inner else (box,)
        at += size


def _size(head: bytes, rest: int) -> tuple[int, int]:
    """The bytes of a box's head, and of all of it; at least 8, and no more than there are."""
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        return 16, min(max(int.from_bytes(head[8:16], "big"), 16), rest)
    return 8, min(max(size, 8), rest) if size else rest
