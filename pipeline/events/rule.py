"""The rule that makes events of scores: what a user sets, and what a checkpoint was calibrated to.

It holds thresholds and lengths; :mod:`ssrl_pipeline.events.find` says how they are used.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from ssrl_pipeline.errors import CheckpointError

AlarmUnit = Literal["frame", "hour"]  # false alarms per which are asked for
ThresholdsBy = Literal["group", "hour"]  # of whose cameras or hours of the day a checkpoint keeps its own
THRESHOLD = 0.5  # where nothing was calibrated: what the field counts false alarms at (Sultani et al. 2018)


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


class ChosenRule(NamedTuple):
    rule: EventRule
    origin: str  # where the threshold is from, in words

    def __str__(self) -> str:
        return f"score of {self.rule.threshold:.4g} or more, a threshold of {self.origin}"


def choose_rule(
    settings: EventSettings,
    record: Mapping[str, Any] | None,
    group: str | None = None,
    hour: int | None = None,
) -> ChosenRule:
    """The rule to score with: the settings' threshold, else the checkpoint's, else 0.5.

    Args:
        record: of the checkpoint's calibration, in its provenance; None: it was not calibrated.
        group: of the video, whose own threshold is taken where there is one.
        hour: of the day, 0 to 23, of which the same holds; None: not known.

    Raises:
        CheckpointError: the checkpoint's threshold is none.
    """
    own = asdict(settings)
    if settings.threshold is not None:
        return ChosenRule(EventRule(**own), "the settings")
    if record is None:
        uncalibrated = EventRule(**{**own, "threshold": THRESHOLD})
        return ChosenRule(uncalibrated, "the default, not calibrated: see `ssrl-pipeline calibrate`")
    try:
        cell = _cell(record.get("by", ()), group, hour)
        chosen = {**record, **(cell or {})}  # a cell of a version before says only its threshold
        rule = EventRule(**{**own, "threshold": float(chosen["value"])})
        asked = f"{float(chosen['asked']):g} false alarms per {chosen['unit']} on {chosen['split']}"
        asked += f" of {cell_name(cell['group'], cell['hour'])}" if cell else ""
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint's threshold is damaged ({error}); run `ssrl-pipeline calibrate`"
        ) from error
    return ChosenRule(rule, f"the checkpoint, calibrated to {asked}")


def cell_name(group: str | None, hour: int | None) -> str:
    """A camera, an hour of the day or both, in words."""
    of_day = None if hour is None else f"{hour}:00 to {hour + 1}:00"
    camera = None if group is None else f"camera {group!r}"
    return " from ".join(part for part in (camera, of_day) if part)


def _cell(by: Iterable[Mapping[str, Any]], group: str | None, hour: int | None) -> Mapping[str, Any] | None:
    """The threshold that fits best: of the camera at this hour, of the camera, of the hour."""
    known = {(cell["group"], cell["hour"]): cell for cell in by if cell["enough"]}
    wanted = ((group, hour), (group, None), (None, hour))
    return next((known[key] for key in wanted if key != (None, None) and key in known), None)
