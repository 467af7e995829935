"""Thresholds of single cameras and hours of the day, from what of the footage is theirs.

A threshold is kept where there is enough: what should raise false alarms ten times (of one per hour: once) at
the common threshold's rate, in three videos or an hour. Elsewhere the common one stays.

Dimensions: N frames.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.data import Labels
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.events import Calibration, FalseAlarms, ThresholdsBy, calibrate, cell_name
from ssrl_pipeline.times import FrameTimes

FRAMES = 1000  # that are enough where no false alarm at all is asked for
EXPECTED = 10  # frames that should alarm
VIDEOS, HOURS = 3, 1.0  # one of which it takes


class Footage(NamedTuple):
    """Normal videos that nothing was learned from."""

    common: Mapping[str, np.ndarray]  # video -> float32 [N], by the common detector
    own: Mapping[str, np.ndarray]  # by that of its camera, where it has one; without what that was adapted to
    times: Mapping[str, FrameTimes]
    labels: Labels


class Cell(NamedTuple):
    """A camera, an hour of the day, or both."""

    group: str | None
    hour: int | None
    found: FalseAlarms | None  # at its own threshold; None: there is too little footage
    frames: int
    videos: int
    why: str = ""  # it has no threshold of its own

    @property
    def name(self) -> str:
        return cell_name(self.group, self.hour)

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        found = self.found
        return {
            "group": self.group,
            "hour": self.hour,
            "frames": self.frames,
            "videos": self.videos,
            "threshold": found and found.threshold,
            "share": found and found.share,
            "per_hour": found and found.per_hour,
            "most_per_hour": found and found.most_per_hour,
            "why": self.why,
        }

    def record(self) -> dict[str, Any]:
        """What the checkpoint keeps; see :func:`ssrl_pipeline.events.choose_rule`."""
        said = self.summary()
        return {**said, "value": said.pop("threshold"), "enough": self.found is not None}


def thresholds_by(
    footage: Footage, common: Calibration, by: Collection[ThresholdsBy], adapted: Collection[str] = ()
) -> list[Cell]:
    """A cell for each camera, each hour, and each camera's hours, as far as they are asked for.

    Args:
        adapted: cameras with a detector of their own, whose scores the common threshold does not fit: they
            have a cell in any case.

    Raises:
        LabelError: no video is of a camera that is known, or of a known time of day.
    """
    groups = {video: label.group for video, label in footage.labels.items()}
    hours = {
        video: hours_of(footage.labels[video].start, footage.times[video], len(values))
        for video, values in footage.common.items()
    }
    if "group" in by and not any(groups.values()):
        raise LabelError(
            "no normal video is of a camera that is known: name them in a column group of the labels, or say "
            "-o data.group=folder"
        )
    if "hour" in by and all(known is None for known in hours.values()):
        raise LabelError(
            "of no normal video the time of day is known: a column start in the labels says when each "
            "begins, as in 2024-05-31 23:10:00 or 23:10"
        )
    cells = []
    for group, hour in _cells(groups, hours, by, adapted):
        scores = footage.common if group is None else footage.own
        chosen = [video for video in scores if group is None or groups[video] == group]
        parts = dict(_parts({video: scores[video] for video in chosen}, footage.times, hours, hour))
        cells.append(_cell(group, hour, parts, common))
    return cells


def hours_of(start: float | None, times: FrameTimes, frames: int) -> np.ndarray | None:
    """int [frames]: the hour of the day of each; None where it is not known.

    Args:
        start: seconds since midnight, when the first is shown.
    """
    if start is None or not times.known:
        return None
    return ((start + times.starts(frames)) // 3600).astype(int) % 24


def _cells(
    groups: Mapping[str, str | None],
    hours: Mapping[str, np.ndarray | None],
    by: Collection[ThresholdsBy],
    adapted: Collection[str],
) -> list[tuple[str | None, int | None]]:
    named = {group for group in groups.values() if group is not None} if "group" in by else set()
    of_day = {video: np.unique(known).tolist() for video, known in hours.items() if known is not None}
    cells: list[tuple[str | None, int | None]] = [(group, None) for group in sorted(named.union(adapted))]
    if "hour" in by:
        cells += [(None, hour) for hour in sorted({hour for known in of_day.values() for hour in known})]
    if len(by) > 1:
        both = {(str(groups[v]), hour) for v, known in of_day.items() if groups[v] for hour in known}
        cells += sorted(both)
    return cells


def _parts(
    scores: Mapping[str, np.ndarray],
    times: Mapping[str, FrameTimes],
    hours: Mapping[str, np.ndarray | None],
    hour: int | None,
) -> Iterator[tuple[str, tuple[np.ndarray, FrameTimes]]]:
    """What of the videos is of the hour."""
    for video, values in scores.items():
        if hour is None:
            yield video, (values, times[video])
            continue
        of_day = hours[video]
        chosen = np.flatnonzero(of_day == hour) if of_day is not None else np.empty(0, int)
        if len(chosen):
            stamps = times[video].start_of(chosen)
            yield video, (values[chosen], FrameTimes(times[video].fps, stamps))


def _cell(
    group: str | None,
    hour: int | None,
    parts: Mapping[str, tuple[np.ndarray, FrameTimes]],
    common: Calibration,
) -> Cell:
    scores = {video: values for video, (values, _) in parts.items()}
    times = {video: shown for video, (_, shown) in parts.items()}
    frames = sum(map(len, scores.values()))
    seconds = [times[video].seconds(len(values)) for video, values in scores.items()]
    hours = sum(second for second in seconds if math.isfinite(second)) / 3600
    if common.unit == "hour":
        is_much = common.asked * hours >= 1
    else:
        is_much = frames * common.asked >= EXPECTED if common.asked else frames >= FRAMES
    size = group, hour, None, frames, len(scores)
    if not is_much or (len(scores) < VIDEOS and hours < HOURS):
        return Cell(*size, "too little footage")
    try:
        found = calibrate(scores, times, common.asked, common.unit, common.rule).found
    except PipelineError as error:
        return Cell(*size, str(error))
    return Cell(group, hour, found, frames, len(scores))
