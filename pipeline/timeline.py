"""timeline.png: a video's scores over time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from ssrl_pipeline.score import VideoScores


def save_timeline(path: Path, result: "VideoScores", truth: np.ndarray | None = None) -> None:
    """Draws the scores, and the anomalous frames where `truth` (bool [N]) is given."""
    figure = Figure(figsize=(10, 3), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    x = result.times if result.fps else np.arange(len(result.scores))
    if truth is not None:
        axes.fill_between(
            x, 0, 1, where=truth, step="post", color="tab:red", alpha=0.2, lw=0, label="ground truth"
        )
        axes.legend(loc="upper right")
    axes.fill_between(x, result.scores, step="post", color="tab:blue", alpha=0.15, lw=0)
    axes.step(x, result.scores, where="post", color="tab:blue", lw=1.2)
    peak = int(result.scores.argmax())
    where = f"{x[peak]:.1f} s, frame {peak}" if result.fps else f"frame {peak}"
    axes.set_title(
        f"{result.video.name}: highest score {result.scores[peak]:.2f} at {where}", loc="left", fontsize=10
    )
    axes.set(xlabel="time (s)" if result.fps else "frame", ylabel="anomaly score", ylim=(0, 1))
    axes.set_xlim(x[0], max(x[-1], x[0] + 1e-6))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
