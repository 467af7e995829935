"""Training as a user asks for it: with the features, labels and ground truth that the settings name.

ssrl-pipeline train --name first
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.console import are_json, say
from ssrl_pipeline.data import (
    Annotations,
    Label,
    Labels,
    check_videos,
    grouped,
    labels_path,
    tell_parted_groups,
    tell_sole_groups,
)
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.group import join, launch
from ssrl_pipeline.training.held_out import describe
from ssrl_pipeline.training.length import check_shares
from ssrl_pipeline.training.run_folder import Evaluation, named_run, read_evaluations
from ssrl_pipeline.training.seeds import SeedRuns, train_seeds
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import TRAINERS, train_detector

Report = Callable[[Evaluation], object]


class Trained(NamedTuple):
    """A finished run."""

    best: Path  # its best checkpoint's file
    checkpoint: Checkpoint
    stages: list[Evaluation]  # the best of each; a memory has none
    summary: str  # a line about it, where there is more to say
    threshold: str  # a line about what its scores are calibrated to, and how sure that is


def train_run(
    settings: Settings,
    name: str | None = None,
    *,
    folds: int | None = None,
    device: str = "auto",
    skip_missing: bool = False,
    report: Report = lambda evaluation: None,
) -> Trained | None:
    """Trains what `model.kind` names in the folder `data.runs`/name; an unfinished run goes on.

    Args:
        name: None: date and time.
        folds: of a cross-validation, which comes first; None: none is asked for.
        skip_missing: labelled videos without features are left out and said, instead of an error.
        report: is given each evaluation.

    Returns:
        None in a process that is not the main one of its group.

    Raises:
        PipelineError: as the features, the labels and the training do.
    """
    judged = settings.train.select_on == "test"
    with _prepared(settings, name, device, skip_missing, judged, report) as task:
        best = train_detector(task, folds)
    return _trained(best) if task.group.is_main else None


def train_seed_runs(
    settings: Settings,
    seeds: Sequence[int],
    name: str | None = None,
    *,
    device: str = "auto",
    skip_missing: bool = False,
    report: Report = lambda evaluation: None,
) -> tuple[Path, SeedRuns] | None:
    """:func:`train_run` with each seed, in folders of the run's; gives the run's folder, and its runs."""
    with _prepared(settings, name, device, skip_missing, True, report) as task:

        def fit(run: Path, seed: int) -> Path:
            training = dataclasses.replace(settings.train, seed=seed)
            own = dataclasses.replace(settings, train=training)
            return train_detector(dataclasses.replace(task, run=run, settings=own))

        found = train_seeds(seeds, fit, task.run, task.store, task.labels, task.group, task.intervals)
    return (task.run, found) if task.group.is_main else None


def launch_command(settings: Settings, name: str | None, devices: int, options: Sequence[str]) -> None:
    """The command `train` in several processes of this machine, which the settings reach as a file.

    Raises:
        ConfigError: a batch cannot be shared equally among them.
        PipelineError: a process failed.
    """
    check_shares(settings.train, devices)
    with named_run(Path(settings.data.runs), name) as name, tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(to_yaml(to_tree(settings)), encoding="utf-8")
        log = ["--log-json"] * are_json()
        launch(devices, [*log, "train", "-c", str(config), "--name", name, *options])


@contextmanager
def _prepared(
    settings: Settings, name: str | None, device: str, skip_missing: bool, judged: bool, report: Report
) -> Iterator[Task]:
    """All that a training needs; with ground truth where test videos are `judged` and have it."""
    with join(device) as group:
        store = open_features(settings.data.features, settings.data.layout)
        known = Annotations(settings.data, store)
        labels = _labels(settings, known, store)
        if group.is_main:
            tell_parted_groups(labels, say)
            tell_sole_groups(labels, say)
        intervals = known.find_intervals() if judged else None
        if skip_missing:
            needed = {v: label for v, label in labels.items() if judged or label.split != "test"}
            missing = _missing(store, needed, group.is_main)
            labels = {video: label for video, label in labels.items() if video not in missing}
            if intervals is not None:
                intervals = {video: rows for video, rows in intervals.items() if video not in missing}
        runs = Path(settings.data.runs)
        with named_run(runs, name) as name:
            yield Task(settings, runs / name, store, labels, group, report, intervals)


def _labels(settings: Settings, known: Annotations, store: Features) -> Labels:
    """Labels; to a kind that asks for normal videos alone, unlabelled ones are normal."""
    try:
        return known.labels
    except LabelError:
        normal_alone = TRAINERS[settings.model.kind].normal_alone
        if not normal_alone or settings.data.dataset or labels_path(settings.data):
            raise
    videos = store.videos()
    say(f"no labels: all {len(videos)} videos are taken as normal")
    return grouped({video: Label(False, None) for video in videos}, settings.data)


def _missing(store: Features, labels: Labels, tell: bool) -> set[str]:
    """The labelled videos that the store lacks, said one by one; an error where it lacks all."""
    missing = set(labels) - set(store.videos())
    if len(missing) == len(labels):
        check_videos(store, labels, "label those that it has")
    if missing and tell:
        say(f"left out, for {store.root} has no features of them: {len(missing)} of {len(labels)} videos")
        for video in sorted(missing):
            say(f"left out: {video!r}")
    return missing


def _trained(best: Path) -> Trained:
    """The best of each stage, as metrics.jsonl tells; of a fused detector, those of its SSRL."""
    checkpoint = load_checkpoint(best)
    trainer = TRAINERS["auto" if "chosen" in checkpoint.provenance else checkpoint.kind]
    folder = best.parent / (trainer.evaluations or "")
    stages = {e.stage: e for e in read_evaluations(folder) if e.best}
    summary, threshold = trainer.summary(checkpoint), describe(checkpoint)
    return Trained(best, checkpoint, list(stages.values()), summary, threshold)
