"""Frame-level metrics of video anomaly detection.

Dimensions: N frames.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


class FrameMetrics(NamedTuple):
    """nan where the frames are all normal or all anomalous."""

    auc: float  # area under the ROC curve, frames of all videos pooled
    ap: float  # average precision, likewise
    abnormal_auc: float  # the same over the frames of abnormal videos alone
    abnormal_ap: float
    videos: int
    abnormal_videos: int
    frames: int
    anomalous_frames: int


def frame_metrics(scores: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> FrameMetrics:
    """Compares scores with ground truth.

    Args:
        scores: video -> float [N].
        truth: video -> bool [N]; an abnormal video is one with an anomalous frame.
    """
    videos = sorted(truth)
    abnormal = [video for video in videos if truth[video].any()]
    all_truth, all_scores = _pool(videos, truth), _pool(videos, scores)
    abnormal_truth, abnormal_scores = _pool(abnormal, truth), _pool(abnormal, scores)
    return FrameMetrics(
        auc=_defined(roc_auc_score, all_truth, all_scores),
        ap=_defined(average_precision_score, all_truth, all_scores),
        abnormal_auc=_defined(roc_auc_score, abnormal_truth, abnormal_scores),
        abnormal_ap=_defined(average_precision_score, abnormal_truth, abnormal_scores),
        videos=len(videos),
        abnormal_videos=len(abnormal),
        frames=len(all_truth),
        anomalous_frames=int(all_truth.sum()),
    )


def _pool(videos: list[str], values: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([values[video] for video in videos]) if videos else np.empty(0)


def _defined(metric: Callable[..., float], truth: np.ndarray, scores: np.ndarray) -> float:
    return float(metric(truth, scores)) if 0 < truth.sum() < len(truth) else float("nan")
