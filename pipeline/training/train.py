"""What trains each kind of detector (SSRL, a memory, both in one, actions by name) and calibrates it."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from ssrl_pipeline.checkpoint import load_checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.console import say
from ssrl_pipeline.data import FEWEST_TO_DRAW_FROM, possible_folds
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import LabelError, PipelineError
from ssrl_pipeline.models import SSRL, ActionDetector, FusedDetector, LinearProbe, MotionDetector, PatchMemory
from ssrl_pipeline.training import auto
from ssrl_pipeline.training.held_out import (
    FOLDS,
    Folds,
    HeldOut,
    best_steps,
    calibrated,
    raw_scores,
    run_folds,
    validation_videos,
)
from ssrl_pipeline.training.kinds import (
    actions_summary,
    add_usual,
    fused_summary,
    memory_summary,
    probe_summary,
    ssrl_summary,
    train_actions,
    train_fused,
    train_memory,
    train_motion,
    train_probe,
    train_ssrl,
)
from ssrl_pipeline.training.length import FEWEST_TO_FIND, begun_with, fewest_of_a_class, split_for
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
    if TRAINERS[kind].evaluations is None:  # nothing is chosen by validation: it learns from all
        task = task.with_training(val_fraction=0.0)
    task = _of_known_length(task, folds or FOLDS, held_out=bool(folds))
    validated = run_folds(task, folds, train) if folds else None
    if validated and not any(label.split == "val" for label in task.labels.values()):
        task = task.of_all(validated.steps)
    known = train(task)
    wanted = bool(task.settings.train.false_alarms)
    held = (known if isinstance(known, HeldOut) else _held_out(task, best, validated)) if wanted else None
    if task.group.is_main:
        if validated:
            validated.save(task.run / "folds.csv", task.labels)
        _finish(task, best, held, validated)
        _add_usual(task)
    task.group.wait()
    return best


def _of_known_length(task: Task, folds: int, held_out: bool) -> Task:
    """The task with the steps that a cross-validation finds, where too few videos can be kept for validation.

    All videos are then learned from. A run that has begun goes on as it began.

    Args:
        held_out: whether it is to be trained on what each fold leaves, which has to suffice as well.
    """
    trainer, settings = TRAINERS[task.settings.model.kind], task.settings.train
    if trainer.evaluations is None or settings.steps is not None or settings.select_on == "test":
        return task
    if _can_validate(task, folds if held_out else 0):
        return task
    if begun := begun_with(task.run / trainer.evaluations):
        return task.with_training(steps=begun["steps"], val_fraction=begun["val_fraction"])
    if not _evident(task) and fewest_of_a_class(task.labels) < FEWEST_TO_FIND:
        return task.with_training(val_fraction=0.0)  # for as long as is usual
    try:
        return task.with_training(steps=best_steps(task, folds, trainer.train), val_fraction=0.0)
    except LabelError:  # too few videos to hold any out
        return task


def _evident(task: Task) -> bool:
    """Whether it is an SSRL that begins with a probe's evidence, from which a length of 0 keeps it."""
    return task.settings.model.kind == SSRL.kind and task.settings.model.evidence


def _can_validate(task: Task, folds: int) -> bool:
    """Whether videos can be kept for validation, of all and of what each of some folds leaves."""
    settings, labels, fewest = task.settings.train, task.labels, TRAINERS[task.settings.model.kind].fewest
    sets = [labels]
    if folds:
        parts = map(set, possible_folds(labels, folds, settings.seed))
        sets += [{v: label for v, label in labels.items() if v not in part} for part in parts]
    return all(split_for(one, settings, fewest).val for one in sets)


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


def _add_usual(task: Task) -> None:
    """What normal training videos show, for the words of events."""
    of = task.settings
    best = task.run / "best.pt"
    missing = add_usual(best, task.store, task.labels, of.actions, of.extract.weights, of.train.seed)
    if missing:
        say(f"events will have no words: {missing}")


def _ssrl(task: Task) -> None:
    model, training = task.settings.model, task.settings.train
    train_ssrl(task.store, task.labels, task.run, model, training, task.group, task.report, task.intervals)


def _by_main(train: Callable[[Task], object]) -> Callable[[Task], None]:
    """Training in which the main process alone has something to do."""

    def alone(task: Task) -> None:
        with owned(task.run, task.group):
            if task.group.is_main:
                train(task)
            task.group.wait()

    return alone


def _memory(task: Task) -> None:
    of = task.settings
    train_memory(task.store, task.labels, task.run, of.memory, of.train.seed)


def _fused(task: Task) -> None:
    """SSRL in a folder of the run's own; then the main process adds the memory."""
    settings, group, part = task.settings, task.group, task.of_part("ssrl")
    with owned(task.run, group):
        if group.is_main:
            trees = {name: to_tree(getattr(settings, name)) for name in ("model", "train", "memory")}
            write_text(task.run / "config.yaml", to_yaml(trees))
        _ssrl(part)
        if group.is_main:
            best, seed = part.run / "best.pt", settings.train.seed
            train_fused(task.store, task.labels, task.run, best, settings.memory, seed, group.device)
        group.wait()


def _actions(task: Task) -> None:
    of = task.settings
    train_actions(task.store, task.labels, task.run, of.actions, of.extract.weights, of.train.seed)


def _probe(task: Task) -> None:
    train_probe(task.store, task.labels, task.run, task.settings.train)


def _motion(task: Task) -> None:
    train_motion(task.store, task.labels, task.run, task.settings.train)


def _auto(task: Task) -> HeldOut | None:
    trainers = {kind: TRAINERS[kind].train for kind in auto.TRIED}
    return auto.train_auto(task, trainers, lambda part: _of_known_length(part, FOLDS, held_out=True))


TRAINERS: dict[str, Trainer] = {
    SSRL.kind: Trainer(_ssrl, evaluations="", summary=ssrl_summary),
    PatchMemory.kind: Trainer(_by_main(_memory), normal_alone=True, summary=memory_summary),
    FusedDetector.kind: Trainer(  # whose shares are chosen by validation videos as well
        _fused, fewest=FEWEST_TO_DRAW_FROM, evaluations="ssrl", summary=fused_summary
    ),
    ActionDetector.kind: Trainer(_by_main(_actions), normal_alone=True, summary=actions_summary),
    LinearProbe.kind: Trainer(_by_main(_probe), summary=probe_summary),
    MotionDetector.kind: Trainer(_by_main(_motion), summary=probe_summary),
    "auto": Trainer(_auto, summary=auto.summary),
}
