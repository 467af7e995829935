"""A checkpoint's scores of stored videos against frame-level ground truth.

ssrl-pipeline evaluate --checkpoint runs/first/best.pt
"""

from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.labels import Intervals, Labels, frame_labels
from ssrl_pipeline.metrics import FrameMetrics, frame_metrics
from ssrl_pipeline.score import frame_scores, score_snippets
from ssrl_pipeline.splits import check_videos
from ssrl_pipeline.store import FeatureStore, require_same_recipe


class EvaluationResult(NamedTuple):
    metrics: FrameMetrics
    scores: dict[str, np.ndarray]  # video -> float32 [N]
    truth: dict[str, np.ndarray]  # video -> bool [N]


def evaluate(
    checkpoint: Checkpoint,
    store: FeatureStore,
    labels: Labels,
    intervals: Intervals,
    split: str,
    device: torch.device,
) -> EvaluationResult:
    """Scores the videos of a split and compares every frame with the ground truth.

    Args:
        split: train, val or test, as in the labels.

    Raises:
        LabelError: the split has no videos, or intervals and labels contradict each other.
        StoreError: the store lacks a video, or its recipe is not the checkpoint's.
    """
    require_same_recipe(checkpoint.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    chosen = {video: label for video, label in labels.items() if label.split == split}
    if not chosen:
        raise LabelError(
            f"no video is labelled as of split {split!r}; give labels.csv a column split (train, val, test)"
        )
    check_videos(store, list(chosen))
    unknown = sorted(set(intervals) - set(labels))
    if unknown:
        raise LabelError(f"anomalous intervals name {unknown[0]!r}, which the labels do not know")
    model = checkpoint.build().to(device)
    scores, truth = {}, {}
    for video, label in chosen.items():
        frames = store.meta(video).frames
        truth[video] = frame_labels(video, label, intervals, frames)
        scores[video] = frame_scores(score_snippets(video, model, store.read(video), device), frames)
    return EvaluationResult(frame_metrics(scores, truth), scores, truth)
