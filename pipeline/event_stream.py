"""Events as the scores come: the twin of :func:`ssrl_pipeline.events.find_events` for a stream without end.

Gives the same events of the same scores, each as soon as it is certain, and keeps a few numbers
however long an event or the pause between two lasts.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import ASSUMED_FPS, Event, EventRule, known


class EventNews(NamedTuple):
    """What became certain."""

    kind: str  # "event_start" or "event_end"
    event: Event  # of a start: as far as it is known


@dataclass
class _Stretch:
    """Consecutive frames, summed up."""

    start: int
    end: int
    start_s: float
    end_s: float
    total: float  # of the scores
    scored: int  # frames that have one
    peak: float = -math.inf
    peak_start: int = 0  # first run of frames that score highest
    peak_length: int = 0
    peak_s: float = 0.0

    def add(self, score: float, frames: int, time_s: float, end_s: float) -> None:
        """More frames at the end, of one score."""
        if score > self.peak:
            self.peak, self.peak_start, self.peak_length, self.peak_s = score, self.end, frames, time_s
        elif score == self.peak and self.peak_start + self.peak_length == self.end:
            self.peak_length += frames
        self.total += score * frames
        self.scored += frames
        self.end, self.end_s = self.end + frames, end_s

    def join(self, pause: "_Stretch", later: "_Stretch") -> None:
        """Takes in the frames of a pause, whose peak does not count, and of a stretch behind it."""
        self.total += pause.total + later.total
        self.scored += pause.scored + later.scored
        if later.peak > self.peak:
            self.peak, self.peak_start = later.peak, later.peak_start
            self.peak_length, self.peak_s = later.peak_length, later.peak_s
        self.end, self.end_s = later.end, later.end_s


class EventStream:
    """Takes scores frame by frame, or many frames of one score at once.

    Args:
        fps: frames a second; 0 where unknown: the rule's seconds are counted at 25 frames each.
        rule: see :mod:`ssrl_pipeline.events`.
        first: the number of the first frame.
    """

    def __init__(self, fps: float, rule: EventRule, first: int = 0):
        self.rate = fps if known(fps) else ASSUMED_FPS
        self._timed = known(fps)
        self._threshold, self._low = np.float32(rule.threshold), np.float32(rule.low)  # as scores are
        self._gap = math.floor(rule.gap * self.rate + 1e-6)
        self._shortest = math.ceil(rule.shortest * self.rate - 1e-6)
        self._frame = first
        self._event: _Stretch | None = None  # its end: that of the last run which reached the threshold
        self._pause = _empty(first)  # scores behind the event's end, those of the run left out
        self._run: _Stretch | None = None  # frames of at least `low` up to now, none of which reached it yet
        self._inside = False  # the event goes on
        self._told = False  # that it started

    def add(self, score: float, frames: int = 1, time_s: float | None = None) -> list[EventNews]:
        """The score of the next frames.

        Args:
            score: taken as float32, as scores of files are.
            frames: how many.
            time_s: when the first of them is shown, in seconds; None: at its number divided by the rate.

        Raises:
            PipelineError: the score is no number.
        """
        value = np.float32(score)
        if not np.isfinite(value):
            raise PipelineError(f"a score is {score}, no number; the features or the checkpoint are damaged")
        begin = self._frame / self.rate if time_s is None else time_s
        end = (self._frame + frames) / self.rate if time_s is None else time_s + frames / self.rate
        self._frame += frames
        if value < self._low:
            self._leave()
            self._pause.add(float(value), frames, begin, end)
            return self._close()
        if self._event and self._inside:
            self._event.add(float(value), frames, begin, end)
        else:
            self._run = self._run or _empty(self._frame - frames, begin)
            self._run.add(float(value), frames, begin, end)
            if value >= self._threshold:
                self._reach(self._run)
        return self._start()

    def skip(self, frames: int) -> list[EventNews]:
        """Frames that have no score: no event begins or goes on in them, but one may lie around them."""
        self._leave()
        self._frame += frames
        return self._close()

    def finish(self) -> list[EventNews]:
        """No frame follows."""
        self._leave()
        return self._close(at_once=True)

    def _reach(self, run: _Stretch) -> None:
        """The run is of an event: of the last one, which would have ended were it too far away."""
        if self._event:
            self._event.join(self._pause, run)
        else:
            self._event = run
        self._run, self._inside = None, True
        self._pause = _empty(self._frame)

    def _leave(self) -> None:
        """The run of frames of at least `low` is over; if it never reached the threshold it was a pause."""
        if self._run:
            self._pause.total += self._run.total
            self._pause.scored += self._run.scored
        if self._inside:
            self._pause = _empty(self._frame)
        self._run, self._inside = None, False

    def _start(self) -> list[EventNews]:
        event = self._event
        if not event or self._told or event.end - event.start < self._shortest:
            return []
        self._told = True
        return [EventNews("event_start", self._describe(event))]

    def _close(self, at_once: bool = False) -> list[EventNews]:
        event = self._event
        if not event or not (at_once or self._frame - event.end > self._gap):
            return []
        told, self._event, self._told = self._told, None, False
        return [EventNews("event_end", self._describe(event))] if told else []

    def _describe(self, event: _Stretch) -> Event:
        middle = (event.peak_length - 1) // 2
        times = (event.start_s, event.end_s, event.peak_s + middle / self.rate)
        return Event(
            *(event.start, event.end, event.peak_start + middle, event.peak, event.total / event.scored),
            *(times if self._timed else (None, None, None)),
        )


def _empty(frame: int, time_s: float = 0.0) -> _Stretch:
    return _Stretch(frame, frame, time_s, time_s, 0.0, 0)
