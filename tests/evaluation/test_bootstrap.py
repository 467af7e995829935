"""Weighted figures against scikit-learn's sample weights; intervals against a bootstrap in plain loops."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation import bootstrap
from ssrl_pipeline.evaluation.bootstrap import Interval, bootstrap_intervals, draw_videos, weighted_figures
from ssrl_pipeline.evaluation.metrics import FIGURES, frame_metrics

Values = dict[str, np.ndarray]


def made_up(seed: int, abnormal: int = 5, normal: int = 4, levels: int = 12) -> tuple[Values, Values]:
    """Videos a0, a1, ... and n0, n1, ... of up to 40 frames; few levels make many ties."""
    rng = np.random.default_rng(seed)
    scores, truth = {}, {}
    for name in [f"a{i}" for i in range(abnormal)] + [f"n{i}" for i in range(normal)]:
        frames = int(rng.integers(5, 40))
        truth[name] = rng.random(frames) < (0.4 if name[0] == "a" else 0)
        truth[name][0] |= name[0] == "a"
        raised = rng.random(frames) + 0.4 * truth[name] + 0.3 * rng.random()
        scores[name] = (np.floor(raised * levels) / (2 * levels)).astype(np.float32)
    return scores, truth


def by_sklearn(scores: Values, truth: Values, weights: dict[str, float]) -> dict[str, float]:
    """The figures of weighted videos, by their definitions."""

    def pooled(videos: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        each = np.concatenate([np.full(len(truth[v]), weights[v]) for v in videos])
        return np.concatenate([truth[v] for v in videos]), np.concatenate([scores[v] for v in videos]), each

    abnormal, normal = ([v for v in truth if v[0] == kind] for kind in "an")
    y, s, w = pooled([*abnormal, *normal])
    found = {
        "auc": roc_auc_score(y, s, sample_weight=w),
        "ap": average_precision_score(y, s, sample_weight=w),
    }
    y, s, w = pooled(abnormal)
    found["abnormal_auc"] = roc_auc_score(y, s, sample_weight=w)
    found["abnormal_ap"] = average_precision_score(y, s, sample_weight=w)
    mixed = [v for v in abnormal if not truth[v].all()]
    found["within_auc"] = np.average(
        [roc_auc_score(truth[v], scores[v]) for v in mixed], weights=[weights[v] for v in mixed]
    )
    found["video_auc"] = roc_auc_score(
        [v[0] == "a" for v in truth],
        [scores[v].max() for v in truth],
        sample_weight=[weights[v] for v in truth],
    )
    _, s, w = pooled(normal)
    found["false_alarm_rate"] = np.average(s >= 0.5, weights=w)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [4, 10_000])
def test_weighted_figures_are_those_of_sklearn(
    seed: int, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "CHUNK", 3)  # so that there are several
    scores, truth = made_up(seed, levels=levels)
    weights = np.random.default_rng(seed).integers(0, 4, (6, len(truth)))
    weights[:, [0, 5]] += 1  # never all abnormal, or all normal videos at nothing
    found = weighted_figures(scores, truth, weights)
    assert tuple(found) == FIGURES
    for i, row in enumerate(weights):
        expected = by_sklearn(scores, truth, dict(zip(truth, row.tolist(), strict=True)))
        for name in FIGURES:
            assert found[name][i] == pytest.approx(expected[name], abs=1e-12), name


def test_equal_weights_give_the_figures_themselves() -> None:
    scores, truth = made_up(3)
    found = weighted_figures(scores, truth, np.full((1, len(truth)), 7))
    metrics = frame_metrics(scores, truth)
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {name: getattr(metrics, name) for name in FIGURES}, abs=1e-12
    )


def test_videos_at_weight_zero_leave_figures_undefined() -> None:
    scores, truth = made_up(1, abnormal=2, normal=2)
    found = weighted_figures(scores, truth, np.array([[0, 0, 1, 1], [1, 1, 0, 0]]))
    no_abnormal, no_normal = ({name for name in FIGURES if math.isnan(found[name][i])} for i in range(2))
    assert no_abnormal == set(FIGURES) - {"false_alarm_rate"}
    assert no_normal == {"video_auc", "false_alarm_rate"}


def test_intervals_agree_with_a_bootstrap_in_plain_loops() -> None:
    scores, truth = made_up(5, abnormal=8, normal=8)
    rng = np.random.default_rng(99)
    kinds = [[v for v in truth if v[0] == kind] for kind in "an"]
    draws = []
    for _ in range(600):
        drawn = [v for kind in kinds for v in rng.choice(kind, len(kind))]
        y, s = (np.concatenate([values[v] for v in drawn]) for values in (truth, scores))
        draws.append((roc_auc_score(y, s), average_precision_score(y, s)))
    expected = np.quantile(draws, [0.025, 0.975], axis=0)
    found = bootstrap_intervals(scores, truth, resamples=4000, seed=1)
    spread = expected[1] - expected[0]
    for column, name in enumerate(("auc", "ap")):
        assert found[name] == pytest.approx(expected[:, column], abs=0.15 * spread[column])


def test_the_interval_is_the_middle_95_percent() -> None:
    truth = {f"n{i:02d}": np.zeros(1, bool) for i in range(100)}
    scores = {video: np.array([i % 2], float) for i, video in enumerate(truth)}
    # How many of 100 drawn single-frame videos, of which half are false alarms, are false alarms.
    expected = binom.ppf([0.025, 0.975], 100, 0.5) / 100
    assert bootstrap_intervals(scores, truth, 20_000)["false_alarm_rate"] == pytest.approx(
        expected, abs=0.005
    )


def test_of_groups_whole_ones_are_drawn_within_each_class() -> None:
    truth = {f"n{i:03d}": np.zeros(1, bool) for i in range(100)}
    scores = {video: np.array([i < 50], float) for i, video in enumerate(truth)}
    cameras = {video: f"camera {i // 10}" for i, video in enumerate(truth)}  # five of ten alarm always
    expected = binom.ppf([0.025, 0.975], 10, 0.5) / 10
    found = bootstrap_intervals(scores, truth, 20_000, groups=cameras)["false_alarm_rate"]
    assert found == pytest.approx(expected, abs=0.005)

    plain = bootstrap_intervals(scores, truth, 500)
    alone = {f"n{i:03d}": None for i in range(50)}  # the others are not named at all
    for groups in (alone, dict.fromkeys(truth, "gate")):  # of one group alone, videos are drawn
        assert str(bootstrap_intervals(scores, truth, 500, groups=groups)) == str(plain)


def test_groups_are_drawn_whole() -> None:
    """Videos of one camera tell as much as one."""
    classes = [["n0", "n1", "n2", "n3", "n4"], ["a0", "a1", "a2"]]
    groups = {"n0": "gate", "n1": "gate", "n2": "gate", "n3": "yard", "n4": "hall", "a0": "gate"}
    draws = draw_videos(classes, groups, 200, np.random.default_rng(0))
    assert draws.shape == (200, 8)
    for counts in draws:
        assert counts[0] == counts[1] == counts[2]  # gate's normal videos; its abnormal one is by itself
        assert counts[[0, 3, 4]].sum() == 3 and counts[5:].sum() == 3


def test_anomalous_frames_alone_have_no_interval() -> None:
    truth = {"a": np.ones(3, bool), "b": np.ones(2, bool)}
    scores = {"a": np.array([0.1, 0.2, 0.3]), "b": np.array([0.4, 0.2])}
    found = bootstrap_intervals(scores, truth, 50)
    assert all(math.isnan(bound) for interval in found.values() for bound in interval)


def test_the_seed_decides() -> None:
    scores, truth = made_up(2)
    first = bootstrap_intervals(scores, truth, 50, seed=4)
    assert (
        bootstrap_intervals(dict(reversed(scores.items())), dict(reversed(truth.items())), 50, seed=4)
        == first
    )
    assert bootstrap_intervals(scores, truth, 50, seed=5) != first
    metrics = frame_metrics(scores, truth)
    assert all(first[name].low <= getattr(metrics, name) <= first[name].high for name in FIGURES)


def test_every_draw_has_as_many_abnormal_videos_as_there_are() -> None:
    truth = {"a": np.ones(9, bool), "b": np.ones(9, bool), "m": np.zeros(1, bool), "n": np.zeros(1, bool)}
    scores = {video: np.full(len(frames), 0.3 + 0.6 * (video in "ab")) for video, frames in truth.items()}
    found = bootstrap_intervals(scores, truth, 200)  # unstratified draws would miss a kind at times
    assert found["auc"] == found["ap"] == found["video_auc"] == Interval(1, 1)
    assert found["false_alarm_rate"] == Interval(0, 0)
    assert all(map(math.isnan, found["abnormal_auc"]))


def test_a_single_video_of_a_kind_shows_no_variation() -> None:
    scores, truth = made_up(0, abnormal=1, normal=6)
    found = bootstrap_intervals(scores, truth, 100)
    assert {name for name in FIGURES if not math.isnan(found[name].low)} == {"false_alarm_rate"}


@pytest.mark.parametrize(("abnormal", "normal"), [(0, 0), (0, 3), (3, 0)])
def test_without_videos_of_a_kind(abnormal: int, normal: int) -> None:
    scores, truth = made_up(0, abnormal, normal)
    found = bootstrap_intervals(scores, truth, 100)
    metrics = frame_metrics(scores, truth)
    for name in FIGURES:
        assert math.isnan(found[name].low) == math.isnan(getattr(metrics, name)), name


def test_scores_that_are_no_numbers_are_refused() -> None:
    scores, truth = made_up(0)
    scores["a1"][2] = np.nan
    with pytest.raises(PipelineError, match="a1: the score of frame 2 is nan"):
        bootstrap_intervals(scores, truth, 10)
