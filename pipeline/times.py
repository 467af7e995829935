"""When the frames of a video are shown: at a steady rate, or each at a time of its own.

Times are seconds from the beginning of the video. A pause of the stamps, as recorders
that wait for something to move leave it, is no frame's length.

Dimensions: N frames.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PAUSE = 10.0  # usual lengths of a frame: what lasts longer until the next is a pause
EXACT = 0.1  # lengths of a frame, that frame / rate may be off
ALIKE = 1e-3  # relative difference up to which a container's rate is that of its stamps
FASTEST = 1000.0  # frames a second: from here on a container is not believed
NEAR = 1e-3  # seconds: what people and tools write is rounded to so much
CLOSE = 1e-6  # lengths of a frame: times that differ by less are the same
SLACK = 0.5  # seconds that others may count on behind a video's end: sound often lasts longer


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

    def start_of(self, frames: np.ndarray) -> np.ndarray:
        """Numbers of frames, int of any shape -> when each is shown, float64; nan where unknown."""
        if self.stamps is None or not self.known:
            return frames / (self.fps if self.known else np.nan)
        return self.stamps[frames]

    def end_of(self, frames: np.ndarray) -> np.ndarray:
        """When the next frame is shown; before a pause, and of the last, after a usual length."""
        if self.stamps is None or not self.known:
            return (frames + 1) / (self.fps if self.known else np.nan)
        last = len(self.stamps) - 1
        starts, following = self.stamps[frames], self.stamps[np.minimum(frames + 1, last)]
        usual = (frames == last) | (following - starts > PAUSE / self.fps)
        return np.where(usual, starts + 1 / self.fps, following)

    def frame_at(self, seconds: float) -> int:
        """The frame that is shown at a time, or the last before it; also one that begins up to NEAR later.

        It may lie behind the last frame where only the rate is known. -1 where unknown.
        """
        if not self.known:
            return -1
        if self.stamps is None:
            return max(0, math.floor((seconds + NEAR) * self.fps))
        return max(0, int(np.searchsorted(self.stamps, seconds + NEAR, side="right")) - 1)

    def frames_before(self, seconds: float) -> int:
        """How many frames begin before a time, by more than NEAR: the exclusive end of what lasts until then.

        It may be more than there are where only the rate is known. -1 where unknown.
        """
        if not self.known:
            return -1
        if self.stamps is None:
            return max(0, math.ceil((seconds - NEAR) * self.fps))
        return int(np.searchsorted(self.stamps, seconds - NEAR, side="left"))

    def starts(self, frames: int) -> np.ndarray:
        """float64 [frames]: when each of the first frames is shown; nan where unknown."""
        return self.start_of(np.arange(frames))

    def ends(self, frames: int) -> np.ndarray:
        """float64 [frames]: when each of the first frames is over; nan where unknown."""
        return self.end_of(np.arange(frames))

    def seconds(self, frames: int) -> float:
        """How long the first frames are shown in all, pauses left out; nan where unknown."""
        if self.stamps is None or not self.known:
            return frames / self.fps if self.known else math.nan
        return float((self.ends(frames) - self.starts(frames)).sum())

    def duration(self, frames: int) -> float:
        """From the start of the first frame to the end of the last of so many, pauses included."""
        return self.over(frames) - float(self.start_of(np.array(0)))

    def over(self, frames: int) -> float:
        """When the last of so many frames is over; nan where unknown."""
        return float(self.end_of(np.array(frames - 1)))

    def hold(self, start: float, end: float, frames: int) -> bool:
        """Whether what lasts from one time to another lies in the first frames, but for some SLACK behind."""
        over = self.over(frames)
        return start < over and end <= over + SLACK

    def pauses(self, frames: int, longer: float = 0.0) -> np.ndarray:
        """int [n]: those of the first frames that come after a pause of more than so many seconds."""
        if not len(self._pauses):
            return self._pauses
        after = self._pauses[self._pauses < frames]
        seconds = self.start_of(after) - self.end_of(after - 1)
        return after[seconds > longer + CLOSE / self.fps]

    @cached_property
    def _pauses(self) -> np.ndarray:
        if self.stamps is None or not self.known:
            return np.empty(0, np.int64)
        return np.flatnonzero(np.diff(self.stamps) > PAUSE / self.fps) + 1


def is_rate(fps: float) -> bool:
    """Whether a frame rate is known and one."""
    return math.isfinite(fps) and fps > 0


def steady(said: float) -> FrameTimes:
    """The times by a rate alone, as a container says it; unknown where that is implausible."""
    return FrameTimes(said) if 0 < said < FASTEST else FrameTimes()


def from_stamps(stamps: np.ndarray, said: float) -> FrameTimes:
    """The times that a decoder gave, as a rate alone where that is exact.

    Args:
        stamps: float64 [N], increasing; not empty.
        said: the rate that the container says; 0 where it says none.
    """
    number = np.arange(len(stamps))
    measured = measured_rate(stamps)
    for fps in (said, measured):
        if 0 < fps < FASTEST and np.abs(stamps - number / fps).max() <= EXACT / fps:
            return FrameTimes(fps)
    plausible = steady(said).fps
    alike = abs(plausible - measured) <= ALIKE * measured
    fps = measured if measured and not alike else plausible
    return FrameTimes(fps, stamps) if fps else FrameTimes()


def measured_rate(stamps: np.ndarray) -> float:
    """Frames a second by their times, pauses left out; 0 of less than two frames.

    Not by the median: of frames that come in bursts, as some senders stamp them, it is that within a burst.
    """
    lengths, before = np.diff(stamps), -1
    while len(lengths) != before:
        before = len(lengths)
        lengths = lengths[lengths <= PAUSE * lengths.mean()] if before else lengths
    return float(len(lengths) / lengths.sum()) if len(lengths) else 0.0


def require_increasing(stamps: np.ndarray) -> None:
    """Raises ValueError where these are not the times of frames, one after the other."""
    if not np.isfinite(stamps).all():
        raise ValueError(f"the time of frame {int(np.flatnonzero(~np.isfinite(stamps))[0])} is not finite")
    if len(back := np.flatnonzero(np.diff(stamps) <= 0)):
        frame = int(back[0]) + 1
        raise ValueError(
            f"frame {frame} is at {stamps[frame]:g} s, not later than the frame before, at "
            f"{stamps[frame - 1]:g} s"
        )
