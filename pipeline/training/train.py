"""What trains each kind of detector: SSRL, a memory of normal patches, both in one."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data.labels import Intervals, Labels
from ssrl_pipeline.disk.files import write_text
from ssrl_pipeline.features.reading import Features
from ssrl_pipeline.models import SSRL, FusedDetector, PatchMemory
from ssrl_pipeline.settings import MemorySettings, ModelSettings, TrainSettings
from ssrl_pipeline.training.fusion import train_fused
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.normal_memory import train_memory
from ssrl_pipeline.training.run_folder import Evaluation, owned, refuse_other_run
from ssrl_pipeline.training.ssrl import train


@dataclass(frozen=True)
class Task:
    """What to train a detector from; as :func:`ssrl_pipeline.training.ssrl.train` takes it."""

    store: Features
    labels: Labels
    run: Path
    model: ModelSettings
    training: TrainSettings
    memory: MemorySettings
    group: Group
    report: Callable[[Evaluation], object]
    intervals: Intervals | None


def train_detector(
    store: Features,
    labels: Labels,
    run: Path,
    model: ModelSettings,
    training: TrainSettings,
    memory: MemorySettings,
    group: Group,
    report: Callable[[Evaluation], object] = lambda evaluation: None,
    intervals: Intervals | None = None,
) -> Path:
    """Trains what `model.kind` names; arguments, errors as of :func:`ssrl_pipeline.training.ssrl.train`.

    Returns:
        The best checkpoint's path.
    """
    if not (run / "last.pt").exists():
        refuse_other_run(run, model.kind)
    TRAINERS[model.kind](Task(store, labels, run, model, training, memory, group, report, intervals))
    return run / "best.pt"


def _ssrl(task: Task) -> None:
    t = task
    train(t.store, t.labels, t.run, t.model, t.training, t.group, t.report, t.intervals)


def _memory(task: Task) -> None:
    """The main process alone has something to do."""
    with owned(task.run, task.group):
        if task.group.is_main:
            train_memory(task.store, task.labels, task.run, task.memory, task.training.seed)
        task.group.wait()


def _fused(task: Task) -> None:
    """SSRL in a run of its own inside the run; then the main process adds the memory."""
    run, group = task.run, task.group
    ssrl = dataclasses.replace(task, run=run / "ssrl", model=dataclasses.replace(task.model, kind="ssrl"))
    with owned(run, group):
        if group.is_main:
            parts = {"model": task.model, "train": task.training, "memory": task.memory}
            trees = {name: to_tree(part) for name, part in parts.items()}
            write_text(run / "config.yaml", to_yaml(trees))
        _ssrl(ssrl)
        if group.is_main:
            best, seed = ssrl.run / "best.pt", task.training.seed
            train_fused(task.store, task.labels, run, best, task.memory, seed, group.device)
        group.wait()


TRAINERS: dict[str, Callable[[Task], None]] = {  # kind -> what leaves best.pt in the task's run
    SSRL.kind: _ssrl,
    PatchMemory.kind: _memory,
    FusedDetector.kind: _fused,
}
