"""Frame-level metrics against values worked out by hand."""

import math

import numpy as np
import pytest

from ssrl_pipeline.metrics import FrameMetrics, frame_metrics


def metrics(**videos: tuple[list[float], list[int]]) -> FrameMetrics:
    """video=(scores, truth)."""
    scores = {video: np.array(s, np.float32) for video, (s, _) in videos.items()}
    truth = {video: np.array(t, bool) for video, (_, t) in videos.items()}
    return frame_metrics(scores, truth)


# AUC: the share of (anomalous, normal) pairs in the right order, ties counting a half.
# AP: over the thresholds from above, the sum of (gain in recall) x (precision there).
@pytest.mark.parametrize(
    ("scores", "truth", "auc", "ap"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 3 / 4, 1 / 2 * 1 + 1 / 2 * 2 / 3),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1, 1),
        ([0.1, 0.4, 0.8, 0.9], [1, 1, 0, 0], 0, 1 / 2 * 1 / 3 + 1 / 2 * 2 / 4),
        ([0.5, 0.5, 0.2, 0.9], [0, 1, 0, 1], 3.5 / 4, 1 / 2 * 1 + 1 / 2 * 2 / 3),
        ([0.3, 0.3, 0.3, 0.3, 0.3], [0, 1, 0, 0, 1], 1 / 2, 2 / 5),
        ([0.7, 0.7, 0.1], [1, 0, 0], 1.5 / 2, 1 / 2),
        (
            [0.2, 0.9, 0.9, 0.9, 0.2],
            [1, 1, 0, 0, 0],
            (1 + 0.5 + 0.5 + 0 + 0 + 0.5) / 6,
            1 / 2 / 3 + 1 / 2 * 2 / 5,
        ),
    ],
)
def test_one_video(scores: list[float], truth: list[int], auc: float, ap: float) -> None:
    found = metrics(a=(scores, truth))
    assert found.auc == pytest.approx(auc)
    assert found.ap == pytest.approx(ap)
    assert (found.abnormal_auc, found.abnormal_ap) == (found.auc, found.ap)  # the one video is abnormal


def test_frames_of_all_videos_are_pooled() -> None:
    found = metrics(a=([0.9, 0.6], [1, 0]), b=([0.5, 0.1], [1, 0]), n=([0.7, 0.2, 0.1], [0, 0, 0]))
    # 0.9 beats all five normal frames; 0.5 all but 0.6 and 0.7.
    assert found.auc == pytest.approx((5 + 3) / 10)
    assert found.ap == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    # Without n: 0.9 beats both, 0.5 one of two. The mean over videos would be 1.
    assert found.abnormal_auc == pytest.approx(3 / 4)
    assert found.abnormal_ap == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert (found.videos, found.abnormal_videos, found.frames, found.anomalous_frames) == (3, 2, 7, 2)


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_one_class_alone_has_no_metric(truth: list[int]) -> None:
    found = metrics(a=([0.1, 0.2, 0.3], truth))
    assert all(math.isnan(value) for value in found[:4])
    assert (found.frames, found.anomalous_frames) == (3, sum(truth))


def test_abnormal_videos_that_are_anomalous_throughout_have_no_metric_of_their_own() -> None:
    found = metrics(a=([0.8, 0.9], [1, 1]), n=([0.1, 0.85], [0, 0]))
    assert found.auc == pytest.approx(3 / 4)
    assert math.isnan(found.abnormal_auc)
    assert math.isnan(found.abnormal_ap)


def test_no_videos_have_no_metric() -> None:
    found = frame_metrics({}, {})
    assert all(math.isnan(value) for value in found[:4])
    assert found[4:] == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_ordered_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, 60) / 8  # many ties
    truth = rng.random(60) < 0.3
    pairs = [(a > n) + 0.5 * (a == n) for a in scores[truth] for n in scores[~truth]]
    assert metrics(a=(scores.tolist(), truth.tolist())).auc == pytest.approx(float(np.mean(pairs)))


def test_order_of_videos_does_not_matter() -> None:
    first = metrics(a=([0.9, 0.6], [1, 0]), n=([0.7, 0.2, 0.1], [0, 0, 0]))
    second = metrics(n=([0.7, 0.2, 0.1], [0, 0, 0]), a=([0.9, 0.6], [1, 0]))
    assert first == second
    assert first.auc == 1
