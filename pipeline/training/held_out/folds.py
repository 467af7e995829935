"""Cross-validation: every training video is scored by a detector that did not learn from it.

    ssrl-pipeline train --folds 5

The training videos are parted so that no group is (:func:`ssrl_pipeline.data.fold_videos`). Each part is
held out in turn, in the folder folds/foldN of the run: a detector learns from the others, exactly as it
would without folds, and scores it. What is done is not done again.

Dimensions: T snippets.
"""

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import to_tree
from ssrl_pipeline.console import say
from ssrl_pipeline.data import Labels, check_videos, fold_videos
from ssrl_pipeline.disk import whole_file, write_json
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.evaluation import highest_tenth
from ssrl_pipeline.training.held_out.calibration import raw_scores
from ssrl_pipeline.training.selection import beside_probe
from ssrl_pipeline.training.task import Task

FOLDS = 5  # where nobody says how many
LONGEST_FOLD, PATIENCE = 400, 4  # steps, and evaluations without a better one, where folds find the length
SCORES, ABOUT = "scores.npz", "fold.json"  # of a fold's folder; the second is written last

Scores = dict[str, np.ndarray]  # video -> float32 [T], raw


class Fold(NamedTuple):
    """What became of one part that was held out."""

    scores: Scores
    step: int | None  # of the best checkpoint, where training has steps
    auc: float  # of its videos by the mean of their highest tenth of snippets; nan where of one class


class Folds(NamedTuple):
    folds: list[Fold]

    @property
    def scores(self) -> Scores:
        """Of all training videos."""
        return {video: scores for fold in self.folds for video, scores in fold.scores.items()}

    @property
    def steps(self) -> int | None:
        """The median of the folds' best steps."""
        known = [fold.step for fold in self.folds if fold.step is not None]
        return round(float(np.median(known))) if known else None

    def summary(self) -> dict[str, Any]:
        """The folds' AUC, their mean and deviation (of the sample, n - 1); what a checkpoint keeps."""
        known = [fold.auc for fold in self.folds if np.isfinite(fold.auc)]
        return {
            "auc": [fold.auc if np.isfinite(fold.auc) else None for fold in self.folds],
            "mean": float(np.mean(known)) if known else None,
            "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        }

    def save(self, path: Path, labels: Labels) -> None:
        """A row for each training video: the fold that held it out, and its score there."""
        with whole_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("video", "label", "group", "fold", "score"))
            for number, fold in enumerate(self.folds):
                for video, scores in fold.scores.items():
                    label = labels[video]
                    kind = "abnormal" if label.abnormal else "normal"
                    rows.writerow((video, kind, label.group or "", number, f"{highest_tenth(scores):.6f}"))


def run_folds(task: Task, folds: int, train: Callable[[Task], object]) -> Folds:
    """Holds out every training video once; in a group of processes, all call this and get the same.

    Args:
        task: its run's folder gets folds/.
        folds: how many parts, fewer where a class has fewer groups.
        train: leaves best.pt in the run's folder of the task that it is given, as those of
            :data:`ssrl_pipeline.training.train.TRAINERS` do.

    Raises:
        LabelError: a class has fewer than two videos.
        PipelineError: as training does.
    """
    parts = fold_videos(task.labels, folds, task.settings.train.seed)
    found = []
    for number, held in enumerate(parts):
        found.append(_fold(task, number, held, train))
        if task.group.is_main:
            auc = "" if np.isnan(found[-1].auc) else f", AUC {found[-1].auc:.4f}"
            say(f"fold {number + 1} of {len(parts)}: {len(held)} videos held out{auc}")
    return Folds(found)


def best_steps(task: Task, folds: int, train: Callable[[Task], object]) -> int:
    """How long to train where there are too few videos for validation: the median of the folds' best steps.

    Zero where SSRL is no better than its probe's evidence by itself. Each part in turn is what the others are
    validated by, in the folder folds/lengthN of the run.

    Raises:
        LabelError: a class has fewer than two videos.
        PipelineError: as training does.
    """
    parts = fold_videos(task.labels, folds, task.settings.train.seed)
    own = task.with_training(steps=LONGEST_FOLD, patience=PATIENCE)
    found, rivals = [], []
    for number, held in enumerate(parts):
        part = _held_out(own, f"length{number}", held, "val")
        about = _scored(part, held, train)
        found.append(about["step"])
        if validation := about.get("validation"):  # a version before did not keep it
            rivals.append([validation["auc"], validation["probe_auc"]])
        if task.group.is_main:
            say(f"length, fold {number + 1} of {len(parts)}: best after {found[-1]} steps")
    if rivals and task.group.is_main:
        say(beside_probe("mean AUC of the videos held out", *np.mean(rivals, axis=0)))
    return round(float(np.median(found)))


def _fold(task: Task, number: int, held: list[str], train: Callable[[Task], object]) -> Fold:
    own = _held_out(task, f"fold{number}", held)
    about = _scored(own, held, train)
    with np.load(own.run / SCORES) as file:
        scores = {video: file[f"arr_{row}"] for row, video in enumerate(held)}
    truth = [task.labels[video].abnormal for video in held]
    tenths = [highest_tenth(values) for values in scores.values()]
    auc = float(roc_auc_score(truth, tenths)) if len(set(truth)) == 2 else float("nan")
    return Fold(scores, about["step"], auc)


def _scored(own: Task, held: list[str], train: Callable[[Task], object]) -> dict[str, Any]:
    """Trains a fold and scores what it held out, unless that is done; what its folder tells about it."""
    key = _key(own, held)
    about = _about(own.run)
    if about is None or about.get("key") != key:
        if about:  # of other settings or videos: nothing is lost that this run needs
            _clear(own)
        try:
            train(own)
        except CheckpointError:  # likewise, but unfinished
            _clear(own)
            train(own)
        if own.group.is_main:
            _finish(own, held, key)
        own.group.wait()
        about = _about(own.run)
    if about is None:
        raise PipelineError(f"{own.run}: not seen by every machine; put the runs on a shared file system")
    return about


def _clear(own: Task) -> None:
    own.group.wait()
    if own.group.is_main and own.run.is_dir():
        shutil.rmtree(own.run)
    own.group.wait()


def _held_out(task: Task, name: str, held: list[str], split: str | None = None) -> Task:
    """The task in a fold's folder without some of its training videos, and without those for testing.

    Args:
        split: what the videos held out are for; None: for nothing.
    """
    own = task.with_training(select_on="val", false_alarms=0.0, tensorboard=False)
    away = set(held)
    labels = {
        video: label._replace(split=split) if video in away else label
        for video, label in task.labels.items()
        if label.split != "test" and (split or video not in away)
    }
    run = task.run / "folds" / name
    return dataclasses.replace(own, run=run, labels=labels, intervals=None, report=lambda evaluation: None)


def _finish(task: Task, held: list[str], key: str) -> None:
    """Scores what was held out; of the fold's folder, what is large and has served goes."""
    checkpoint = load_checkpoint(task.run / "best.pt")
    scores = raw_scores(checkpoint, task.store, held, task.group.device)
    with whole_file(task.run / SCORES) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, *(scores[video] for video in held))
    step = checkpoint.provenance.get("step", checkpoint.provenance.get("ssrl", {}).get("step"))
    rivals = checkpoint.provenance.get("validation")
    write_json(task.run / ABOUT, {"key": key, "step": step, "validation": rivals, "videos": held})
    for served in task.run.rglob("*.pt"):
        served.unlink()
    shutil.rmtree(task.run.parent / ".packs", ignore_errors=True)


def _about(run: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((run / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _key(task: Task, held: list[str]) -> str:
    """Of all that decides a fold's scores."""
    sections = ("model", "train", "memory", "actions")
    settings = {name: to_tree(getattr(task.settings, name)) for name in sections}
    labels = {video: list(label) for video, label in sorted(task.labels.items())}
    videos = sorted({*labels, *held})
    check_videos(task.store, videos)
    metas = [repr(task.store.meta(video)) for video in videos]  # others, once a video is extracted anew
    said = json.dumps([settings, labels, held, task.store.recipe, metas], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()
