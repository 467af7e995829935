"""When the frames of a video are shown: at a steady rate, or each at a time of its own.

Times are seconds from the beginning of the video. A pause of the stamps, as recorders
that wait for something to move leave it, is no frame's length.

Dimensions: N frames.
"""

import math
from dataclasses import dataclass

import numpy as np

PAUSE = 10.0  # usual lengths of a frame: what lasts longer until the next is a pause
EXACT = 0.1  # lengths of a frame, that frame / rate may be off
ALIKE = 1e-3  # relative difference up to which a container's rate is that of its stamps
FASTEST = 1000.0  # frames a second that a container is believed


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """The times of a video's frames.

    Args:
        fps: frames a second while there is no pause; 0 where unknown, then there are no times.
        stamps: float64 [N], increasing, when each frame is shown; None: at its number divided by the rate.
    """

    fps: float = 0.0
    stamps: np.ndarray | None = None

    @property
    def known(self) -> bool:
        return is_rate(self.fps)

    def starts(self, frames: int) -> np.ndarray:
        """float64 [frames]: when each of the first frames is shown; nan where unknown."""
        if not self.known:
            return np.full(frames, np.nan)
        return np.arange(frames) / self.fps if self.stamps is None else self.stamps[:frames]

    def ends(self, frames: int) -> np.ndarray:
        """float64 [frames]: when the next is shown; before a pause, and of the last, after a usual length."""
        if self.stamps is None or not self.known:
            return np.arange(1, frames + 1) / (self.fps if self.known else np.nan)
        starts = self.stamps[:frames]
        lengths = np.diff(self.stamps[: frames + 1], append=np.inf)[:frames]
        return starts + np.where(lengths > PAUSE / self.fps, 1 / self.fps, lengths)

    def seconds(self, frames: int) -> float:
        """How long the first frames are shown in all, pauses left out; nan where unknown."""
        if self.stamps is None or not self.known:
            return frames / self.fps if self.known else math.nan
        return float((self.ends(frames) - self.starts(frames)).sum())


def is_rate(fps: float) -> bool:
    """Whether a frame rate is known and one."""
    return math.isfinite(fps) and fps > 0


def from_stamps(stamps: np.ndarray, said: float) -> FrameTimes:
    """The times that a decoder gave, as a rate alone where that is exact.

    Args:
        stamps: float64 [N], increasing; not empty.
        said: the rate that the container says; 0 where it says none.
    """
    number = np.arange(len(stamps))
    for fps in (said, measured_rate(stamps)):
        if 0 < fps <= FASTEST and np.abs(stamps - number / fps).max() <= EXACT / fps:
            return FrameTimes(fps)
    fps = measured_rate(stamps)
    fps = said if abs(said - fps) <= ALIKE * fps else fps
    return FrameTimes(fps, stamps) if fps else FrameTimes()


def measured_rate(stamps: np.ndarray) -> float:
    """Frames a second by their times, pauses left out; 0 of less than two frames."""
    lengths = np.diff(stamps)
    if not len(lengths):
        return 0.0
    lengths = lengths[lengths <= PAUSE * np.median(lengths)]
    return float(len(lengths) / lengths.sum())
