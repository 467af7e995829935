"""The threshold of events, from normal videos and the false alarms that a user can bear.

    ssrl-pipeline calibrate --false-alarms 0.01

False alarms are counted in one of two units:

    frame   share of the frames of normal videos that score at least the threshold: the
            field's false-alarm rate (Sultani et al. 2018). The default, at 1 %: it needs
            no frame rate, and a quarter of an hour of footage can tell it.
    hour    events per hour of normal video, under the whole rule: what an operator feels.
            Pauses in which no frame is shown do not count.
            It takes hours of footage to tell: of H hours, no rate below 1/H but none at all.

The videos must be ones that the model did not learn from: it knows those.
Dimensions: N frames.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

import numpy as np
import scipy

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.find import event_bounds
from ssrl_pipeline.events.rule import AlarmUnit, EventRule
from ssrl_pipeline.times import FrameTimes

CONFIDENCE = 0.95
RANKS = 1000  # of the highest scores, each of which is tried as a threshold; below these, steps of 1 %


class FalseAlarms(NamedTuple):
    """What a rule raises on normal videos."""

    threshold: float  # nan where several rules were counted together
    frames: int  # that score at least the threshold
    of_frames: int
    events: int
    hours: float | None  # None: a video's frame rate is unknown
    videos: int

    @property
    def share(self) -> float:
        """Of the frames."""
        return self.frames / self.of_frames

    @property
    def per_hour(self) -> float | None:
        """Events."""
        return None if self.hours is None else self.events / self.hours

    @property
    def most_per_hour(self) -> float | None:
        """With 95 % confidence the true rate of events is at most this, were they a Poisson process.

        Garwood 1936; no event in H hours gives 3/H, the rule of three.
        """
        if self.hours is None:
            return None
        return float(scipy.stats.chi2.ppf(CONFIDENCE, 2 * (self.events + 1)) / (2 * self.hours))


class Calibration(NamedTuple):
    rule: EventRule  # with the threshold that was found
    asked: float
    unit: AlarmUnit
    found: FalseAlarms

    @property
    def note(self) -> str | None:
        """What the footage cannot tell, if anything."""
        found = self.found
        if self.unit == "hour":
            assert found.hours is not None
            few, footage = self.asked * found.hours < 1, f"{found.hours:.3g} hours"
        else:
            few, footage = found.frames == 0, f"{found.of_frames} frames"
        if not self.asked or not few:
            return None
        return (
            f"{footage} of normal video are too few to tell {self.asked:g} false alarms per {self.unit}: "
            "the threshold is the lowest at which they raise none; calibrate with more of them"
        )


def calibrate(
    scores: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    false_alarms: float,
    unit: AlarmUnit = "frame",
    rule: EventRule | None = None,
) -> Calibration:
    """The lowest threshold at which normal videos raise no more false alarms than asked for.

    Per frame the threshold is exact: the least number of single precision that
    does. Per hour it is just above a score that occurs: each is tried from the
    highest down (from the 1000th on in steps of 1 % of their number), and the
    last before the rate is first exceeded is taken. Further down events melt
    into each other, so that fewer would stand for more alarm.

    Args:
        scores: normal video -> float32 [N], 0 to 1.
        times: video -> when its frames are shown.
        false_alarms: share of frames, at least 0 and less than 1; or events per hour.
        unit: what `false_alarms` is counted in.
        rule: how scores become events; its threshold does not matter.

    Raises:
        PipelineError: there are no videos, the unit is hours and a video's rate is
            unknown, or the false alarms asked for leave no threshold, or any.
    """
    rule = rule or EventRule()
    if not scores or not all(map(len, scores.values())):
        raise PipelineError(
            "no frames of normal videos to calibrate with; extract some and label them normal"
        )
    if unit not in get_args(AlarmUnit) or not 0 <= false_alarms < (1 if unit == "frame" else math.inf):
        raise PipelineError(
            f"false alarms: {false_alarms:g} per {unit}; a share of frames is at least 0 and less than 1, "
            "a number of events per hour zero or more"
        )
    pooled = np.concatenate(list(scores.values())).astype(np.float32)
    if unit == "frame":
        allowed = math.floor(false_alarms * len(pooled) + 1e-9)
        last = len(pooled) - 1 - allowed
        threshold = _possible(_above(float(np.partition(pooled, last)[last])))
    else:
        threshold = _by_events(scores, times, false_alarms, rule, pooled)
    chosen = dataclasses.replace(rule, threshold=threshold)
    return Calibration(chosen, false_alarms, unit, count_false_alarms(scores, times, chosen))


def count_false_alarms(
    scores: Mapping[str, np.ndarray], times: Mapping[str, FrameTimes], rule: EventRule
) -> FalseAlarms:
    """What a rule raises on normal videos; arguments are those of :func:`calibrate`."""
    known = all(times[video].known for video in scores)
    return FalseAlarms(
        threshold=rule.threshold,
        frames=sum(int((values >= rule.threshold).sum()) for values in scores.values()),
        of_frames=sum(map(len, scores.values())),
        events=sum(len(event_bounds(values, times[video], rule)) for video, values in scores.items()),
        hours=_hours(scores, times) if known else None,
        videos=len(scores),
    )


def sum_false_alarms(counted: Iterable[FalseAlarms]) -> FalseAlarms:
    """Of several rules, each on videos of its own, together."""
    thresholds, frames, of_frames, events, hours, videos = zip(*counted, strict=True)
    return FalseAlarms(
        threshold=thresholds[0] if len(set(thresholds)) == 1 else math.nan,
        frames=sum(frames),
        of_frames=sum(of_frames),
        events=sum(events),
        hours=None if None in hours else sum(hours),
        videos=sum(videos),
    )


def share_detected(
    scores: Mapping[str, np.ndarray], times: Mapping[str, FrameTimes], rule: EventRule
) -> float:
    """Share of (abnormal) videos with an event at least; nan where there are no videos."""
    hits = [len(event_bounds(values, times[video], rule)) > 0 for video, values in scores.items()]
    return float(np.mean(hits)) if hits else math.nan


def _by_events(
    scores: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    per_hour: float,
    rule: EventRule,
    pooled: np.ndarray,
) -> float:
    if unknown := [video for video in scores if not times[video].known]:
        raise PipelineError(
            f"{unknown[0]}: its frame rate is unknown, so false alarms per hour are too; "
            "calibrate to a share of frames, or leave the video out"
        )
    hours = _hours(scores, times)
    allowed = math.floor(per_hour * hours + 1e-9)
    peaks = {video: float(values.max()) for video, values in scores.items()}
    distinct = np.unique(pooled)[::-1]
    threshold = None
    for rank in _ranks(len(distinct)):
        candidate = _above(float(distinct[rank]))
        if candidate > 1:
            continue
        lower = dataclasses.replace(rule, threshold=candidate)
        raising = [video for video, peak in peaks.items() if peak >= candidate]
        if sum(len(event_bounds(scores[video], times[video], lower)) for video in raising) > allowed:
            break
        threshold = candidate
    else:
        if len(scores) <= allowed:  # below the lowest score each video is one event
            raise PipelineError(
                f"{len(scores)} normal videos of {hours:.3g} hours raise no more than {per_hour:g} events "
                "per hour whatever the threshold; ask for fewer, or calibrate with longer videos"
            )
    return _possible(threshold)


def _hours(scores: Mapping[str, np.ndarray], times: Mapping[str, FrameTimes]) -> float:
    return sum(times[video].seconds(len(values)) for video, values in scores.items()) / 3600


def _ranks(count: int) -> Iterator[int]:
    """0, 1, ... 999, then each a hundredth further, below count."""
    rank = 0
    while rank < count:
        yield rank
        rank += rank // 100 if rank >= RANKS else 1


def _above(score: float) -> float:
    """The next number of single precision."""
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))


def _possible(threshold: float | None) -> float:
    if threshold is None or threshold > 1:
        raise PipelineError(
            "normal videos score 1, the highest there is, more often than the false alarms asked for allow; "
            "ask for more of them, or train a better model: look at the videos that score 1 first"
        )
    return threshold
