"""The same training with several seeds: how much of a figure is luck.

ssrl-pipeline train --name first --seeds 0 1 2
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data import Intervals, Labels
from ssrl_pipeline.evaluation import evaluate_checkpoint
from ssrl_pipeline.features import Features
from ssrl_pipeline.training.group import Group


class SeedRun(NamedTuple):
    """One seed's run; a figure is None where there is nothing to measure it by."""

    seed: int
    best: Path
    val_loss: float | None
    auc: float | None  # over the frames of the test videos
    abnormal_auc: float | None  # over those of abnormal test videos alone


class SeedRuns(NamedTuple):
    runs: list[SeedRun]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Mean and deviation (of the sample, n - 1) of each figure over the seeds."""
        names = ("val_loss", "auc", "abnormal_auc")
        figures = {name: [getattr(run, name) for run in self.runs] for name in names}
        known = {name: [] if None in values else values for name, values in figures.items()}
        return {
            "mean": {name: float(np.mean(v)) if v else None for name, v in known.items()},
            "deviation": {
                name: float(np.std(v, ddof=1)) if len(v) > 1 else None for name, v in known.items()
            },
        }


def train_seeds(
    seeds: Sequence[int],
    fit: Callable[[Path, int], Path],
    run: Path,
    store: Features,
    labels: Labels,
    group: Group,
    intervals: Intervals | None = None,
) -> SeedRuns:
    """Trains in run/seedN for each seed N.

    Where `intervals` are given and the labels name test videos, each run's best
    checkpoint is also measured on these, in the main process.

    Args:
        fit: trains in a folder with a seed and gives the best checkpoint's path.
    """
    runs = []
    for seed in seeds:
        best = fit(run / f"seed{seed}", seed)
        if not group.is_main:
            continue
        checkpoint = load_checkpoint(best)
        auc = abnormal_auc = None
        if intervals is not None and any(label.split == "test" for label in labels.values()):
            judged = evaluate_checkpoint(checkpoint, store, labels, intervals, "test", group.device)
            judged.save(best.parent / "evaluation-test", best)
            auc, abnormal_auc = judged.metrics.auc, judged.metrics.abnormal_auc
        runs.append(SeedRun(seed, best, checkpoint.provenance.get("val_loss"), auc, abnormal_auc))
    return SeedRuns(runs)
