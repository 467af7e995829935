"""Stage two as a linear detector: logistic regression on the videos' mean pooled features, or motion.

    ssrl-pipeline train --model probe
    ssrl-pipeline train --model motion

Seconds, also for thousands of videos: each is read once, and of each one row is kept.

Dimensions: V videos, W pooled size (what :meth:`ssrl_pipeline.models.LinearProbe.pool` gives).
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data import Labels, check_videos, split_videos
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import LinearProbe, MotionDetector
from ssrl_pipeline.scales import MOTION, backbone_views
from ssrl_pipeline.scoring import in_chunks
from ssrl_pipeline.settings import TrainSettings
from ssrl_pipeline.training.run_folder import refuse_other_run

OF_FEATURES = 1e-3  # scikit-learn's C, of thousands of numbers (docs/training.md says why it is not chosen)
OF_MOTION = 1e-1  # of some dozens


class Rows(NamedTuple):
    """What a linear detector learns from."""

    bags: np.ndarray  # float64 [V, W], means over time
    abnormal: np.ndarray  # bool [V]


def train_probe(store: Features, labels: Labels, run: Path, settings: TrainSettings) -> Path:
    """:func:`train_linear` of a probe of the backbone's features."""
    model = LinearProbe(store.recipe["feature_size"], backbone_views(store.recipe))
    return train_linear(model, OF_FEATURES, store, labels, run, settings)


def train_motion(store: Features, labels: Labels, run: Path, settings: TrainSettings) -> Path:
    """:func:`train_linear` of a detector of motion; raises StoreError where the store has no motion."""
    if MOTION not in store.recipe["views"]:
        raise StoreError(
            f"{store.root}: has no view {MOTION!r}, which --model {MotionDetector.kind} learns from; extract "
            "with -o extract.motion=true into another store"
        )
    model = MotionDetector(store.recipe["views"][MOTION])
    return train_linear(model, OF_MOTION, store, labels, run, settings)


def train_linear(
    model: LinearProbe | MotionDetector,
    strength: float,
    store: Features,
    labels: Labels,
    run: Path,
    settings: TrainSettings,
) -> Path:
    """Fits a detector to the training videos; validation videos are kept from it, as from SSRL.

    Args:
        model: that knows nothing yet.
        strength: the inverse weight of the penalty, as scikit-learn's C.
        labels: videos without a split are training videos.
        run: the run's folder; gets config.yaml and best.pt.

    Returns:
        The checkpoint's path.

    Raises:
        PipelineError: as of :func:`split_videos`; the store lacks a video or holds features that are not
            finite; or the folder holds another model's run.
    """
    split = split_videos(labels, settings.val_fraction, settings.seed)
    check_videos(store, [*split.train, *split.val])
    refuse_other_run(run, model.kind)
    rows = read_rows(model, store, split.train)
    fit_rows(model, rows, strength)
    tree = {"train": {"seed": settings.seed, "val_fraction": settings.val_fraction}}
    write_text(run / "config.yaml", to_yaml({**tree, "model": {"kind": model.kind}}))
    provenance: dict[str, Any] = {
        "train_videos": list(split.train),
        "val_videos": list(split.val),
        "strength": strength,
    }
    settings_tree = {"train": to_tree(settings)}
    save_checkpoint(run / "best.pt", Checkpoint.of(model, store.recipe, settings_tree, provenance))
    return run / "best.pt"


def probe_summary(checkpoint: Checkpoint) -> str:
    """What it was fitted to, in one line."""
    known = checkpoint.provenance
    what = {LinearProbe.kind: "a linear probe of", MotionDetector.kind: "a detector of motion, of"}
    return f"{what[checkpoint.kind]} {len(known['train_videos'])} videos, C = {known['strength']:g}"


@torch.no_grad()
def read_rows(model: LinearProbe | MotionDetector, store: Features, videos: dict[str, bool]) -> Rows:
    """The mean of each of the videos (name -> whether abnormal) in units of normal snippets.

    These units the model learns here. One video after the other is read, some snippets at a time.
    """
    means = []

    def read() -> Iterator[torch.Tensor]:
        """The pooled snippets of normal videos."""
        for video, abnormal in videos.items():
            total, count = torch.zeros(model.linear.in_features, dtype=torch.float64), 0
            for views in in_chunks(model, store.read(video, model.views)):
                rows = model.pool({name: view[None] for name, view in views.items()})[0]
                total, count = total + rows.double().sum(dim=0), count + len(rows)
                if not abnormal:
                    yield rows
            if not total.isfinite().all():
                raise StoreError(f"{store.root}: features of {video!r} are not finite; extract it again")
            means.append(total / count)

    model.fit_scaling(read())
    return Rows(model.scaled(torch.stack(means)).numpy(), np.array(list(videos.values())))


@torch.no_grad()
def fit_rows(model: LinearProbe | MotionDetector, rows: Rows, strength: float) -> None:
    """Gives the model its weights."""
    coordinates, axes = _coordinates(rows.bags)
    fitted = _regression(coordinates, rows.abnormal, strength)
    model.linear.weight.copy_(torch.from_numpy(fitted.coef_ @ axes))
    model.linear.bias.copy_(torch.from_numpy(fitted.intercept_))
    model.eval()


def _coordinates(bags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[V, W] as [V, K] along K = min(V, W) orthogonal axes [K, W]: as good to a penalised fit, and small."""
    left, sizes, axes = np.linalg.svd(bags, full_matrices=False)
    return left * sizes, axes


def _regression(rows: np.ndarray, abnormal: np.ndarray, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no decision
        return LogisticRegression(C=strength, max_iter=500, class_weight="balanced").fit(rows, abnormal)
