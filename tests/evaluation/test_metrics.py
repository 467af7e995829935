"""Figures against values worked out by hand."""

import math
import re

import numpy as np
import pytest

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.metrics import FIGURES, FrameMetrics, class_metrics, frame_metrics

Videos = dict[str, tuple[list[float], list[int]]]  # video -> (scores, truth)


def arrays(videos: Videos) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    scores = {video: np.array(s, np.float32) for video, (s, _) in videos.items()}
    return scores, {video: np.array(t, bool) for video, (_, t) in videos.items()}


def metrics(threshold: float = 0.5, **videos: tuple[list[float], list[int]]) -> FrameMetrics:
    """video=(scores, truth)."""
    return frame_metrics(*arrays(videos), threshold)


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
    ranked = [getattr(found, name) for name in FIGURES if name != "false_alarm_rate"]
    assert all(math.isnan(value) for value in ranked)
    assert math.isnan(found.false_alarm_rate) == all(truth)
    assert (found.frames, found.anomalous_frames) == (3, sum(truth))


def test_abnormal_videos_that_are_anomalous_throughout_have_no_metric_of_their_own() -> None:
    found = metrics(a=([0.8, 0.9], [1, 1]), n=([0.1, 0.85], [0, 0]))
    assert found.auc == pytest.approx(3 / 4)
    assert math.isnan(found.abnormal_auc)
    assert math.isnan(found.abnormal_ap)


def test_no_videos_have_no_metric() -> None:
    found = frame_metrics({}, {})
    assert all(math.isnan(getattr(found, name)) for name in FIGURES)
    assert (found.videos, found.abnormal_videos, found.frames, found.anomalous_frames) == (0, 0, 0, 0)
    assert class_metrics({}, {}, {"a": "Robbery"}) == {}


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


def test_within_a_video_is_the_mean_over_abnormal_videos_with_both_kinds_of_frames() -> None:
    found = metrics(
        a=([0.9, 0.6, 0.7], [1, 0, 0]),  # AUC 1
        b=([0.3, 0.2, 0.5], [1, 1, 0]),  # AUC 0
        c=([0.3, 0.3, 0.1, 0.2], [1, 0, 0, 1]),  # pairs: tie, won, lost, won
        all_along=([0.1, 0.2], [1, 1]),
        n=([0.99, 0.98], [0, 0]),
    )
    assert found.within_auc == pytest.approx((1 + 0 + 2.5 / 4) / 3)
    assert (found.within_videos, found.abnormal_videos, found.videos) == (3, 4, 5)


def test_a_video_counts_by_its_highest_score() -> None:
    found = metrics(
        a=([0.1, 0.8], [1, 0]),  # 0.8, though a normal frame has it
        b=([0.4, 0.3], [0, 1]),
        m=([0.4, 0.0, 0.1], [0, 0, 0]),
        n=([0.6, 0.5], [0, 0]),
    )
    assert found.video_auc == pytest.approx((1 + 1 + 0.5 + 0) / 4)  # a over m and n, b ties m, b below n


def test_false_alarms_are_of_normal_videos_alone_and_the_threshold_counts() -> None:
    videos: Videos = {
        "a": ([0.9, 0.9, 0.9], [1, 0, 0]),  # its normal frames are no false alarms by this measure
        "m": ([0.5, 0.49, 0.2], [0, 0, 0]),
        "n": ([0.7], [0]),
    }
    assert metrics(**videos).false_alarm_rate == pytest.approx(2 / 4)  # frames pooled, not a mean of videos
    assert metrics(threshold=0.6, **videos).false_alarm_rate == pytest.approx(1 / 4)
    assert metrics(threshold=0, **videos).false_alarm_rate == 1


def test_a_class_is_its_videos_against_all_normal_ones() -> None:
    scores, truth = arrays(
        {
            "fight1": ([0.9, 0.3], [1, 0]),
            "fight2": ([0.2], [1]),
            "fire": ([0.8, 0.1], [1, 1]),
            "unknown": ([0.0, 1.0], [1, 0]),
            "n": ([0.5, 0.25], [0, 0]),
        }
    )
    classes: dict[str, str | tuple[str, ...]] = {
        "fight1": "Fighting",
        "fight2": ("Fighting", "Riot"),
        "fire": "Arson",
        "n": "Normal",
        "train7": "Abuse",  # of another split
    }
    found = class_metrics(scores, truth, classes)
    assert list(found) == ["Arson", "Fighting", "Riot"]
    assert found["Fighting"].auc == pytest.approx((3 + 0) / 6)  # 0.9 and 0.2 against 0.3, 0.5, 0.25
    assert found["Arson"].auc == pytest.approx((2 + 0) / 4)  # 0.8 and 0.1 against 0.5, 0.25
    assert found["Riot"].auc == 0
    assert found["Fighting"][1:] == (2, 3, 2)
    assert found["Arson"][1:] == (1, 2, 2)


def test_a_class_without_any_normal_frame_has_no_figure() -> None:
    scores, truth = arrays({"a": ([0.4, 0.6], [1, 1])})
    assert math.isnan(class_metrics(scores, truth, {"a": "Arson"})["Arson"].auc)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_cannot_be_ranked_are_refused(value: float) -> None:
    with pytest.raises(PipelineError, match=re.escape(f"b: the score of frame 1 is {value}")):
        metrics(a=([0.1], [0]), b=([0.9, value, value], [1, 0, 1]))


def test_scores_that_do_not_fit_the_truth_are_refused() -> None:
    with pytest.raises(PipelineError, match="b: has ground truth, but no scores"):
        frame_metrics({}, {"b": np.zeros(3, bool)})
    with pytest.raises(PipelineError, match=r"b: \(2,\) scores do not fit ground truth of \(3,\) frames"):
        frame_metrics({"b": np.zeros(2)}, {"b": np.zeros(3, bool)})
