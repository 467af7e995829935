"""A checkpoint as it is for each camera: its own detector where it was adapted to it, and its own threshold.

A camera's name is the group of its videos.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.events import ChosenRule, EventSettings, Usual, choose_rule
from ssrl_pipeline.models import Detector

MOST_NAMED = 5
Decides = tuple[str | None, str, ChosenRule]  # a camera, what decides its scores, what makes them events


class Fitted(NamedTuple):
    """A checkpoint for one camera."""

    group: str | None  # None: of no camera that is known
    model: Detector  # on the device and in evaluation mode
    chosen: ChosenRule
    sha256: str  # of all that decides its scores
    usual: Usual | None  # against which its events have words; None: not known


class Cameras:
    """What there is for each group of videos; each detector is built once, when it is first asked for.

    Args:
        checkpoint: which may have been adapted to some cameras.
        device: where detectors work.
        events: what makes frames an event; a threshold of None is the checkpoint's.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, events: EventSettings | None = None):
        self.checkpoint, self._device, self._events = checkpoint, device, events or EventSettings()
        self._rules: dict[tuple[str | None, int | None], ChosenRule] = {}
        self._built: dict[str | None, Fitted] = {}  # by the group that it was adapted to

    @property
    def names(self) -> list[str]:
        """The groups that it was adapted to."""
        return sorted(self.checkpoint.cameras)

    def of(self, group: str | None) -> Fitted:
        """For the videos of a group; None: of none that is known.

        Raises:
            CheckpointError: what the checkpoint has for the camera is damaged.
        """
        own = group if group in self.checkpoint.cameras else None
        if own not in self._built:
            checkpoint = self.checkpoint.for_camera(own)
            model, usual = checkpoint.build().to(self._device), Usual.read(checkpoint.words)
            self._built[own] = Fitted(own, model, self.rule(own), checkpoint.sha256, usual)
        return self._built[own]._replace(group=group, chosen=self.rule(group))

    def rule(self, group: str | None, hour: int | None = None) -> ChosenRule:
        """What makes frames an event, for videos of a group at an hour of the day; None: not known."""
        if (group, hour) not in self._rules:
            record = self.checkpoint.for_camera(group).provenance.get("threshold")
            self._rules[group, hour] = choose_rule(self._events, record, group, hour)
        return self._rules[group, hour]

    def decides(self) -> tuple[Decides, ...]:
        """Equal where two processes score alike."""
        known: list[str | None] = [None, *self.names]
        return tuple((fitted.group, fitted.sha256, fitted.chosen) for fitted in map(self.of, known))

    def told(self, groups: Iterable[str | None], what: str = "videos") -> list[str]:
        """Which detector is taken for how many of these; nothing where there is one for all."""
        groups = list(groups)
        common = self.rule(None)
        lines = []
        for group in sorted({group for group in groups if group is not None}):
            own = group in self.checkpoint.cameras
            rule = self.rule(group)
            if own or rule != common:
                kind = "its own detector" if own else "the common detector"
                lines.append(f"camera {group!r}, {groups.count(group)} {what}: {kind}, {rule}")
        told = len(lines)
        others = [group for group in groups if group is None or not self._is_special(group)]
        if (self.checkpoint.cameras or told) and others:
            named = sorted({group for group in others if group is not None})
            more = ", ..." if len(named) > MOST_NAMED else ""
            of = f" (of {', '.join(map(repr, named[:MOST_NAMED]))}{more})" if named else " of no named camera"
            lines.append(f"{len(others)} {what}{of}: the common detector and threshold")
        return lines

    def told_hours(self, groups: Iterable[str | None]) -> list[str]:
        """The hours of the day at which a camera has thresholds of their own."""
        lines = []
        for group in groups:
            own = self.rule(group)
            hours = {hour: self.rule(group, hour).rule.threshold for hour in range(24)}
            others = [
                f"{hour}:00 {value:.4g}" for hour, value in hours.items() if value != own.rule.threshold
            ]
            if others:
                lines.append(f"camera {group!r}: thresholds by hour of the day: {', '.join(others)}")
        return lines

    def _is_special(self, group: str) -> bool:
        return group in self.checkpoint.cameras or self.rule(group) != self.rule(None)
