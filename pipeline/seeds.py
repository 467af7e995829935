"""The same training with several seeds: how much of a figure is luck.

ssrl-pipeline train --name first --seeds 0 1 2
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.distributed import Group
from ssrl_pipeline.evaluate import evaluate
from ssrl_pipeline.labels import Intervals, Labels
from ssrl_pipeline.released import Features
from ssrl_pipeline.run_folder import Evaluation
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.train import train


class SeedRun(NamedTuple):
    """One seed's run; a figure is None where there is nothing to measure it by."""

    seed: int
    best: Path
    step: int  # of the best checkpoint
    val_loss: float | None
    auc: float | None  # over the frames of the test videos
    abnormal_auc: float | None  # over those of abnormal test videos alone


class SeedRuns(NamedTuple):
    runs: list[SeedRun]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Mean and deviation (of the sample, n - 1) of each figure over the seeds."""
        figures = {
            name: [getattr(run, name) for run in self.runs] for name in ("val_loss", "auc", "abnormal_auc")
        }
        known = {name: [] if None in values else values for name, values in figures.items()}
        return {
            "mean": {name: float(np.mean(v)) if v else None for name, v in known.items()},
            "deviation": {
                name: float(np.std(v, ddof=1)) if len(v) > 1 else None for name, v in known.items()
            },
        }


def train_seeds(
    seeds: Sequence[int],
    store: Features,
    labels: Labels,
    run: Path,
    model_settings: ModelSettings,
    settings: TrainSettings,
    group: Group,
    report: Callable[[Evaluation], object] = lambda evaluation: None,
    intervals: Intervals | None = None,
) -> SeedRuns:
    """Trains in run/seedN for each seed N; arguments and errors are those of :func:`train`.

    Where `intervals` are given and the labels name test videos, each run's best
    checkpoint is also measured on these, in the main process.
    """
    runs = []
    for seed in seeds:
        seeded = dataclasses.replace(settings, seed=seed)
        result = train(store, labels, run / f"seed{seed}", model_settings, seeded, group, report, intervals)
        if not group.is_main:
            continue
        checkpoint = load_checkpoint(result.best)
        auc = abnormal_auc = None
        if intervals is not None and any(label.split == "test" for label in labels.values()):
            judged = evaluate(checkpoint, store, labels, intervals, "test", group.device)
            judged.save(result.best.parent / "evaluation-test", result.best)
            auc, abnormal_auc = judged.metrics.auc, judged.metrics.abnormal_auc
        known = checkpoint.provenance
        runs.append(SeedRun(seed, result.best, known["step"], known["val_loss"], auc, abnormal_auc))
    return SeedRuns(runs)
