"""Figures of each group of videos, a camera or a source, and how often it would alarm in a day.

Alarms are events on normal videos, under the rule that events are made by; of H hours without one no more
can be said than that there are at most 3/H an hour (95 %).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.data import Labels
from ssrl_pipeline.evaluation.metrics import FrameMetrics, divide, frame_metrics
from ssrl_pipeline.events import EventRule, count_false_alarms, sum_false_alarms
from ssrl_pipeline.times import FrameTimes

HOURS = 24


class Alarms(NamedTuple):
    """In a day, on normal videos; None where there are none, or their rate is unknown."""

    per_day: float | None
    most_per_day: float | None  # with 95 % confidence the true rate is at most this
    hours: float | None  # of normal video that this was counted over


class GroupFigures(NamedTuple):
    metrics: FrameMetrics
    alarms: Alarms

    def summary(self) -> dict[str, Any]:
        """As metrics.json has it; None stands for what is not defined."""
        figures = {
            key: value if np.isfinite(value) else None for key, value in self.metrics._asdict().items()
        }
        return {**figures, "alarms": self.alarms._asdict()}


def group_figures(
    scores: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    labels: Labels,
    rules: Mapping[str, EventRule],
) -> dict[str, GroupFigures]:
    """Group -> its figures, by name; videos without a group are in none.

    Args:
        rules: video -> how its camera's scores become events.

    Raises:
        PipelineError: as :func:`frame_metrics` does.
    """
    members: dict[str, list[str]] = {}
    for video in truth:
        if (group := labels[video].group) is not None:
            members.setdefault(group, []).append(video)
    found = {}
    for group, videos in sorted(members.items()):
        own = {video: truth[video] for video in videos}
        metrics = frame_metrics(scores, own, {video: rules[video].threshold for video in videos})
        found[group] = GroupFigures(metrics, count_alarms(scores, own, times, rules))
    return found


def count_alarms(
    scores: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    rules: Mapping[str, EventRule],
) -> Alarms:
    """How often normal videos alarm, as events that each video's rule makes of its scores."""
    normal = divide(truth)[1]
    if not normal:
        return Alarms(None, None, None)
    by_rule: dict[EventRule, list[str]] = {}
    for video in normal:
        by_rule.setdefault(rules[video], []).append(video)
    counted = sum_false_alarms(
        count_false_alarms({video: scores[video] for video in videos}, times, rule)
        for rule, videos in by_rule.items()
    )
    if counted.per_hour is None or counted.most_per_hour is None:
        return Alarms(None, None, None)
    return Alarms(HOURS * counted.per_hour, HOURS * counted.most_per_hour, counted.hours)
