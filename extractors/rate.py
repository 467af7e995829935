"""Which frames of a video are described where a recipe names a rate: they are chosen by their times.

The first frame is chosen, and one is due 1 / rate later: the first that is shown then or afterwards, or
earlier by at most 0.45 of the time since the frame before it. Where frames come evenly that is the one
nearest to the moment. (With 0.5, moments in the middle between two frames would be decided by how times
are rounded.) Then one is due 1 / rate after that moment, but no sooner than 0.45 / rate after the frame
that was chosen: what a slow stretch or a pause had too few of is not made up for behind it.

So no frame is chosen twice, a video that is slower than the rate keeps all of its frames, and of one that
is faster as many are chosen as the rate says. The choice asks for nothing but the frames so far, and
reckons in whole numbers: a file and a stream of it give the same frames, in parts of any size.

Dimensions: N frames, T snippets.
"""

import math
from array import array
from fractions import Fraction

import numpy as np

from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, snippet_count
from ssrl_pipeline.times import steady

FASTEST_RATE = 1000.0  # frames a second that a recipe may name
_NANOSECONDS = 10**9
_NEAR = 9, 20  # the share of a distance between frames, as a fraction


class FrameChoice:
    """Tells of each frame of a video, in order, whether it is chosen, and counts.

    Args:
        rate: chosen frames a second; None: all frames are.

    Attributes:
        frames: how many there were.
        starts: the first frame of each snippet of 16 chosen ones.
    """

    def __init__(self, rate: float | None = None):
        self.frames, self.chosen = 0, 0
        self.starts = array("q")
        # One unit is a nanosecond over the numerator: in it, all times and the distance are whole.
        ratio = Fraction(str(rate)) if rate else None
        self._scale = ratio.numerator if ratio else None
        self._period = ratio.denominator * _NANOSECONDS if ratio else 0
        self._due = self._before = 0

    def take(self, time: float) -> bool:
        """Whether the next frame is chosen, which is shown at `time`, in seconds, after the one before it."""
        is_chosen = self._scale is None or self._is_due(round(time * _NANOSECONDS) * self._scale)
        if is_chosen:
            if self.chosen % SNIPPET_FRAMES == 0:
                self.starts.append(self.frames)
            self.chosen += 1
        self.frames += 1
        return is_chosen

    def _is_due(self, time: int) -> bool:
        near, of = _NEAR
        distance, self._before = time - self._before, time
        if self.frames and of * time + near * distance < of * self._due:
            return False
        due = self._due if self.frames else time
        self._due = max(due + self._period, time + self._period * near // of)
        return True

    def snippet_starts(self, snippets: int) -> np.ndarray | None:
        """int64 [T] of the first so many snippets; None where that is every 16th frame."""
        starts = np.array(self.starts[:snippets], np.int64)
        return None if np.array_equal(starts, every_16th(snippets)) else starts


def every_16th(snippets: int) -> np.ndarray:
    """int64 [T]: the first frames of snippets where all frames are described."""
    return SNIPPET_FRAMES * np.arange(snippets, dtype=np.int64)


def require_starts(starts: np.ndarray, snippets: int, frames: int) -> None:
    """Raises ValueError where these are not the first frames of so many snippets of a video."""
    if starts.shape != (snippets,) or starts.dtype != np.int64:
        raise ValueError(f"starts are {starts.dtype} {list(starts.shape)}, not int64 {[snippets]}")
    if starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= frames:
        raise ValueError(f"snippets do not begin one after the other in {frames} frames")


def snippet_of_frames(frames: int, snippets: int, starts: np.ndarray | None = None) -> np.ndarray:
    """int [N]: the snippet that each frame belongs to, and whose score is its own.

    A snippet reaches to the first frame of the next one. Frames behind the last, where a preset
    leaves out an incomplete one, belong to the last.

    Args:
        frames: N, of the video.
        snippets: T.
        starts: int [T], the first frame of each; None: every 16th.
    """
    starts = every_16th(snippets) if starts is None else starts
    return np.searchsorted(starts, np.arange(frames), side="right") - 1


def chosen_count(frames: int, fps: float, rate: float | None) -> int:
    """About how many of a video's frames are chosen.

    Args:
        frames: of the video.
        fps: at which they are shown, as the container says; all are counted where it is 0 or implausible.
        rate: as of :class:`FrameChoice`.
    """
    fps = steady(fps).fps
    if not rate or not 0 < rate < fps or not frames:
        return frames
    near, of = _NEAR
    return min(frames, 1 + math.floor((frames - 1 + near / of) * rate / fps))


def expected_count(frames: int, fps: float, rate: float | None, drop_last: bool) -> int:
    """About how many snippets a video has, of so many frames; see :func:`chosen_count`."""
    return snippet_count(chosen_count(frames, fps, rate), drop_last)
