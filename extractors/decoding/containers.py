"""What containers show of damage that the decoder passes over in silence.

A file may end before its container says: the sizes that a finished AVI, FLV, Matroska,
WebM or WMV states of itself are compared with the file's. Containers that state none
(MPEG streams, recordings that were never finished, live streams saved as they came) are
taken as they are. MP4 and MOV are left to libav: their index names every frame, and one
that is not there is an error.

An MPEG transport stream counts its packets: gaps are packets lost on the way.
"""

import os
import struct
from pathlib import Path

import numpy as np

from ssrl_pipeline.errors import VideoError

EXTENSIONS = {  # under which libav's containers and raw streams of video go; not those of sound or pictures
    *(".3g2", ".3gp", ".3gp2", ".3gpp", ".f4v", ".ismv", ".m4v", ".mj2", ".mov", ".mp4", ".mp4v", ".qt"),
    *(".evo", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".mod", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts"),
    *(".tod", ".tp", ".trp", ".ts", ".vob"),  # MPEG, as those before
    *(".amv", ".asf", ".avi", ".divx", ".dvr-ms", ".wm", ".wmv", ".wtv", ".xvid"),
    *(".flv", ".ivf", ".ivr", ".mk3d", ".mkv", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".webm", ".y4m"),
    *(".dif", ".dv", ".gxf", ".mxf"),  # of studios and tapes
    *(".dav", ".ifv", ".mxg"),  # of recorders of cameras
    *(".264", ".265", ".266", ".avc", ".h261", ".h263", ".h264", ".h265", ".h266", ".h26l", ".hevc", ".vvc"),
    *(".av1", ".mjpeg", ".mjpg", ".obu", ".rcv", ".vc1"),  # raw, as those before
}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_FLV_SIZE = b"\x00\x08filesize\x00"  # in its onMetaData: a name, and that a float64 follows
_SYNC, _EMPTY = 0x47, 0x1FFF  # the first byte of a packet; the stream (PID) of packets that only fill up
_AT_ONCE = 1 << 18  # packets


def require_file(path: Path) -> None:
    """Raises VideoError where there is no file that can be read; a pipe would be waited for."""
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path}: may not be read; change its permissions")
    if not path.is_file():
        raise VideoError(f"{path}: not a regular file")


def misses_bytes(path: Path) -> bool:
    """True where the container's own size goes beyond the end of the file."""
    return _stated_size(_head(path)) > path.stat().st_size


def gaps(path: Path) -> int:
    """How often packets are broken, or a stream's packets do not follow each other; 0 for other files.

    Each stream counts its packets with content modulo 16; one may come twice (ISO/IEC 13818-1).
    """
    size, found = 0, 0
    last: dict[int, int] = {}  # stream -> its last counter
    with path.open("rb") as file:
        head = file.read(4 * 192)
        for size in (188, 192, 0):
            if size and len(head) >= 4 * size - 4 and all(head[i * size - 188] == _SYNC for i in range(1, 5)):
                break
        if not size:
            return 0
        file.seek(0)
        while content := file.read(size * _AT_ONCE):
            whole = len(content) // size
            packets = np.frombuffer(content, np.uint8, whole * size).reshape(whole, size)[:, size - 188 :]
            sound = packets[:, 0] == _SYNC
            found += int(np.count_nonzero(np.diff(sound.astype(np.int8), prepend=1) < 0))  # stretches
            packets = packets[sound & (packets[:, 3] & 0x10 > 0), :4].astype(np.int32)
            streams = (packets[:, 1] & 0x1F) << 8 | packets[:, 2]
            for stream in np.unique(streams[streams != _EMPTY]):
                counters = packets[streams == stream, 3] & 15
                before = last.get(int(stream), int(counters[0]))
                found += int(np.count_nonzero(np.diff(counters, prepend=before) % 16 > 1))
                last[int(stream)] = int(counters[-1])
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 12)


def _stated_size(head: bytes) -> int:
    """The bytes that the file should have at least; 0 where it does not say."""
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") if head[4:8] != b"\xff" * 4 else 0
    if head[:3] == b"FLV" and 0 < (at := head.find(_FLV_SIZE)) < len(head) - 32:
        (size,) = struct.unpack_from(">d", head, at + len(_FLV_SIZE))
        return int(size) if 0 < size < 1 << 60 else 0
    if head[:4] == _EBML:
        size, at = _matroska_size(head, 4)
        segment = at + size
        if head[segment : segment + 4] != _SEGMENT:
            return 0
        size, at = _matroska_size(head, segment + 4)
        return at + size if size else 0
    if head[:16] == _ASF_HEADER and (at := head.find(_ASF_FILE)) > 0:
        live = head[at + 88] & 1 if len(head) > at + 88 else 1
        return 0 if live else int.from_bytes(head[at + 40 : at + 48], "little")
    return 0


def _matroska_size(head: bytes, at: int) -> tuple[int, int]:
    """The length of an element, 0 where unknown, and where its content begins."""
    first = head[at] if at < len(head) else 0
    length = 9 - first.bit_length()  # the leading zeros say how many bytes there are
    if length > 8:
        return 0, at
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (0 if size == (1 << 7 * length) - 1 else size), at + length
