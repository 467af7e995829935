"""Events as the scores come: the twin of :func:`ssrl_pipeline.events.find.find_events` for endless streams.

Gives the same events of the same scores and times, each as soon as it is certain, and keeps a few
numbers however long an event or the pause between two lasts. When the last frame so far is over, the
next one tells; until then no event ends or is long enough by it.

Dimensions: n frames.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.times import CLOSE, PAUSE

KEPT = 8192  # times of frames with an event's highest score; of more, every second, fourth ... one


class EventNews(NamedTuple):
    """What became certain."""

    kind: str  # "event_start" or "event_end"
    event: Event  # of a start: as far as it is known


class _Peak:
    """A run of frames of one score, to tell its middle; of a long one between the times that are kept."""

    def __init__(self, score: float, start: int):
        self.score, self.start, self.length = score, start, 0
        self._times, self._step = np.empty(0), 1  # of frames start, start + step, ...
        self._last = 0.0

    def add(self, starts: np.ndarray) -> None:
        """More frames at its end."""
        first = -self.length % self._step
        self._times = np.append(self._times, starts[first :: self._step])
        self.length, self._last = self.length + len(starts), float(starts[-1])
        while len(self._times) > KEPT:
            self._times, self._step = self._times[::2], 2 * self._step

    @property
    def middle(self) -> tuple[int, float]:
        """The frame, and when it is shown."""
        middle = (self.length - 1) // 2
        frames = np.append(self._step * np.arange(len(self._times)), self.length - 1)
        return self.start + middle, float(np.interp(middle, frames, np.append(self._times, self._last)))


@dataclass
class _Total:
    """Scores of frames, summed up."""

    score: float = 0.0
    frames: int = 0

    def add(self, score: float, frames: int) -> None:
        self.score, self.frames = self.score + score, self.frames + frames


@dataclass
class _Run:
    """Consecutive frames that score at least the lower threshold; an event, once one reached the other."""

    start: int
    start_s: float
    end: int
    end_s: float = 0.0
    total: _Total = field(default_factory=_Total)
    peak: _Peak | None = None

    def add(self, score: float, starts: np.ndarray, end_s: float) -> None:
        """More frames at the end, of one score."""
        if self.peak is None or score > self.peak.score:
            self.peak = _Peak(score, self.end)
        if score == self.peak.score and self.peak.start + self.peak.length == self.end:
            self.peak.add(starts)
        self.total.add(score * len(starts), len(starts))
        self.end, self.end_s = self.end + len(starts), end_s

    def join(self, between: _Total, later: "_Run") -> None:
        """Takes in the frames of a gap and of a run behind it."""
        for total in (between, later.total):
            self.total.add(total.score, total.frames)
        assert self.peak and later.peak
        if later.peak.score > self.peak.score:
            self.peak = later.peak
        self.end, self.end_s = later.end, later.end_s


class _Last(NamedTuple):
    """The last frame so far."""

    start: float
    end: float  # should no other follow it at once

    @property
    def length(self) -> float:
        return self.end - self.start


class EventStream:
    """Takes scores of frames, in order of time.

    Args:
        rule: see :mod:`ssrl_pipeline.events.find`.
        first: the number of the first frame.
    """

    def __init__(self, rule: EventRule, first: int = 0):
        self.rule = rule
        self._frame = first
        self._last: _Last | None = None  # None: frames are missing, or none was there yet
        self._close_to = 0.0  # seconds that are as good as none
        self._event: _Run | None = None  # its end: that of the last run which reached the threshold
        self._between = _Total()  # frames behind the event's end, but for those of the run
        self._run: _Run | None = None  # up to now, none of its frames reached the threshold yet
        self._inside = False  # the event goes on
        self._told = False  # that it started

    @property
    def rule(self) -> EventRule:
        """What frames are held against from now on; an event that is open goes on under another rule."""
        return self._rule

    @rule.setter
    def rule(self, rule: EventRule) -> None:
        self._rule = rule
        self._threshold, self._low = np.float32(rule.threshold), np.float32(rule.low)  # as scores are

    def add(self, score: float, starts: np.ndarray, ends: np.ndarray) -> list[EventNews]:
        """The next frames, which have one score.

        Args:
            score: taken as float32, as scores of files are.
            starts: float64 [n], increasing, when each frame is shown, in seconds.
            ends: float64 [n], when each is over: where the next begins or, before a pause, a usual
                length after its start; that of the last is taken for the usual length, and corrected
                by the frame that follows.

        Raises:
            PipelineError: the score is not finite.
        """
        value = np.float32(score)
        if not np.isfinite(value):
            raise PipelineError(f"a score is {score}, not finite; the features or the checkpoint are damaged")
        self._close_to = CLOSE * float(ends[-1] - starts[-1])
        news = []
        cuts = np.flatnonzero(starts[1:] - ends[:-1] > self._rule.gap + self._close_to) + 1
        for part, over in zip(np.split(starts, cuts), np.split(ends, cuts), strict=True):
            news += self._arrive(float(part[0]))
            news += self._take(value, part, float(over[-1]))
        return news

    def skip(self, frames: int) -> list[EventNews]:
        """Frames that have no score: no event begins or goes on in them, but one may lie around them."""
        news = self._start()
        self._leave()
        self._frame, self._last = self._frame + frames, None
        return news

    @property
    def since(self) -> int:
        """The first frame that an event which is yet to be told may hold."""
        earliest = self._event or self._run
        return earliest.start if earliest else self._frame

    def finish(self) -> list[EventNews]:
        """No frame follows."""
        news = self._start()
        self._leave()
        return news + self._end(math.inf)

    def _arrive(self, start: float) -> list[EventNews]:
        """A frame begins: so the one before is over, then or before a pause."""
        if last := self._last:
            end = last.end if start - last.start > PAUSE * last.length else start
            if self._event and self._inside:
                self._event.end_s = end
            if start - end > self._rule.gap + self._close_to:
                news = self._start()
                self._leave()
                return news + self._end(start)
        return self._start() + self._end(start)

    def _take(self, value: np.float32, starts: np.ndarray, end: float) -> list[EventNews]:
        """Frames without a long pause among them."""
        score, frames = float(value), len(starts)
        self._last = _Last(float(starts[-1]), end)
        if value < self._low:
            self._leave()
            self._between.add(score * frames, frames)
            self._frame += frames
            return self._end(self._last.start)
        if self._event and self._inside:
            self._event.add(score, starts, end)
        else:
            self._run = self._run or _Run(self._frame, float(starts[0]), self._frame)
            self._run.add(score, starts, end)
            if value >= self._threshold:
                self._reach(self._run)
        self._frame += frames
        return self._start(self._last.start)

    def _reach(self, run: _Run) -> None:
        """The run is of an event: of the last one, which would have ended were it too far away."""
        if self._event:
            self._event.join(self._between, run)
        else:
            self._event = run
        self._run, self._inside = None, True
        self._between = _Total()

    def _leave(self) -> None:
        """The run of frames of at least `low` is over; if it never reached the threshold it is a gap."""
        if self._run:
            self._between.add(self._run.total.score, self._run.total.frames)
        if self._inside:
            self._between = _Total()
        self._run, self._inside = None, False

    def _start(self, certain: float = math.inf) -> list[EventNews]:
        """Tells of the event once it is long enough, as far as that is certain."""
        event = self._event
        if not event or self._told:
            return []
        if min(event.end_s, certain) - event.start_s < self._rule.shortest - self._close_to:
            return []
        self._told = True
        return [EventNews("event_start", self._describe(event))]

    def _end(self, start: float) -> list[EventNews]:
        """Ends the event where it cannot go on in a frame that begins then, or later."""
        event = self._event
        if not event or self._inside or self._run:
            return []
        if start - event.end_s <= self._rule.gap + self._close_to:
            return []
        told, self._event, self._told = self._told, None, False
        return [EventNews("event_end", self._describe(event))] if told else []

    def _describe(self, run: _Run) -> Event:
        assert run.peak
        peak, peak_s = run.peak.middle
        mean = run.total.score / run.total.frames
        return Event(run.start, run.end, peak, run.peak.score, mean, run.start_s, run.end_s, peak_s)
