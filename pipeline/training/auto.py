"""Stage two that chooses: the kinds of detectors that fit the labels, compared by cross-validation.

    ssrl-pipeline train --model auto

Each kind scores every training video out of fold (:mod:`ssrl_pipeline.training.held_out.folds`). Of
these scores every blend is tried, in which each kind counts alike: by its log odds in units of their
deviation over normal snippets. What ranks the training videos best, by more than chance and no worse than
the probe, is trained on all of them (:func:`choose`). No other video is looked at, and the out-of-fold scores
of normal videos calibrate what came of it. Where no video is abnormal, the memory alone fits.

SSRL goes without the probe's evidence here (:meth:`Task.of_part`).

Dimensions: T snippets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.console import say
from ssrl_pipeline.data import possible_folds
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.evaluation import draw_videos, highest_tenth
from ssrl_pipeline.models import Blend, MotionDetector, PatchMemory, add_odds
from ssrl_pipeline.scales import MOTION
from ssrl_pipeline.settings import Kind
from ssrl_pipeline.training.held_out import FOLDS, Folds, HeldOut, Scores, run_folds
from ssrl_pipeline.training.kinds import FEWEST_NORMAL
from ssrl_pipeline.training.run_folder import owned
from ssrl_pipeline.training.task import Task

TRIED: tuple[Kind, ...] = ("probe", "ssrl", "memory", "motion")
UNCOMPARED = ("probe", "memory")  # what is blended where too few videos can be held out to compare by
LEAD = 1.645  # standard errors, of which chance alone makes a lead once in twenty times
DRAWS = 1000  # of videos, for the standard error of a lead
LEAST = 1e-3  # a deviation of log odds, where normal snippets do not differ


class Trial(NamedTuple):
    """How one kind, or several together, rank the training videos out of fold."""

    kinds: tuple[Kind, ...]
    weights: tuple[float, ...]  # of the kinds' log odds
    auc: float  # of videos, by the mean of their highest tenth of snippets


def train_auto(
    task: Task, trainers: Mapping[Kind, Callable[[Task], object]], of_known_length: Callable[[Task], Task]
) -> HeldOut | None:
    """Leaves the checkpoint of the best kind or blend; its provenance has all that was tried.

    Args:
        trainers: kind -> what trains it, as in :data:`ssrl_pipeline.training.train.TRAINERS`.
        of_known_length: gives a task its steps, where these are to be found out.

    Returns:
        The normal videos' out-of-fold scores, raw, to calibrate by; None where there are too few videos
        to hold any out.

    Raises:
        PipelineError: as the folds and the training of each kind do.
    """
    with owned(task.run, task.group):
        kinds = fitting(task)
        tasks = {kind: of_known_length(task.of_part(kind)) for kind in kinds}
        found = cross_validated(tasks, trainers)
        scores = {kind: folds.scores for kind, folds in found.items()}
        truth = {video: task.labels[video].abnormal for video in next(iter(scores.values()), ())}
        if len(set(truth.values())) == 2:
            trials = try_all(scores, truth)
            best = choose(trials, scores, truth, {v: task.labels[v].group for v in truth})
        else:
            usual = tuple(kind for kind in kinds if kind in UNCOMPARED)
            trials, best = [], Trial(usual, (1 / len(usual),) * len(usual), float("nan"))
        parts: dict[str, Checkpoint] = {
            kind: _train_all(tasks[kind], found.get(kind), trainers[kind]) for kind in best.kinds
        }
        if task.group.is_main:
            _save(task, parts, best, trials)
        task.group.wait()
    if not found:
        return None
    held = {video: mix(best, scores, video) for video, abnormal in truth.items() if not abnormal}
    return HeldOut(held, "out of fold")


def choose(
    trials: Sequence[Trial],
    scores: Mapping[Kind, Scores],
    truth: dict[str, bool],
    groups: Mapping[str, str | None] | None = None,
) -> Trial:
    """The usual blend, or what ranks the videos better than that by more than chance.

    Chance is told by the standard error of a difference of AUCs (the groups of each class drawn again and
    again). With ten videos hardly anything exceeds it, and what is best by chance costs; with hundreds what
    does not fit is left out. The usual blend is of SSRL and the memory (docs/training.md). Where SSRL is
    worse than the probe by more than one error, the probe takes its place; where the memory is, or the blend
    ranks worse than the probe, the probe is by itself. Motion and other blends have to lead by LEAD errors.

    Args:
        trials: as of :func:`try_all`, which takes the same scores and truth.
        groups: video -> its group; None or missing: of one that no other video is of.
    """
    classes = [[video for video in truth if truth[video] == abnormal] for abnormal in (False, True)]
    videos = [*classes[0], *classes[1]]
    draws = draw_videos(classes, groups or {}, DRAWS, np.random.default_rng(0))
    by_kinds = {trial.kinds: trial for trial in trials}

    @cache
    def drawn(kinds: tuple[Kind, ...]) -> np.ndarray:
        ranks, abnormal = _of_videos(by_kinds[kinds], scores, videos), [truth[video] for video in videos]
        return np.array([roc_auc_score(abnormal, ranks, sample_weight=times) for times in draws])

    def leads(one: Trial, other: Trial, errors: float) -> bool:
        lead = one.auc - other.auc
        return lead > 0 and bool(lead > errors * np.std(drawn(one.kinds) - drawn(other.kinds)))

    usual = probe = by_kinds["probe",]

    def fits(kind: Kind) -> bool:
        return kind in scores and not leads(probe, by_kinds[kind,], 1)

    if fits("memory"):
        first: Kind = "ssrl" if fits("ssrl") else "probe"
        usual = max(by_kinds[first, "memory"], probe, key=lambda trial: trial.auc)
    better = (trial for trial in trials if leads(trial, usual, LEAD))
    return max([usual, *better], key=lambda trial: trial.auc)


def fitting(task: Task) -> tuple[Kind, ...]:
    """Those of TRIED that the labels suffice for, in every fold, and that the store has the views for."""
    training = {v: label for v, label in task.labels.items() if label.split != "test"}
    if not any(label.abnormal for label in training.values()):
        say("no abnormal videos: a memory of normal ones is what can be made")
        return ("memory",)
    normal = {video for video, label in training.items() if not label.abnormal}
    parts = possible_folds(task.labels, FOLDS, task.settings.train.seed) or [[]]
    lacking = set[str]()
    if min(len(normal.difference(part)) for part in parts) < FEWEST_NORMAL:
        lacking.add(PatchMemory.kind)
    if MOTION not in task.store.recipe["views"]:
        lacking.add(MotionDetector.kind)
    return tuple(kind for kind in TRIED if kind not in lacking)


def summary(checkpoint: Checkpoint) -> str:
    """A table of what was tried, the best first; what was taken has a star."""
    lines, taken = ["out-of-fold AUC of the training videos:"], checkpoint.provenance["chosen"]
    for trial in sorted(checkpoint.provenance["tried"], key=lambda trial: -trial["auc"]):
        star = "*" if trial["kinds"] == taken else " "
        lines.append(f"{star} {trial['auc']:.4f}  {' + '.join(trial['kinds'])}")
    if len(lines) == 1:
        alike = ", which count alike" if len(taken) > 1 else ""
        return f"nothing to compare by: {' + '.join(taken)}{alike}"
    return "\n".join(lines)


def cross_validated(
    tasks: Mapping[Kind, Task], trainers: Mapping[Kind, Callable[[Task], object]]
) -> dict[Kind, Folds]:
    """Each kind's folds; nothing where a class has too few videos for any."""
    of_all = next(iter(tasks.values()))
    if not possible_folds(of_all.labels, FOLDS, of_all.settings.train.seed):
        return {}
    found: dict[Kind, Folds] = {}
    for kind, task in tasks.items():
        if task.group.is_main:
            say(f"cross-validating {kind}")
        found[kind] = run_folds(task, FOLDS, trainers[kind])
    return found


def try_all(scores: Mapping[Kind, Scores], truth: dict[str, bool]) -> list[Trial]:
    """Every kind by itself, and every blend of several.

    Args:
        scores: kind -> video -> [T], raw and out of fold.
        truth: video -> whether abnormal.
    """
    units = {kind: _deviation(found, truth) for kind, found in scores.items()}
    trials = []
    for count in range(1, len(scores) + 1):
        for kinds in combinations(scores, count):
            weights = tuple(1 / units[kind] / count if count > 1 else 1.0 for kind in kinds)
            trial = Trial(kinds, weights, 0.0)
            videos = _of_videos(trial, scores, truth)
            trials.append(trial._replace(auc=float(roc_auc_score(list(truth.values()), videos))))
    return trials


def _of_videos(trial: Trial, scores: Mapping[Kind, Scores], videos: Iterable[str]) -> np.ndarray:
    """What ranks the videos: of each the mean of its highest tenth of snippets."""
    return np.array([highest_tenth(mix(trial, scores, video)) for video in videos])


def mix(trial: Trial, scores: Mapping[Kind, Scores], video: str) -> np.ndarray:
    """A video's scores [T] by what is tried, as its checkpoint would give them."""
    own = [torch.from_numpy(np.asarray(scores[kind][video], np.float32)) for kind in trial.kinds]
    return (own[0] if len(own) == 1 else add_odds(own, trial.weights)).numpy()


def _deviation(scores: Scores, truth: dict[str, bool]) -> float:
    """Of the log odds of normal snippets."""
    normal = torch.from_numpy(np.concatenate([scores[v] for v, abnormal in truth.items() if not abnormal]))
    return max(float(torch.logit(normal.double(), 1e-6).std(correction=0)), LEAST)


def _train_all(task: Task, folds: Folds | None, train: Callable[[Task], object]) -> Checkpoint:
    """A detector of one kind that has learned from all training videos, for as long as the folds say."""
    train(task.of_all(folds.steps) if folds else task)
    return load_checkpoint(task.run / "best.pt")


def _save(task: Task, parts: Mapping[str, Checkpoint], best: Trial, trials: Sequence[Trial]) -> None:
    first = next(iter(parts.values()))
    weights: dict[str, float] = dict(zip(best.kinds, best.weights, strict=True))
    model = Blend.of([part.build() for part in parts.values()], weights) if len(parts) > 1 else first.build()
    trees = {name: to_tree(getattr(task.settings, name)) for name in ("model", "train", "memory")}
    write_text(task.run / "config.yaml", to_yaml(trees))
    provenance = {
        "train_videos": sorted({video for part in parts.values() for video in part.videos("train")}),
        "val_videos": sorted({video for part in parts.values() for video in part.videos("val")}),
        "tried": [
            {**trial._asdict(), "kinds": list(trial.kinds), "weights": list(trial.weights)}
            for trial in trials
        ],
        "chosen": list(best.kinds),
        **{kind: part.provenance for kind, part in parts.items()},
    }
    save_checkpoint(task.run / "best.pt", Checkpoint.of(model, task.store.recipe, trees, provenance))
