"""Figures of video anomaly detection, as the field reports them; scikit-learn computes them.

Frames of all videos are pooled where nothing else is said. An abnormal video is
one with an anomalous frame.

    auc                frame AUC: Sultani et al. 2018 (UCF-Crime), RTFM, SSRL
    ap                 frame AP: Wu et al. 2020 (XD-Violence)
    abnormal_auc, _ap  frames of abnormal videos alone ("Ano-AUC", "AUC_A"): when, not only in which video
    within_auc         mean of the AUC within each abnormal video that holds normal frames too:
                       the macro AUC of Georgescu et al. 2021, over the videos where it is defined
    video_auc          AUC of whole videos, each by its highest score
    false_alarm_rate   share of the frames of normal videos that score at least the threshold;
                       Sultani et al. and RTFM use 0.5

Dimensions: N frames.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import THRESHOLD

FrameValues = Mapping[str, np.ndarray]  # video -> [N], scores or ground truth
Classes = Mapping[str, str | tuple[str, ...]]  # video -> the class of its anomaly, or several


Threshold = float | Mapping[str, float]  # of all videos, or video -> that of its camera


class FrameMetrics(NamedTuple):
    """Figures (see above), nan where they are not defined; then what they were counted over."""

    auc: float
    ap: float
    abnormal_auc: float
    abnormal_ap: float
    within_auc: float
    video_auc: float
    false_alarm_rate: float
    threshold: float  # of the false alarms; nan where videos have different ones
    videos: int
    abnormal_videos: int
    within_videos: int  # with both anomalous and normal frames
    frames: int
    anomalous_frames: int


FIGURES = FrameMetrics._fields[:7]


class ClassMetrics(NamedTuple):
    """One class of anomalies: its abnormal videos against all normal videos, frames pooled."""

    auc: float
    videos: int  # abnormal ones of the class
    frames: int  # of these videos
    anomalous_frames: int


def frame_metrics(scores: FrameValues, truth: FrameValues, threshold: Threshold = THRESHOLD) -> FrameMetrics:
    """Compares scores with ground truth.

    Args:
        scores: video -> float [N].
        truth: video -> bool [N].
        threshold: frames of normal videos that score as much are false alarms; or video -> its own.

    Raises:
        PipelineError: a video has no scores, another number of them than of
            frames, or one that is not finite.
    """
    check_scores(scores, truth)
    abnormal, normal = divide(truth)
    mixed = [video for video in abnormal if not truth[video].all()]
    all_truth, all_scores = pool(truth, truth), pool(truth, scores)
    abnormal_truth, abnormal_scores = pool(abnormal, truth), pool(abnormal, scores)
    peaks = np.array([scores[video].max() for video in truth])
    labels = np.array([truth[video].any() for video in truth], bool)
    limits = {video: np.full(len(truth[video]), threshold_of(threshold, video)) for video in normal}
    return FrameMetrics(
        auc=_defined(roc_auc_score, all_truth, all_scores),
        ap=_defined(average_precision_score, all_truth, all_scores),
        abnormal_auc=_defined(roc_auc_score, abnormal_truth, abnormal_scores),
        abnormal_ap=_defined(average_precision_score, abnormal_truth, abnormal_scores),
        within_auc=_mean([video_frame_auc(scores[video], truth[video]) for video in mixed]),
        video_auc=_defined(roc_auc_score, labels, peaks),
        false_alarm_rate=_mean(pool(normal, scores) >= pool(normal, limits)),
        threshold=one_threshold(threshold),
        videos=len(truth),
        abnormal_videos=len(abnormal),
        within_videos=len(mixed),
        frames=len(all_truth),
        anomalous_frames=int(all_truth.sum()),
    )


def threshold_of(threshold: Threshold, video: str) -> float:
    return threshold if isinstance(threshold, float | int) else threshold[video]


def one_threshold(threshold: Threshold) -> float:
    """That of all videos; nan where they have different ones."""
    known = {threshold} if isinstance(threshold, float | int) else set(threshold.values())
    return known.pop() if len(known) == 1 else np.nan


def class_metrics(scores: FrameValues, truth: FrameValues, classes: Classes) -> dict[str, ClassMetrics]:
    """One row for each class of anomalies, by name.

    Normal videos have no class: those of the whole set stand against every
    class, so the classes' figures compare with each other and with `auc`.

    Args:
        classes: video -> its class, or several, to each of which it counts
            (XD-Violence). Normal videos and those of other splits may be in
            it, and abnormal ones without a class may be missing.

    Raises:
        PipelineError: as :func:`frame_metrics` does.
    """
    check_scores(scores, truth)
    _, normal = divide(truth)
    found = {}
    for name, videos in videos_by_class(truth, classes).items():
        against, own = [*videos, *normal], pool(videos, truth)
        found[name] = ClassMetrics(
            auc=_defined(roc_auc_score, pool(against, truth), pool(against, scores)),
            videos=len(videos),
            frames=len(own),
            anomalous_frames=int(own.sum()),
        )
    return found


def videos_by_class(truth: FrameValues, classes: Classes) -> dict[str, list[str]]:
    """Class -> its abnormal videos, both in order of their names."""
    found: dict[str, list[str]] = {}
    for video in divide(truth)[0]:
        kinds = classes.get(video, ())
        for kind in (kinds,) if isinstance(kinds, str) else kinds:
            found.setdefault(kind, []).append(video)
    return dict(sorted(found.items()))


def divide(truth: FrameValues) -> tuple[list[str], list[str]]:
    """(abnormal, normal) videos, each in order of their names."""
    abnormal = [video for video in sorted(truth) if truth[video].any()]
    return abnormal, [video for video in sorted(truth) if not truth[video].any()]


def pool(videos: Sequence[str] | FrameValues, values: FrameValues) -> np.ndarray:
    """The frames of several videos, one after the other."""
    return np.concatenate([values[video] for video in videos]) if videos else np.empty(0)


def highest_tenth(scores: np.ndarray, least: int = 3) -> float:
    """A video's score where detectors are compared: mean of the highest tenth of [T] scores.

    Args:
        least: so many scores count, where there are as many.

    The one highest of a short clip is mostly chance: of VioPeru's training clips (5 snippets), out of fold, a
    probe ranks by it with an AUC of 0.926, by three with 0.932; the memory 0.761 and 0.787.
    """
    return float(np.sort(scores)[-max(least, len(scores) // 10) :].mean())


def video_frame_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    return _defined(roc_auc_score, truth, scores)


def check_scores(scores: FrameValues, truth: FrameValues) -> None:
    for video, frames in truth.items():
        if video not in scores:
            raise PipelineError(f"{video}: has ground truth, but no scores; score it, or leave it out")
        if scores[video].shape != frames.shape or not len(frames):
            raise PipelineError(
                f"{video}: {scores[video].shape} scores do not fit ground truth of {frames.shape} frames; "
                "every frame has one of each"
            )
        if not np.isfinite(scores[video]).all():
            frame = int(np.flatnonzero(~np.isfinite(scores[video]))[0])
            raise PipelineError(
                f"{video}: the score of frame {frame} is {scores[video][frame]}, which cannot be ranked; "
                "the features or the model that gave it are damaged"
            )


def _defined(metric: Callable[..., float], truth: np.ndarray, scores: np.ndarray) -> float:
    return float(metric(truth, scores)) if 0 < truth.sum() < len(truth) else float("nan")


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
