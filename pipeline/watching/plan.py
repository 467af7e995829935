"""What is watched, and how: a source, the model that scores it, what of its frame counts, when it alarms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ssrl_pipeline.events import EventRule, Usual, WordTeller
from ssrl_pipeline.extractors import Pending, Unchanged, ViewArrays, Wanted, describe_all
from ssrl_pipeline.extractors.backbones import ActionHead
from ssrl_pipeline.models import Detector
from ssrl_pipeline.watching.cameras import Hours, Sight
from ssrl_pipeline.watching.sources import Source

# What is wanted of snippets uint8 [16, H, W, 3].
Describe = Callable[[Sequence[np.ndarray], Sequence[Wanted]], Sequence[ViewArrays]]


@dataclass(frozen=True)
class Analysis:
    """How snippets become scores, and scores events; cameras that share one share the model."""

    model: Detector  # on `device` and in evaluation mode
    device: torch.device
    describe: Describe  # whose features are of the recipe that the model was trained on
    rule: EventRule
    by_hour: tuple[EventRule, ...] = ()  # of the day, 24 of them; none: `rule` holds at all hours
    drop_last: bool = False  # the preset leaves out a recording's incomplete last snippet
    pending: Callable[[], Pending] = Pending  # where a camera's snippets fill up, for `describe`
    unchanged: Callable[[], Unchanged] = describe_all  # decides what is wanted of a camera's
    chosen_fps: float | None = None  # frames a second that are described (extractors/rate.py); None: all
    head: ActionHead | None = field(default=None, compare=False)  # names actions; None: nothing does
    usual: Usual | None = field(default=None, compare=False)  # against which; None: it is not known

    @property
    def teller(self) -> WordTeller | None:
        """Of the words of events; None: they have none."""
        return WordTeller(self.head, self.usual) if self.head and self.usual else None

    @property
    def reading(self) -> tuple[Any, ...]:
        """What of it decides how a source is read."""
        return self.drop_last, self.pending, self.chosen_fps


@dataclass(frozen=True)
class Plan:
    """One camera."""

    source: Source
    analysis: Analysis
    threshold: float | None = None  # of its events; None: that of the analysis's rule
    sight: Sight = field(default_factory=Sight)
    hours: Hours | None = None  # when its events alarm; None: always

    @property
    def rule(self) -> EventRule:
        """Of no certain hour."""
        return self.rule_at(None)

    def rule_at(self, hour: int | None) -> EventRule:
        """At an hour of the day, 0 to 23; None: a recording, of no hour."""
        by_hour = self.analysis.by_hour
        rule = self.analysis.rule if hour is None or not by_hour else by_hour[hour]
        return rule if self.threshold is None else EventRule(**{**vars(rule), "threshold": self.threshold})
