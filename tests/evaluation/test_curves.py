"""The drawn curves: the area below each is the figure in its legend."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from ssrl_pipeline.evaluation.bootstrap import Interval
from ssrl_pipeline.evaluation.curves import save_pr, save_roc
from ssrl_pipeline.evaluation.metrics import frame_metrics

Values = dict[str, np.ndarray]


@pytest.fixture
def videos() -> tuple[Values, Values]:
    rng = np.random.default_rng(0)
    truth = {f"a{i}": np.arange(60) // 20 == 1 for i in range(3)} | {"n": np.zeros(50, bool)}
    scores = {video: np.round((rng.random(len(t)) + t) / 2, 2) for video, t in truth.items()}
    return scores, truth


def curve(figure: Figure, start: str) -> tuple[Line2D, str]:
    """The curve whose name in the legend starts so, and the whole name."""
    (line,) = [line for line in figure.axes[0].lines if str(line.get_label()).startswith(start)]
    return line, str(line.get_label())


def test_the_area_below_each_curve_is_its_figure(
    drawn: list[Figure], videos: tuple[Values, Values], tmp_path: Path
) -> None:
    scores, truth = videos
    metrics = frame_metrics(scores, truth)
    spread = {"auc": Interval(0.125, 0.875), "abnormal_ap": Interval(math.nan, math.nan)}
    save_roc(tmp_path / "roc.png", scores, truth, metrics, spread)
    save_pr(tmp_path / "pr.png", scores, truth, metrics, spread)
    for start, chosen in (("all videos (4)", "a0 a1 a2 n"), ("abnormal videos alone (3)", "a0 a1 a2")):
        y, s = (np.concatenate([values[v] for v in chosen.split()]) for values in (truth, scores))
        line, name = curve(drawn[0], start)
        assert auc(line.get_xdata(), line.get_ydata()) == pytest.approx(roc_auc_score(y, s))
        assert f"AUC {roc_auc_score(y, s):.3f}" in name
        assert ("(95 %: 0.125 to 0.875)" in name) == ("all" in name)

        line, name = curve(drawn[1], start)
        assert line.get_drawstyle() == "steps-post"  # from each point to the right at its height
        x, height = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert (x[:-1] - x[1:]) @ height[:-1] == pytest.approx(average_precision_score(y, s))
        assert f"AP {average_precision_score(y, s):.3f}; chance {y.mean():.2f}" in name
    for name in ("roc.png", "pr.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert min(picture.shape[:2]) > 600
        assert picture.std() > 5
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert [text.split()[0] for text in legend] == ["all", "abnormal", "chance:"]


@pytest.mark.parametrize("save", [save_roc, save_pr])
def test_without_anomalous_frames_there_is_no_curve(save: Any, drawn: list[Figure], tmp_path: Path) -> None:
    scores, truth = {"n": np.array([0.5, 0.2])}, {"n": np.zeros(2, bool)}
    save(tmp_path / "picture.png", scores, truth, frame_metrics(scores, truth), {})
    for start in ("all videos (1)", "abnormal videos alone (0)"):
        line, name = curve(drawn[0], start)
        assert len(np.asarray(line.get_xdata())) == 0
        assert name.endswith("not defined")
