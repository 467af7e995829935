"""roc.png and pr.png: the curves behind AUC and average precision.

Each shows the frames of all videos, and those of the abnormal videos alone.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from ssrl_pipeline.evaluation.bootstrap import Interval
from ssrl_pipeline.evaluation.metrics import FrameMetrics, FrameValues, divide, pool


class _Frames(NamedTuple):
    name: str
    figures: str  # what the figures of these frames begin with in FrameMetrics
    truth: np.ndarray  # bool [N]
    scores: np.ndarray  # float [N]
    colour: str
    width: float  # the lower curve is the wider one: it shows where they coincide


def save_roc(
    path: Path,
    scores: FrameValues,
    truth: FrameValues,
    metrics: FrameMetrics,
    intervals: Mapping[str, Interval],
) -> None:
    """Draws the true positive rate over the false positive rate.

    Args:
        scores: video -> float [N].
        truth: video -> bool [N].
        metrics: of these.
        intervals: by figure, as far as known; they stand in the legend.
    """
    figure, axes = _square("ROC of frames", "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color="grey", ls="--", lw=1, label="chance: AUC 0.5")
    for group in _groups(scores, truth):
        label = _label(group, "auc", metrics, intervals)
        false, true = [], []
        if _has_both(group.truth):
            false, true, _ = roc_curve(group.truth, group.scores)
        axes.plot(false, true, color=group.colour, lw=group.width, label=label)
    _finish(figure, path)


def save_pr(
    path: Path,
    scores: FrameValues,
    truth: FrameValues,
    metrics: FrameMetrics,
    intervals: Mapping[str, Interval],
) -> None:
    """Draws precision over recall, and as a dashed line chance, the share of anomalous frames.

    The area below a curve is the average precision: it falls in steps, since
    precision between two thresholds is not interpolated. Arguments are those of
    :func:`save_roc`.
    """
    figure, axes = _square("Precision and recall of frames", "recall", "precision")
    for group in _groups(scores, truth):
        label = _label(group, "ap", metrics, intervals)
        recall, precision = [], []
        if _has_both(group.truth):
            precision, recall, _ = precision_recall_curve(group.truth, group.scores, drop_intermediate=True)
            chance = float(group.truth.mean())
            axes.axhline(chance, color=group.colour, ls="--", lw=1, alpha=0.7)
            label += f"; chance {chance:.2f}"
        # Recall falls along the arrays: each step has the precision of the threshold that reaches it.
        axes.step(recall, precision, where="post", color=group.colour, lw=group.width, label=label)
    _finish(figure, path)


def _groups(scores: FrameValues, truth: FrameValues) -> Iterator[_Frames]:
    everything, (abnormal, _) = sorted(truth), divide(truth)
    alone = f"abnormal videos alone ({len(abnormal)})"
    yield _Frames(alone, "abnormal_", pool(abnormal, truth), pool(abnormal, scores), "tab:orange", 3.2)
    everyone = f"all videos ({len(everything)})"
    yield _Frames(everyone, "", pool(everything, truth), pool(everything, scores), "tab:blue", 1.5)


def _label(group: _Frames, figure: str, metrics: FrameMetrics, intervals: Mapping[str, Interval]) -> str:
    key = group.figures + figure
    value, interval = getattr(metrics, key), intervals.get(key)
    if value != value:
        return f"{group.name}: {figure.upper()} not defined"
    text = f"{group.name}: {figure.upper()} {value:.3f}"
    if interval is None or interval.low != interval.low:
        return text
    return f"{text} (95 %: {interval.low:.3f} to {interval.high:.3f})"


def _has_both(truth: np.ndarray) -> bool:
    return bool(0 < truth.sum() < len(truth))


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.8, 6.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(figure: Figure, path: Path) -> None:
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, reverse=True)
    figure.savefig(path, format="png")
