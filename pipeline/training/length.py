"""How long a training is and how large its batches are, where the settings leave that to the videos.

Steps are a bound: validation ends a stage that gets no better, and its best checkpoint counts. Where there
are too few videos for that (:func:`split_for`), a cross-validation finds the length, and all videos are
learned from (:func:`ssrl_pipeline.training.held_out.best_steps`). Of very few, what it finds is too long: an
SSRL without a probe's evidence, as in a blend, then takes the usual number of steps.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline import checkpoint as checkpoints
from ssrl_pipeline.data import FEWEST_TO_DRAW_FROM, Labels, Split, split_videos, training_videos
from ssrl_pipeline.errors import CheckpointError, ConfigError
from ssrl_pipeline.features import Features
from ssrl_pipeline.settings import LossSettings, TrainSettings

MOST_SEGMENTS = 32  # of a bag; the paper's number
LONGEST = 1000  # steps
FEWEST_TO_JUDGE = 200  # videos of either class, of which a share finds the length (docs/training.md)
FEWEST_TO_FIND = 20  # videos of either class, of which folds can find it (docs/training.md)
USUAL = 100  # steps, where nothing can tell a better length
PATIENCE = 8  # evaluations
VIDEOS_A_BAG = 8  # so many training videos for each normal bag of a batch, as long as that is
BATCH = (4, 16)  # bags at least, and at most
EVERY = (25, 100)  # steps between two evaluations at least, and at most; an epoch in between
LEFT = ("batch_size", "steps", "evaluate_every", "patience")  # settings that may be left to the videos


def split_for(labels: Labels, settings: TrainSettings, fewest: int = FEWEST_TO_JUDGE) -> Split:
    """The videos to learn from, and those to choose the best checkpoint by.

    Where these also find the length, more are asked for: what some twenty clips find best is mostly chance,
    and the detector would miss what it could have learned from them. Where none are kept for that, a
    training is given its length, and learns from all.

    Args:
        fewest: videos of either class, of which a share is kept to find the length.

    Raises:
        LabelError: as :func:`ssrl_pipeline.data.split_videos`.
    """
    finds_length = settings.steps is None and settings.schedule == "joint" and settings.select_on == "val"
    least = fewest if finds_length else FEWEST_TO_DRAW_FROM
    return split_videos(labels, settings.val_fraction, settings.seed, least)


def fewest_of_a_class(labels: Labels) -> int:
    """Videos to learn from of the class that has fewer."""
    classes = list(training_videos(labels).values())
    return min(map(classes.count, (False, True)))


def fitted(settings: TrainSettings, split: Split, run: Path, processes: int) -> TrainSettings:
    """The settings with nothing left open.

    A run that has begun keeps the numbers that it began with, those of versions before, too.

    Args:
        run: its folder.
        processes: that share each batch.
    """
    if begun := begun_with(run):
        kept = {name: begun[name] for name in LEFT if getattr(settings, name) is None and name in begun}
        if settings.loss.correction == LossSettings.correction:  # whose default versions differ about
            correction = begun["loss"].get("correction", 0.0)
            kept["loss"] = dataclasses.replace(settings.loss, correction=correction)
        settings = dataclasses.replace(settings, **kept)
    parts = settings.accumulate * processes
    batch = settings.batch_size or _multiple(_within(BATCH, len(split.train) / VIDEOS_A_BAG), parts)
    most = max(list(split.train.values()).count(kind) for kind in (False, True))
    every, steps, patience = settings.evaluate_every, settings.steps, settings.patience
    if steps is None:
        judged = bool(split.val) or settings.select_on == "test"
        steps = LONGEST if judged else USUAL
        patience = patience or (PATIENCE if judged else None)
    return dataclasses.replace(
        settings,
        batch_size=batch,
        evaluate_every=every or _within(EVERY, most / batch),
        steps=steps,
        patience=patience,
    )


def begun_with(run: Path, section: str = "train") -> dict[str, Any] | None:
    """The settings, of training or of the "model", of a run that has begun; None: it has not."""
    if not (run / "last.pt").is_file():
        return None
    try:
        return dict(checkpoints.load(run / "last.pt")["identity"][section])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run / 'last.pt'}: damaged ({error}); delete it") from error


def usual_length(store: Features, split: Split) -> int:
    """Segments per bag: the median number of snippets of the training videos, 32 at most."""
    lengths = [store.meta(video).snippets for video in split.train]
    return max(1, min(MOST_SEGMENTS, int(np.median(lengths))))


def check_shares(settings: TrainSettings, processes: int) -> tuple[int, int, int]:
    """Raises ConfigError where a batch cannot be shared equally among the processes.

    Returns:
        Bags of either kind, steps and steps between two evaluations; usual ones where they are left open.
    """
    parts = settings.accumulate * processes
    batch = settings.batch_size or parts
    if batch % parts:
        raise ConfigError(
            f"train.batch_size: {batch} bags of either kind cannot be shared equally among "
            f"{processes} processes in {settings.accumulate} parts; make it a multiple of {parts}"
        )
    steps = LONGEST if settings.steps is None else settings.steps
    return batch, steps, settings.evaluate_every or EVERY[0]


def _within(bounds: tuple[int, int], wanted: float) -> int:
    least, most = bounds
    return min(most, max(least, round(wanted)))


def _multiple(number: int, of: int) -> int:
    """The nearest multiple that is no smaller."""
    return -(-number // of) * of
