"""Scores of frames -> events: stretches of a video that an operator should look at.

A rule makes them, in this order:

1. An event is a run of frames that score at least the lower threshold, `low`,
   one of which at least scores the threshold. Two thresholds, hysteresis as in
   Canny's edges (1986), keep a score that wavers about one from cutting one
   incident into many.
2. Events with at most `gap` between them become one, the gap's frames with them.
3. Events shorter than `shortest` are dropped.

Dimensions: N frames, E events.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import PipelineError

THRESHOLD = 0.5  # where nothing was calibrated: what the field counts false alarms at (Sultani et al. 2018)
ASSUMED_FPS = 25.0  # turns a rule's seconds into frames where a video does not tell its rate


class Event(NamedTuple):
    """One event; times in seconds, None where the frame rate is unknown."""

    start: int  # first frame
    end: int  # the frame behind the last
    peak: int  # the middle of the first run of frames that score highest: of a snippet, its middle
    peak_score: float
    mean_score: float  # of all frames from start to end
    start_s: float | None
    end_s: float | None
    peak_s: float | None


@dataclass(frozen=True)
class EventSettings:
    """How scores become events; the defaults suit scores of 16-frame snippets.

    `shortest` lets a single snippet count up to 32 frames a second: the shortest
    that the scores can tell. `gap` is that of three snippets at 25.
    """

    threshold: float | None = None  # None: the one that the checkpoint was calibrated to, else 0.5
    hysteresis: float = 0.8  # the lower threshold, as a share of the threshold
    shortest: float = 0.5  # seconds
    gap: float = 2.0  # seconds

    def __post_init__(self) -> None:
        for name in ("threshold", "hysteresis"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} is more than 0 and at most 1, not {value}")
        for name in ("shortest", "gap"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is zero or more seconds, not {getattr(self, name)}")


@dataclass(frozen=True)
class EventRule(EventSettings):
    """Settings whose threshold is known."""

    threshold: float = THRESHOLD

    @property
    def low(self) -> float:
        """The lower threshold, a score."""
        return self.hysteresis * self.threshold


def find_events(scores: np.ndarray, fps: float, rule: EventRule) -> list[Event]:
    """The events of one video, in order of time; they neither touch nor overlap.

    Args:
        scores: float [N]. What equals a threshold reaches it, in the type of the scores.
        fps: frames a second; 0 where unknown: the events then have no times, and
            the rule's seconds are counted at 25 frames each.
        rule: see the module.

    Raises:
        PipelineError: a score is no number.
    """
    bounds = event_bounds(scores, fps, rule)
    rate = fps if known(fps) else None
    events = []
    for start, end in bounds.tolist():
        peak = start + _peak(scores[start:end])
        events.append(
            Event(
                *(start, end, peak, float(scores[peak]), float(scores[start:end].mean(dtype=np.float64))),
                *(None if rate is None else frame / rate for frame in (start, end, peak)),
            )
        )
    return events


def event_bounds(scores: np.ndarray, fps: float, rule: EventRule) -> np.ndarray:
    """int [E, 2]: start and end of each event; arguments and errors are those of :func:`find_events`."""
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise PipelineError(
            f"scores {list(scores.shape)} are not one finite number for each frame; score the video again"
        )
    rate = fps if known(fps) else ASSUMED_FPS
    inside = np.concatenate([[False], scores >= rule.low, [False]])
    starts, ends = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2).T
    if not len(starts):
        return np.empty((0, 2), np.int64)
    # What lies between two runs is below both thresholds: the highest from start to start is the run's.
    reached = np.maximum.reduceat(scores, starts) >= rule.threshold
    starts, ends = starts[reached], ends[reached]
    apart = starts[1:] - ends[:-1] > math.floor(rule.gap * rate + 1e-6)
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    lasting = ends - starts >= math.ceil(rule.shortest * rate - 1e-6)
    return np.stack([starts[lasting], ends[lasting]], axis=1)


def _peak(scores: np.ndarray) -> int:
    first = int(scores.argmax())
    lower = np.flatnonzero(scores[first:] < scores[first])
    length = int(lower[0]) if len(lower) else len(scores) - first
    return first + (length - 1) // 2


def known(fps: float) -> bool:
    """Whether a container's frame rate is one."""
    return math.isfinite(fps) and fps > 0
