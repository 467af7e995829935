"""The rate of a source by its first frames, and when the frames of a live stream were taken."""

import numpy as np

from ssrl_pipeline.times import measured_rate

WAVER = 0.02  # share by which the rate of a few frames may be off


def rate_of(stamps: np.ndarray, said: float) -> float:
    """Frames a second by the times of some, float64 [n]; 0 of less than two.

    A source that says nearly the same is believed, for the times of a few frames waver. Where they
    came in a burst, as at the beginning of a stream, the middle one of the lengths is still right.
    """
    if len(stamps) < 2:
        return 0.0
    usual, fps = 1 / float(np.median(np.diff(stamps))), measured_rate(stamps)
    fps = fps if abs(fps - usual) <= WAVER * usual else usual
    return said if abs(said - fps) <= WAVER * fps else fps


class LiveClock:
    """When the frames of a live stream were taken, by this machine's clock.

    They come late, by the network's moods; how far they are apart is in their stamps. The
    frame that was the least late of late tells what the difference between the clocks is.
    """

    DRIFT = 0.01  # by which the stream's clock may be slower, as a share
    JUMP = 10.0  # seconds between the clocks that make the stream's one that began anew

    def __init__(self) -> None:
        self._late: float | None = None  # this clock's time less the stream's, of the least late frame
        self._now, self._before = 0.0, 0.0  # the last frame: when it came, and its time

    def time(self, now: float, stamp: float) -> float:
        """The time of a frame that comes now, in seconds of this clock; never less than the last frame's."""
        late = now - stamp
        if self._late is None or abs(late - self._late) > self.JUMP:
            self._late = late
        else:
            self._late = min(late, self._late + self.DRIFT * (now - self._now))
        self._now = now
        self._before = max(self._before + 1e-6, stamp + self._late)
        return self._before
