"""What a training is given, whatever kind of detector comes of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data import Intervals, Labels
from ssrl_pipeline.features import Features
from ssrl_pipeline.settings import Kind, Settings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.length import FEWEST_TO_JUDGE, begun_with
from ssrl_pipeline.training.run_folder import Evaluation


@dataclass(frozen=True)
class Task:
    """What to train a detector from; of the settings, sections model, train and memory count."""

    settings: Settings
    run: Path  # its folder
    store: Features
    labels: Labels
    group: Group
    report: Callable[[Evaluation], object] = lambda evaluation: None
    intervals: Intervals | None = None  # of the test videos, where these choose

    def with_training(self, **changes: object) -> "Task":
        """The same with other settings of section train."""
        training = dataclasses.replace(self.settings.train, **changes)  # type: ignore[arg-type]
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, train=training))

    def of_part(self, kind: Kind) -> "Task":
        """To train a part of what adds up several kinds, in a folder of the run's own.

        SSRL goes without the probe's evidence there: parts that differ add more (docs/training.md). One that
        a version before began has it.
        """
        begun = begun_with(self.run / kind, "model") or {}
        model = dataclasses.replace(self.settings.model, kind=kind, evidence=begun.get("evidence", False))
        settings = dataclasses.replace(self.settings, model=model)
        return dataclasses.replace(self, run=self.run / kind, settings=settings)

    def of_all(self, steps: int | None) -> "Task":
        """The same without validation videos, for as many steps as the settings say, or else as given."""
        own = self.settings.train.steps
        return self.with_training(val_fraction=0.0, steps=steps if own is None else own)


class Trainer(NamedTuple):
    """How a kind of detector is trained, and what is told of it."""

    train: Callable[[Task], object]  # leaves best.pt in the run's folder
    normal_alone: bool = False  # whether it looks at normal videos only, so that they need no labels
    fewest: int = FEWEST_TO_JUDGE  # videos of either class, of which a share is kept to judge by
    evaluations: str | None = None  # the folder in the run's that has metrics.jsonl; None: has no steps
    summary: Callable[[Checkpoint], str] = lambda checkpoint: ""  # one line about what came of it
