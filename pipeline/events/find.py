"""Scores of frames -> events: stretches of a video that an operator should look at.

A rule makes them, in this order:

1. An event is a run of frames that score at least the lower threshold, `low`,
   one of which at least scores the threshold. Two thresholds, hysteresis as in
   Canny's edges (1986), keep a score that wavers about one from cutting one
   incident into many.
   A pause of the video that is longer than `gap` ends the run.
2. Events with at most `gap` between them become one, the gap's frames with them.
3. Events shorter than `shortest` are dropped.

Lengths are those of the times at which frames are shown: an event lasts from the
start of its first frame to the end of its last.

Dimensions: N frames, E events.
"""

from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.times import CLOSE, FrameTimes

ASSUMED_FPS = 25.0  # turns a rule's seconds into frames where a video does not tell its rate


class Event(NamedTuple):
    """One event; times in seconds, None where the frame rate is unknown."""

    start: int  # first frame
    end: int  # the frame behind the last
    peak: int  # the middle of the first run of frames that score highest: of a snippet, its middle
    peak_score: float
    mean_score: float  # of all frames from start to end
    start_s: float | None
    end_s: float | None  # when the last frame is over
    peak_s: float | None
    words: tuple[str, ...] = ()  # actions that stand out, of which see ssrl_pipeline.events.words
    patch: str = ""  # where the first of them does, as "top left"; "" where there are no words

    @property
    def looks(self) -> str:
        """The words as people are told them: they are guesses. "" where there are none."""
        return f"looks like {', '.join(self.words)} ({self.patch})" if self.words else ""


def find_events(scores: np.ndarray, times: FrameTimes, rule: EventRule) -> list[Event]:
    """The events of one video, in order of time; they neither touch nor overlap.

    Args:
        scores: float [N]. What equals a threshold reaches it, in the type of the scores.
        times: of the frames; where unknown the events have none either, and the
            rule's seconds are counted at 25 frames each.
        rule: see the module.

    Raises:
        PipelineError: a score is not finite.
    """
    bounds = event_bounds(scores, times, rule)
    peaks = np.array([start + _peak(scores[start:end]) for start, end in bounds.tolist()], np.int64)

    def seconds(when: np.ndarray) -> list[float | None]:
        return when.tolist() if times.known else [None] * len(when)

    columns = (
        bounds.tolist(),
        peaks.tolist(),
        seconds(times.start_of(bounds[:, 0])),
        seconds(times.end_of(bounds[:, 1] - 1)),
        seconds(times.start_of(peaks)),
    )
    events = []
    for (start, end), peak, start_s, end_s, peak_s in zip(*columns, strict=True):
        mean = float(scores[start:end].mean(dtype=np.float64))
        events.append(Event(start, end, peak, float(scores[peak]), mean, start_s, end_s, peak_s))
    return events


def event_bounds(scores: np.ndarray, times: FrameTimes, rule: EventRule) -> np.ndarray:
    """int [E, 2]: start and end of each event; arguments and errors are those of :func:`find_events`."""
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise PipelineError(
            f"scores {list(scores.shape)} are not one finite number for each frame; score the video again"
        )
    times = times if times.known else FrameTimes(ASSUMED_FPS)
    close = CLOSE / times.fps
    inside = np.concatenate([[False], scores >= rule.low, [False]])  # of frame f: inside[f + 1]
    changes, pauses = np.flatnonzero(inside[1:] != inside[:-1]), times.pauses(len(scores), rule.gap)
    cuts = pauses[inside[pauses] & inside[pauses + 1]]  # through a run, which ends and begins there
    starts, ends = np.sort(np.concatenate([changes, cuts, cuts])).reshape(-1, 2).T
    if not len(starts):
        return np.empty((0, 2), np.int64)
    # What lies between two runs is below both thresholds: the highest from start to start is the run's.
    reached = np.maximum.reduceat(scores, starts) >= rule.threshold
    starts, ends = starts[reached], ends[reached]
    apart = times.start_of(starts[1:]) - times.end_of(ends[:-1] - 1) > rule.gap + close
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    lasting = times.end_of(ends - 1) - times.start_of(starts) >= rule.shortest - close
    return np.stack([starts[lasting], ends[lasting]], axis=1)


def _peak(scores: np.ndarray) -> int:
    first = int(scores.argmax())
    lower = np.flatnonzero(scores[first:] < scores[first])
    length = int(lower[0]) if len(lower) else len(scores) - first
    return first + (length - 1) // 2
