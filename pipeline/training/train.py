"""Which kind of detector is trained: SSRL, a memory of normal patches, or both in one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data.labels import Intervals, Labels
from ssrl_pipeline.disk.files import write_text
from ssrl_pipeline.features.reading import Features
from ssrl_pipeline.settings import MemorySettings, ModelSettings, TrainSettings
from ssrl_pipeline.training.fusion import train_fused
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.normal_memory import refuse_other_run, train_memory
from ssrl_pipeline.training.run_folder import Evaluation, owned
from ssrl_pipeline.training.ssrl import train


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

    A memory is made by the main process alone.

    Returns:
        The best checkpoint's path.
    """
    if not (run / "last.pt").exists():
        refuse_other_run(run, model.kind)
    best = run / "best.pt"
    if model.kind == "ssrl":
        return train(store, labels, run, model, training, group, report, intervals).best
    with owned(run, group):
        if model.kind == "fused":
            part = dataclasses.replace(model, kind="ssrl")
            if group.is_main:
                trees = {"model": to_tree(model), "train": to_tree(training), "memory": to_tree(memory)}
                write_text(run / "config.yaml", to_yaml(trees))
            ssrl = train(store, labels, run / "ssrl", part, training, group, report, intervals).best
            if group.is_main:
                train_fused(store, labels, run, ssrl, memory, training.seed, group.device)
        elif group.is_main:
            train_memory(store, labels, run, memory, training.seed)
        group.wait()
    return best
