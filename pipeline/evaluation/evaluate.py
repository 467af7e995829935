"""A checkpoint's scores of stored videos against frame-level ground truth.

ssrl-pipeline evaluate --checkpoint runs/first/best.pt
"""

import dataclasses
import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.console import say
from ssrl_pipeline.data import (
    Annotations,
    Dataset,
    Intervals,
    Labels,
    ground_truth,
    tell_parted_groups,
    wrong_lengths,
)
from ssrl_pipeline.disk import find_checkpoint, require_writable, whole_folder, write_json
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.bootstrap import LEVEL, Interval, bootstrap_intervals
from ssrl_pipeline.evaluation.groups import Alarms, GroupFigures, count_alarms, group_figures
from ssrl_pipeline.evaluation.metrics import (
    Classes,
    ClassMetrics,
    FrameMetrics,
    Threshold,
    class_metrics,
    divide,
    frame_metrics,
    pool,
    videos_by_class,
)
from ssrl_pipeline.events import EventSettings
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import Cameras, require_scorable, score_stored
from ssrl_pipeline.settings import Settings

FILES = ("metrics.json", "roc.png", "pr.png", "scores.npz")
EVALUATION = "evaluation-"  # + split: the folder, in a run's own, of what its best.pt came to
NAMED = 5  # videos of a wrong length
JUDGED = ("stage", "step", "val_loss")  # of a checkpoint's provenance; older metrics.json know no more of it
THRESHOLDS = "thresholds"  # of the checkpoint and its cameras, in its identity


class EvaluationResult(NamedTuple):
    metrics: FrameMetrics
    scores: dict[str, np.ndarray]  # video -> float32 [N]
    truth: dict[str, np.ndarray]  # video -> bool [N]
    classes: dict[str, ClassMetrics]  # by name of the class, as far as classes are known
    intervals: dict[str, Interval]  # by name of the figure; empty without a bootstrap
    class_intervals: dict[str, Interval]  # of the classes' AUC, likewise
    resamples: int  # of the bootstrap; 0: none
    split: str
    judged: dict[str, Any]  # which checkpoint it was, as :func:`identity` tells
    groups: dict[str, GroupFigures]  # by name of the group, as far as the labels name groups
    alarms: Alarms  # of all normal videos

    def summary(self) -> dict[str, Any]:
        """The contents of metrics.json; None stands for what is not defined."""
        return {
            "split": self.split,
            "judged": self.judged,
            **{name: _number(value) for name, value in self.metrics._asdict().items()},
            "resamples": self.resamples,
            "level": LEVEL,
            "intervals": {name: list(map(_number, pair)) for name, pair in self.intervals.items()},
            "classes": {
                name: {
                    **{key: _number(value) for key, value in found._asdict().items()},
                    **(
                        {"interval": list(map(_number, self.class_intervals[name]))} if self.resamples else {}
                    ),
                }
                for name, found in self.classes.items()
            },
            "groups": {name: found.summary() for name, found in self.groups.items()},
            "alarms": self.alarms._asdict(),
        }

    def save(self, folder: Path, checkpoint: Path) -> None:
        """Writes metrics.json, roc.png, pr.png and scores.npz; the folder appears whole.

        scores.npz holds `videos` (names), `frames` (each video's number of
        frames), and `scores` and `truth` of all frames, one video after the
        other: np.split(scores, np.cumsum(frames)[:-1]) gives one array each.

        Raises:
            PipelineError: the folder holds something else, which would be lost.
        """
        foreign = (
            sorted(path.name for path in folder.iterdir() if path.name not in FILES)
            if folder.is_dir()
            else []
        )
        if foreign:
            raise PipelineError(
                f"{folder}: holds {foreign[0]!r}, which is of no evaluation; choose another --out"
            )
        from ssrl_pipeline.evaluation.curves import save_pr, save_roc  # loads matplotlib

        videos = list(self.truth)
        with whole_folder(folder) as scratch:
            write_json(scratch / "metrics.json", {"checkpoint": str(checkpoint), **self.summary()})
            save_roc(scratch / "roc.png", self.scores, self.truth, self.metrics, self.intervals)
            save_pr(scratch / "pr.png", self.scores, self.truth, self.metrics, self.intervals)
            np.savez_compressed(
                scratch / "scores.npz",
                videos=np.array(videos),
                frames=np.array([len(self.truth[video]) for video in videos]),
                scores=pool(videos, self.scores),
                truth=pool(videos, self.truth),
            )


class Evaluated(NamedTuple):
    """What was evaluated, and where the result lies."""

    checkpoint: Path
    result: EvaluationResult
    folder: Path | None  # None: nothing was written


def evaluate_run(
    settings: Settings,
    checkpoint: Path | None = None,
    split: str = "test",
    device: str = "auto",
    *,
    threshold: float | None = None,
    bootstrap: int = 0,
    out: Path | None = None,
) -> Evaluated:
    """:func:`evaluate` with the features, labels and ground truth that the settings name.

    Args:
        checkpoint: a file, or a run's folder; None: the newest run's best.
        out: the folder for the result; None: that of the run whose best.pt is judged, if it is one.

    Raises:
        PipelineError: as of :func:`evaluate`; or the checkpoint, the features or a table cannot be read.
    """
    if out:
        require_writable(out)
    path = find_checkpoint(checkpoint, Path(settings.data.runs))
    loaded = load_checkpoint(path)
    store = open_features(settings.data.features, settings.data.layout)
    known = Annotations(settings.data, store)
    labels, intervals, dataset = known.labels, known.intervals, known.dataset
    tell_parted_groups(labels, say)
    if loaded.cameras:
        for line in Cameras(loaded, torch.device("cpu")).told(one.group for one in labels.values()):
            say(line)
    if dataset:
        _tell_wrong_lengths(dataset, store, split)
    result = evaluate_checkpoint(
        loaded,
        store,
        labels,
        intervals,
        split,
        find_device(device),
        classes=dataset.classes if dataset else None,
        threshold=threshold,
        bootstrap=bootstrap,
        events=settings.events,
    )
    folder = out or evaluation_folder(path, split)
    if folder:
        result.save(folder, path)
    return Evaluated(path, result, folder)


def evaluation_folder(checkpoint: Path, split: str) -> Path | None:
    """Where the evaluation of a run's best checkpoint belongs; None for any other checkpoint."""
    run = checkpoint.parent
    in_run = any((run / mark).is_file() for mark in ("config.yaml", "metrics.jsonl"))
    return run / f"{EVALUATION}{split}" if checkpoint.name == "best.pt" and in_run else None


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    store: Features,
    labels: Labels,
    intervals: Intervals,
    split: str,
    device: torch.device,
    *,
    classes: Classes | None = None,
    threshold: float | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    events: EventSettings | None = None,
) -> EvaluationResult:
    """Scores the videos of a split, each by its group's own detector, against the truth of every frame.

    Args:
        split: train, val or test, as in the labels.
        classes: video -> class of its anomaly, or several, where that is known.
        threshold: of false alarms; None: the settings', that of the video's group, the checkpoint's, or 0.5.
        bootstrap: number of draws behind the intervals; 0 for none.
        seed: of the bootstrap.
        events: how scores become events, which alarm; a threshold of None is the checkpoint's.

    Raises:
        LabelError: the split has no videos, or intervals and labels contradict each other.
        StoreError: the store lacks a video, or its recipe, but for the precision, is not the checkpoint's.
    """
    require_scorable(checkpoint.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    truth = ground_truth(store, labels, intervals, split)
    cameras = Cameras(checkpoint, device, _at(threshold, events or EventSettings()))
    fitted = {video: cameras.of(labels[video].group) for video in truth}
    scores = {video: score_stored(video, one.model, store, device) for video, one in fitted.items()}
    rules = {video: one.chosen.rule for video, one in fitted.items()}
    thresholds = {video: rule.threshold for video, rule in rules.items()}
    spread, class_spread = _intervals(scores, truth, classes or {}, bootstrap, seed, thresholds, labels)
    times = {video: store.times(video) for video in truth}
    return EvaluationResult(
        metrics=frame_metrics(scores, truth, thresholds),
        scores=scores,
        truth=truth,
        classes=class_metrics(scores, truth, classes or {}),
        intervals=spread,
        class_intervals=class_spread,
        resamples=bootstrap,
        split=split,
        judged=identity(checkpoint),
        groups=group_figures(scores, truth, times, labels, rules),
        alarms=count_alarms(scores, truth, times, rules),
    )


def identity(checkpoint: Checkpoint) -> dict[str, Any]:
    """What tells it from another, those that were trained in no steps and those of cameras included.

    Its thresholds are told apart from the rest, for the false alarms alone depend on them.
    """
    said = {key: checkpoint.provenance.get(key) for key in JUDGED}
    own = {group: checkpoint.for_camera(group) for group in sorted(checkpoint.cameras)}
    cameras = {group: one.sha256 for group, one in own.items()}
    records = [one.provenance.get("threshold") for one in (checkpoint, *own.values())]
    thresholds = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
    return {**said, "sha256": checkpoint.sha256, "cameras": cameras, THRESHOLDS: thresholds}


def _at(threshold: float | None, events: EventSettings) -> EventSettings:
    return events if threshold is None else dataclasses.replace(events, threshold=threshold)


def _intervals(
    scores: dict[str, np.ndarray],
    truth: dict[str, np.ndarray],
    classes: Classes,
    bootstrap: int,
    seed: int,
    threshold: Threshold,
    labels: Labels,
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Of all figures, and of each class's AUC against all normal videos; none without draws."""
    if not bootstrap:
        return {}, {}
    groups, found = {video: labels[video].group for video in truth}, {}
    for name, videos in videos_by_class(truth, classes).items():
        against = {video: truth[video] for video in [*videos, *divide(truth)[1]]}
        found[name] = bootstrap_intervals(scores, against, bootstrap, seed, threshold, groups)["auc"]
    return bootstrap_intervals(scores, truth, bootstrap, seed, threshold, groups), found


def _tell_wrong_lengths(dataset: Dataset, store: Features, split: str) -> None:
    wrong = wrong_lengths(dataset, store, split)
    for problem in wrong[:NAMED]:
        say(f"{problem.video}: {problem.detail}", logging.WARNING)
    if wrong:
        say(
            f"features and annotations differ in length for {len(wrong)} of {len(dataset.split(split))} "
            f"videos, so their ground truth may be shifted (`ssrl-pipeline dataset check`)",
            logging.WARNING,
        )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
