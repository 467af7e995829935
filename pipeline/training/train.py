"""What trains each kind of detector (SSRL, a memory of normal patches, both in one) and calibrates it."""

import dataclasses
import logging
from pathlib import Path

from ssrl_pipeline.checkpoint import load_checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.console import say
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.models import SSRL, FusedDetector, LinearProbe, PatchMemory
from ssrl_pipeline.training import auto, fusion, linear, normal_memory, ssrl
from ssrl_pipeline.training.calibration import HeldOut, calibrated, raw_scores, validation_videos
from ssrl_pipeline.training.folds import FOLDS, Folds, run_folds
from ssrl_pipeline.training.run_folder import owned, refuse_other_run
from ssrl_pipeline.training.task import Task, Trainer


def train_detector(task: Task, folds: int | None = None) -> Path:
    """Trains what `model.kind` names, and calibrates it; raises as training and calibrating do.

    Args:
        folds: the training videos are cross-validated in as many, before one detector learns from all.

    Returns:
        The best checkpoint's path.
    """
    best, kind = task.run / "best.pt", task.settings.model.kind
    if not (task.run / "last.pt").exists():
        refuse_other_run(task.run, kind)
    train = TRAINERS[kind].train
    validated = run_folds(task, folds, train) if folds else None
    if validated and not any(label.split == "val" for label in task.labels.values()):
        steps = validated.steps or task.settings.train.steps
        task = task.with_training(val_fraction=0.0, steps=steps)
    known = train(task)
    wanted = bool(task.settings.train.false_alarms)
    held = (known if isinstance(known, HeldOut) else _held_out(task, best, validated)) if wanted else None
    if task.group.is_main:
        if validated:
            validated.save(task.run / "folds.csv", task.labels)
        _finish(task, best, held, validated)
    task.group.wait()
    return best


def _held_out(task: Task, best: Path, validated: Folds | None) -> HeldOut | None:
    """Scores of normal videos by detectors that did not learn from them; None where there are none."""
    if validated is None:
        checkpoint = load_checkpoint(best)
        if known := validation_videos(checkpoint, task.labels):
            return HeldOut(raw_scores(checkpoint, task.store, known, task.group.device), "validation videos")
        trainer = TRAINERS[task.settings.model.kind]
        if trainer.normal_alone:
            normal = {video: label for video, label in task.labels.items() if not label.abnormal}
            task = dataclasses.replace(task, labels=normal)
        try:
            validated = run_folds(task, FOLDS, trainer.train)
        except LabelError:  # too few videos to hold any out
            return None
    scores = {v: values for v, values in validated.scores.items() if not task.labels[v].abnormal}
    return HeldOut(scores, "out of fold")


def _finish(task: Task, best: Path, held: HeldOut | None, validated: Folds | None) -> None:
    checkpoint = load_checkpoint(best).at_level(0)
    if held and held.scores:
        share = task.settings.train.false_alarms
        try:
            checkpoint = calibrated(checkpoint, held.scores, task.store, task.labels, share, held.source)
        except PipelineError as error:
            say(f"not calibrated: {error}", logging.WARNING)
    if validated:
        provenance = {**checkpoint.provenance, "folds": validated.summary()}
        checkpoint = dataclasses.replace(checkpoint, provenance=provenance)
    save_checkpoint(best, checkpoint)


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


def _auto(task: Task) -> HeldOut | None:
    return auto.train_auto(task, {kind: TRAINERS[kind].train for kind in auto.KINDS})


TRAINERS: dict[str, Trainer] = {
    SSRL.kind: Trainer(_ssrl),
    PatchMemory.kind: Trainer(_memory, normal_alone=True, summary=normal_memory.summary),
    FusedDetector.kind: Trainer(_fused, evaluations="ssrl", summary=fusion.summary),
    LinearProbe.kind: Trainer(_probe, summary=linear.summary),
    "auto": Trainer(_auto, summary=auto.summary),
}
