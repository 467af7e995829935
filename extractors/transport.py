"""Gaps in an MPEG transport stream: packets lost on the way, of which the decoders need not say a word."""

from pathlib import Path

import numpy as np

_SYNC, _EMPTY = 0x47, 0x1FFF  # the first byte of a packet; the stream (PID) of packets that only fill up
_AT_ONCE = 1 << 18  # packets


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
