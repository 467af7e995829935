"""Consecutive frames as snippets of 16."""

from collections.abc import Iterable, Iterator

import numpy as np

SNIPPET_FRAMES = 16


def snippets(frames: Iterable[np.ndarray], drop_last: bool = False) -> Iterator[np.ndarray]:
    """Groups a stream of uint8 [H, W, 3] frames into uint8 [16, H, W, 3] snippets.

    The last snippet is completed by looping its own frames; with `drop_last` an
    incomplete one is left out. N frames give ceil(N/16), or floor(N/16), snippets.
    """
    pending: list[np.ndarray] = []
    for frame in frames:
        pending.append(frame)
        if len(pending) == SNIPPET_FRAMES:
            yield np.stack(pending)
            pending = []
    if pending and not drop_last:
        yield np.stack([pending[i % len(pending)] for i in range(SNIPPET_FRAMES)])


def snippet_count(frames: int, drop_last: bool = False) -> int:
    return frames // SNIPPET_FRAMES if drop_last else -(-frames // SNIPPET_FRAMES)
