"""Bootstrap intervals: how far a figure might lie from here with other videos of the same kind.

Frames of one video resemble each other, so what is drawn again, with
replacement, are whole videos: as many abnormal ones, and as many normal ones, as
there are (a stratified bootstrap, Efron and Tibshirani 1993). Videos of one group, a
camera or a source, resemble each other too: where groups are known, as many groups of
abnormal videos, and of normal ones, are drawn as there are, each whole. Of a class with
one group alone videos are drawn: what other cameras would show, nothing can tell then.
The interval holds the middle 95 % of the draws' figures.

A draw is a weight for each video, the times it was drawn, and with weights w
every figure is a sum over videos. The AUC, say, is

    sum_ij w_i w_j wins[i, j]  /  (sum_i w_i anomalous_i) (sum_j w_j normal_j)

where wins[i, j] counts the pairs of an anomalous frame of video i and a normal
frame of video j in which the first scores higher, ties as a half. So the frames
are ranked once for all draws, and the figures are exact.

Dimensions: R draws, V videos (the A abnormal ones first), K distinct scores.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from ssrl_pipeline.evaluation.metrics import (
    FIGURES,
    FrameValues,
    Threshold,
    check_scores,
    divide,
    threshold_of,
    video_frame_auc,
)
from ssrl_pipeline.events import THRESHOLD

LEVEL = 0.95
CHUNK = 1024  # distinct scores at a time: bounds the memory
NEEDS = {name: ("abnormal", "normal") for name in ("auc", "ap", "video_auc")} | {
    "abnormal_auc": ("abnormal",),
    "abnormal_ap": ("abnormal",),
    "within_auc": ("abnormal",),
    "false_alarm_rate": ("normal",),
}  # whose videos a figure is of


class Interval(NamedTuple):
    """nan where the figure is not defined, or rests on a single video of a kind, which shows no variation."""

    low: float
    high: float


def bootstrap_intervals(
    scores: FrameValues,
    truth: FrameValues,
    resamples: int = 1000,
    seed: int = 0,
    threshold: Threshold = THRESHOLD,
    groups: Mapping[str, str | None] | None = None,
) -> dict[str, Interval]:
    """95 % percentile intervals of what :func:`ssrl_pipeline.evaluation.metrics.frame_metrics` gives.

    Draws in which a figure is not defined do not count for it. The same
    arguments give the same intervals.

    Args:
        scores: video -> float [frames].
        truth: video -> bool [frames].
        resamples: R, 1 or more.
        threshold: of false alarms; or video -> its own.
        groups: video -> its group; None or missing: of one that no other video is of.

    Raises:
        PipelineError: scores that are missing, do not fit the truth, or are not finite.
    """
    rng = np.random.default_rng(seed)
    kinds = dict(zip(("abnormal", "normal"), divide(truth), strict=True))
    weights = draw_videos(kinds.values(), groups or {}, resamples, rng)
    intervals = {}
    for name, values in weighted_figures(scores, truth, weights, threshold).items():
        defined = values[np.isfinite(values)]
        if not len(defined) or any(len(kinds[kind]) == 1 for kind in NEEDS[name]):
            intervals[name] = Interval(np.nan, np.nan)
        else:
            low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            intervals[name] = Interval(float(low), float(high))
    return intervals


def draw_videos(
    classes: Iterable[list[str]],
    groups: Mapping[str, str | None],
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """int [R, V]: how often each video is drawn, of each class as many groups as there are.

    Args:
        classes: the videos of each, which stand one class after the other.
        groups: as of :func:`bootstrap_intervals`.
    """
    drawn = [_drawn(_units(videos, groups), resamples, rng) for videos in classes if videos]
    return np.concatenate(drawn, axis=1) if drawn else np.empty((resamples, 0))


def _units(videos: list[str], groups: Mapping[str, str | None]) -> np.ndarray:
    """int [videos]: what each is drawn with, numbered in order; with its group or, of only one, alone."""
    names = [(video, None) if (group := groups.get(video)) is None else (None, group) for video in videos]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names]) if len(numbers) > 1 else np.arange(len(videos))


def _drawn(units: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """int [R, videos]: how often each was drawn."""
    n = units.max() + 1
    return np.take(rng.multinomial(n, np.full(n, 1 / n), resamples), units, axis=1)


def weighted_figures(
    scores: FrameValues, truth: FrameValues, weights: np.ndarray, threshold: Threshold = THRESHOLD
) -> dict[str, np.ndarray]:
    """The figures of :data:`ssrl_pipeline.evaluation.metrics.FIGURES` with weighted videos.

    Args:
        weights: [R, V], zero or more, whole numbers where the result is to be
            exact; videos in the order of :func:`ssrl_pipeline.evaluation.metrics.divide`,
            abnormal ones first.

    Returns:
        Figure -> float64 [R], nan where it is not defined.
    """
    check_scores(scores, truth)
    abnormal, normal = divide(truth)
    videos, a = [*abnormal, *normal], len(abnormal)
    w = weights.astype(np.float64)
    anomalous = [np.sort(scores[video][truth[video]]) for video in abnormal]
    ordinary = [np.sort(scores[video][~truth[video]]) for video in videos]
    p = np.array([len(values) for values in anomalous], np.float64)  # [A]
    n = np.array([len(values) for values in ordinary], np.float64)  # [V]
    wins, precisions = _compared(anomalous, ordinary, w)
    peaks = np.array([scores[video].max() for video in videos])
    better = (peaks[:a, None] > peaks[a:]) + 0.5 * (peaks[:a, None] == peaks[a:])  # [A, V - A]
    false = np.array([np.count_nonzero(scores[video] >= threshold_of(threshold, video)) for video in normal])
    within = np.array([video_frame_auc(scores[video], truth[video]) for video in abnormal])
    mixed = np.isfinite(within)
    with np.errstate(invalid="ignore"):  # 0 / 0: not defined
        hits_of_all, normal_of_all, normal_of_abnormal = w[:, :a] @ p, w @ n, w[:, :a] @ n[:a]
        figures = {
            "auc": _bilinear(w[:, :a], wins, w) / (hits_of_all * normal_of_all),
            "ap": np.where(normal_of_all > 0, precisions[0] / hits_of_all, np.nan),
            "abnormal_auc": _bilinear(w[:, :a], wins[:, :a], w[:, :a]) / (hits_of_all * normal_of_abnormal),
            "abnormal_ap": np.where(normal_of_abnormal > 0, precisions[1] / hits_of_all, np.nan),
            "within_auc": w[:, :a][:, mixed] @ within[mixed] / w[:, :a][:, mixed].sum(1),
            "video_auc": _bilinear(w[:, :a], better, w[:, a:]) / (w[:, :a].sum(1) * w[:, a:].sum(1)),
            "false_alarm_rate": w[:, a:] @ false / (w[:, a:] @ n[a:]),
        }
    return {name: figures[name] for name in FIGURES}


def _compared(
    anomalous: list[np.ndarray], ordinary: list[np.ndarray], w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each anomalous frame compared with all others.

    Args:
        anomalous: sorted scores of the anomalous frames of each abnormal video, A of them.
        ordinary: of the normal frames of each video, V of them.
        w: weights float64 [R, V].

    Returns:
        [A, V], how often an anomalous frame of the one scores more than a normal frame of the other;
        [2, R], precisions summed over the anomalous frames, among all videos and among abnormal ones.
    """
    a = len(anomalous)
    wins, precisions = np.zeros((a, len(ordinary))), np.zeros((2, len(w)))
    for i, own in enumerate(anomalous):
        values, counts = np.unique(own, return_counts=True)
        drawn = w[:, i] > 0
        for start in range(0, len(values), CHUNK):
            s, count = values[start : start + CHUNK], counts[start : start + CHUNK]  # [K]
            below = _ranks(ordinary, s, "left")  # [V, K]: normal frames that score less than s
            wins[i] += (below + _ranks(ordinary, s, "right")) / 2 @ count
            hits = w[drawn, :a] @ _above(anomalous, _ranks(anomalous, s, "left"))  # [R', K]: of at least s
            alarms = _above(ordinary, below)
            for row, v in enumerate((len(ordinary), a)):
                precision = hits / (hits + w[drawn, :v] @ alarms[:v])
                precisions[row, drawn] += w[drawn, i] * (precision @ count)
    return wins, precisions


def _above(ordered: list[np.ndarray], below: np.ndarray) -> np.ndarray:
    """[videos, K]: how many of a video's scores do not lie below."""
    return np.array([len(row) for row in ordered], np.float64)[:, None] - below


def _ranks(ordered: list[np.ndarray], values: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """float64 [videos, K]: how many of a video's scores lie below each value ("right": or equal it)."""
    return np.array([np.searchsorted(row, values, side) for row in ordered], np.float64)


def _bilinear(left: np.ndarray, matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x^T M y for every row x of `left` and y of `right`: [R, A], [A, V], [R, V] -> [R]."""
    return np.asarray(((left @ matrix) * right).sum(axis=1))
