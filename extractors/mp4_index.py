"""What the index of an MP4 or MOV says of how it is shown, and decoders do not tell or do.

Cut without re-encoding, a file keeps hidden frames before the cut. Decoders leave out
what the edit list hides, and the number of frames in the index counts it; compared
with that number, a whole file would seem cut.

A matrix says how frames are turned and mirrored. Decoders turn them, and do not mirror.
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
        edits = next(_inside(_first_video(moov), b"edts", b"elst"))
        form = ">Qqhh" if edits[0] else ">Iihh"  # duration, start in the media (-1: a pause), rate
        (count,) = struct.unpack_from(">I", edits, 4)
        entries = struct.iter_unpack(form, edits[8 : 8 + count * struct.calcsize(form)])
        return float(sum(duration for duration, start, *_ in entries if start >= 0) / scale)
    except (StopIteration, struct.error, ZeroDivisionError, IndexError):
        return 0.0


def mirrored_axis(path: Path) -> int | None:
    """Which axis of the frames [H, W, 3] of the first video, as decoders turn them, is still to be mirrored.

    None where none is: no mirror in the matrix ((a, b), (c, d)), or no MP4. The decoders turn
    by the angle of (a, b), to which the rows of the turned frame run parallel or at right angles.
    """
    try:
        track = next(_inside(_first_video(_index(path)), b"tkhd"))
        a, b, _, c, d = struct.unpack_from(">5i", track, 52 if track[0] else 40)
    except (StopIteration, struct.error, IndexError):
        return None
    if a * d - b * c >= 0:
        return None
    return 0 if abs(a) > abs(b) else 1


def _first_video(moov: bytes) -> bytes:
    """Raises StopIteration where there is none."""
    return next(t for t in _inside(moov, b"trak") if next(_inside(t, b"mdia", b"hdlr"))[8:12] == b"vide")


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
