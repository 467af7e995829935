"""The time stamps of a stream's frames, made into times that only ever grow.

Streams have frames without a stamp, stamps that go back a little, and clocks that begin
anew. What is done about these is what ffplay does: such a frame is shown a usual frame's
length after the one before it, and the clock goes on from there.
"""

BACK = 1.0  # seconds that a stamp may go back before it is taken for a clock that began anew
FORWARD = 3600.0  # seconds that it may leap in a format whose clock may begin anew
NUDGE = 0.01  # lengths of a frame after the one before it, where its stamp is not later


class Stamps:
    """Gives each frame of a stream its time, in order.

    Args:
        fps: the usual rate; 0 where unknown, then 25.
        start: the stamp at which time begins, in seconds; None: the first frame's.
        may_leap: whether a leap forward can be a clock that began anew, as in MPEG streams.
    """

    def __init__(self, fps: float, start: float | None = None, may_leap: bool = False):
        self._length = 1 / fps if 1e-3 < fps <= 1000 else 1 / 25
        self._zero, self._may_leap = start, may_leap
        self._last: float | None = None
        self.frames = 0
        self.missing = 0  # frames without a stamp
        self.leaps: list[int] = []  # frames before which the clock began anew, the first few
        self.steps_back = 0  # frames whose stamp is not later than that of the one before

    def time(self, stamp: float | None) -> float:
        """Seconds since the beginning, more than the last frame's; `stamp` is in seconds, too."""
        last = self._last
        usual = 0.0 if last is None else last + self._length
        if stamp is None:
            self.missing += 1
            time = usual
        else:
            if self._zero is None:
                self._zero = stamp - usual
            time = stamp - self._zero
            if last is None:
                if time < 0:  # before what the container calls its beginning
                    self._zero, time = stamp, 0.0
            elif time < last - BACK or (self._may_leap and time > last + FORWARD):
                self._zero, time = stamp - usual, usual
                self.leaps = [*self.leaps, self.frames][:10]
            elif time <= last:
                self.steps_back += 1
                time = last + NUDGE * self._length
        self._last = time
        self.frames += 1
        return time

    def note(self) -> str:
        """What was wrong with the stamps; "" where nothing was."""
        usual = f"{1 / self._length:.4g} a second"
        if self.frames and self.missing == self.frames:
            return f"no times in it, frames taken for {usual}"
        said = [f"{self.missing} frames without a time, taken for {usual}"] if self.missing else []
        if self.steps_back:
            said.append(f"times that go back or stand still at {self.steps_back} frames")
        if self.leaps:
            said.append(f"times that begin anew at frame {self.leaps[0]}, taken for going on")
        return "; ".join(said)
