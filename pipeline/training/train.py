"""What trains each kind of detector: SSRL, a memory of normal patches, both in one."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data import Intervals, Labels
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import SSRL, FusedDetector, LinearProbe, PatchMemory
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training import fusion, linear, normal_memory, ssrl
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.run_folder import Evaluation, owned, refuse_other_run


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


class Trainer(NamedTuple):
    """How a kind of detector is trained, and what is told of it."""

    train: Callable[[Task], object]  # leaves best.pt in the run's folder
    normal_alone: bool = False  # whether it looks at normal videos only, so that they need no labels
    evaluations: str = ""  # the folder in the run's that has metrics.jsonl
    summary: Callable[[Checkpoint], str] = lambda checkpoint: ""  # one line about what came of it


def train_detector(task: Task) -> Path:
    """Trains what `model.kind` names; raises as :func:`ssrl_pipeline.training.ssrl.train` does.

    Returns:
        The best checkpoint's path.
    """
    kind = task.settings.model.kind
    if not (task.run / "last.pt").exists():
        refuse_other_run(task.run, kind)
    TRAINERS[kind].train(task)
    return task.run / "best.pt"


def _ssrl(task: Task) -> None:
    model, training = task.settings.model, task.settings.train
    ssrl.train_ssrl(
        task.store, task.labels, task.run, model, training, task.group, task.report, task.intervals
    )


def _memory(task: Task) -> None:
    """The main process alone has something to do."""
    with owned(task.run, task.group):
        if task.group.is_main:
            settings = task.settings
            normal_memory.train_memory(
                task.store, task.labels, task.run, settings.memory, settings.train.seed
            )
        task.group.wait()


def _fused(task: Task) -> None:
    """SSRL in a folder of the run's own; then the main process adds the memory."""
    settings, group = task.settings, task.group
    model = dataclasses.replace(settings.model, kind="ssrl")
    part = dataclasses.replace(
        task, run=task.run / "ssrl", settings=dataclasses.replace(settings, model=model)
    )
    with owned(task.run, group):
        if group.is_main:
            trees = {name: to_tree(getattr(settings, name)) for name in ("model", "train", "memory")}
            write_text(task.run / "config.yaml", to_yaml(trees))
        _ssrl(part)
        if group.is_main:
            best, seed = part.run / "best.pt", settings.train.seed
            fusion.train_fused(task.store, task.labels, task.run, best, settings.memory, seed, group.device)
        group.wait()


def _probe(task: Task) -> None:
    """The main process alone has something to do."""
    with owned(task.run, task.group):
        if task.group.is_main:
            linear.train_probe(task.store, task.labels, task.run, task.settings.train)
        task.group.wait()


TRAINERS: dict[str, Trainer] = {
    SSRL.kind: Trainer(_ssrl),
    PatchMemory.kind: Trainer(_memory, normal_alone=True, summary=normal_memory.summary),
    FusedDetector.kind: Trainer(_fused, evaluations="ssrl", summary=fusion.summary),
    LinearProbe.kind: Trainer(_probe, summary=linear.summary),
}
