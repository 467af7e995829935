"""Consecutive frames as snippets of 16."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

SNIPPET_FRAMES = 16

Empty = Callable[[tuple[int, ...]], np.ndarray]  # a shape -> uint8 memory, whatever stands in it


def empty_array(shape: tuple[int, ...]) -> np.ndarray:
    """Ordinary memory."""
    return np.empty(shape, np.uint8)


class Pending:
    """A snippet that fills up, frame by frame, in the memory in which it will be used.

    Args:
        empty: gives the memory of a snippet.
        resize: brings a snippet, uint8 [16, H, W, 3], to size, in memory that `empty` gives.
    """

    def __init__(
        self, empty: Empty = empty_array, resize: Callable[[np.ndarray, Empty], np.ndarray] | None = None
    ):
        self.frames = 0
        self._resize = resize
        self._empty = empty
        self._images: np.ndarray | None = None  # [16, H, W, 3]

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width, 3) of the frames that are there; () before the first."""
        return () if self._images is None else self._images.shape[1:]

    def next(self, shape: tuple[int, ...]) -> np.ndarray:
        """Where the next frame belongs, uint8 [H, W, 3]; it counts as there.

        Raises:
            ValueError: the frames before it in this snippet are of another shape.
        """
        if self.shape != shape:
            if self.frames:
                raise ValueError(f"a frame of {list(shape)} after {self.frames} of {list(self.shape)}")
            empty = empty_array if self._resize else self._empty
            self._images = empty((SNIPPET_FRAMES, *shape))
        assert self._images is not None
        self.frames += 1
        return self._images[self.frames - 1]

    def clear(self) -> None:
        """Forgets the frames that are there."""
        self.frames = 0

    def take(self) -> np.ndarray:
        """The snippet, uint8 [16, h, w, 3], completed by looping its frames; the next begins."""
        assert self._images is not None and self.frames
        images, self._images = self._images, None
        for i in range(self.frames, SNIPPET_FRAMES):
            images[i] = images[i - self.frames]
        self.frames = 0
        return self._resize(images, self._empty) if self._resize else images


def cut_snippets(
    frames: Iterable[np.ndarray], drop_last: bool = False, pending: Pending | None = None
) -> Iterator[np.ndarray]:
    """Groups a stream of uint8 [H, W, 3] frames into uint8 [16, H, W, 3] snippets.

    The last snippet is completed by looping its own frames; with `drop_last` an
    incomplete one is left out. N frames give ceil(N/16), or floor(N/16), snippets.

    Args:
        frames: each is copied before the next is asked for.
        pending: empty; where snippets fill up.
    """
    pending = pending or Pending()
    for frame in frames:
        pending.next(frame.shape)[:] = frame
        if pending.frames == SNIPPET_FRAMES:
            yield pending.take()
    if pending.frames and not drop_last:
        yield pending.take()


def snippet_count(frames: int, drop_last: bool = False) -> int:
    return frames // SNIPPET_FRAMES if drop_last else -(-frames // SNIPPET_FRAMES)
