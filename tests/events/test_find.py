"""Events from scores, against a slow reading of the rule that looks at one frame at a time."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from ssrl_pipeline.config import load_config
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.events.find import ASSUMED_FPS, find_events
from ssrl_pipeline.events.rule import EventRule, EventSettings
from ssrl_pipeline.times import FrameTimes

EXACT = {"hysteresis": 1.0, "shortest": 0.0, "gap": 0.0}


def slow_events(scores: list[float], fps: float, rule: EventRule) -> list[tuple[int, int]]:
    """The rule, read literally: each frame spreads to its neighbours, then gaps, then lengths."""
    inside = {frame for frame, score in enumerate(scores) if score >= rule.threshold}
    grown: set[int] = set()
    while grown != inside:  # hysteresis: what touches an event and reaches the lower threshold joins it
        grown = set(inside)
        for frame in grown:
            for near in (frame - 1, frame + 1):
                if 0 <= near < len(scores) and scores[near] >= rule.hysteresis * rule.threshold:
                    inside.add(near)
    for frame in range(len(scores)):
        before = [other for other in grown if other < frame]
        after = [other for other in grown if other > frame]
        if before and after and (min(after) - max(before) - 1) / fps <= rule.gap:
            inside.add(frame)
    found = []
    for frame in sorted(inside):
        if frame - 1 not in inside:
            found.append([frame, frame])
        found[-1][1] = frame + 1
    return [(start, end) for start, end in found if (end - start) / fps >= rule.shortest]


def test_events_are_those_of_the_slow_reading() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        scores = rng.integers(0, 9, rng.integers(1, 40)) / 8  # eighths: no rounding anywhere
        fps = float(rng.choice([1, 4, 8]))
        rule = EventRule(
            threshold=float(rng.integers(1, 9) / 8),
            hysteresis=float(rng.integers(1, 5) / 4),
            shortest=float(rng.integers(0, 4) / 4),
            gap=float(rng.integers(0, 5) / 4),
        )
        events = find_events(scores.astype(np.float32), FrameTimes(fps), rule)
        assert [event[:2] for event in events] == slow_events(scores.tolist(), fps, rule)
        for event in events:
            part = scores[event.start : event.end].tolist()
            first = part.index(max(part))
            last = next((i for i in range(first, len(part)) if part[i] != max(part)), len(part)) - 1
            assert event.peak == event.start + (first + last) // 2
            assert event.peak_score == max(part) >= rule.threshold
            assert event.mean_score == pytest.approx(sum(part) / len(part))
            assert (event.start_s, event.end_s, event.peak_s) == tuple(frame / fps for frame in event[:3])
        seen.add(len(events))
    assert seen >= {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("scores", "rule", "expected"),
    [
        ([], {}, []),
        ([1], {}, [(0, 1)]),
        ([0], {}, []),
        ([1, 1, 1], {}, [(0, 3)]),
        ([0, 0, 1], {}, [(2, 3)]),
        ([1, 0, 1], {}, [(0, 1), (2, 3)]),
        ([1, 0, 1], {"gap": 1.0}, [(0, 3)]),
        ([1, 0, 0, 1], {"gap": 1.0}, [(0, 1), (3, 4)]),
        ([1, 0, 1, 0, 0, 0, 1], {"gap": 1.0, "shortest": 2.0}, [(0, 3)]),  # merged before the short go
        ([0.4, 0.5, 0.4, 0, 0.4], {"hysteresis": 0.8}, [(0, 3)]),  # the last never reaches the threshold
    ],
)
def test_edges(scores: list[float], rule: dict[str, float], expected: list[tuple[int, int]]) -> None:
    events = find_events(np.array(scores, np.float32), FrameTimes(1.0), EventRule(**{**EXACT, **rule}))
    assert [event[:2] for event in events] == expected


def test_a_score_that_equals_the_threshold_reaches_it_in_single_precision() -> None:
    scores = np.array([0.7], np.float32)
    assert float(scores[0]) < 0.7
    assert len(find_events(scores, FrameTimes(1.0), EventRule(threshold=0.7, shortest=0))) == 1


def test_seconds_that_are_whole_frames_are_counted_as_such() -> None:
    scores = np.array([1, *[0] * 29, 1], np.float32)  # 0.29 * 100 is a little less than 29
    assert len(find_events(scores, FrameTimes(100.0), EventRule(gap=0.29, shortest=0.0))) == 1
    scores = np.array([1] * 7, np.float32)  # 0.07 * 100 a little more than 7
    assert len(find_events(scores, FrameTimes(100.0), EventRule(gap=0.0, shortest=0.07))) == 1


@pytest.mark.parametrize("fps", [0.0, float("nan"), float("inf"), -1.0])
def test_without_a_rate_seconds_are_25_frames_and_events_have_no_times(fps: float) -> None:
    scores = np.zeros(200, np.float32)
    scores[[*range(10, 35), *range(80, 104)]] = 0.9
    (event,) = find_events(scores, FrameTimes(fps), EventRule(shortest=1.0, gap=1.0))
    assert ASSUMED_FPS == 25
    assert event[:3] == (10, 35, 22)
    assert event[5:8] == (None, None, None)


def test_one_snippet_is_an_event_by_default() -> None:
    scores = np.zeros(160, np.float32)
    scores[32:48] = 0.6
    assert [event[:2] for event in find_events(scores, FrameTimes(30.0), EventRule())] == [(32, 48)]


def stamped(*seconds: float) -> FrameTimes:
    return FrameTimes(10.0, np.array(seconds))


def test_seconds_are_those_of_the_frames_not_their_number() -> None:
    """Usually a frame lasts 0.1 s; here some last 0.9 s, which is no pause yet."""
    times = stamped(0.0, 0.1, 1.0, 1.1, 1.2, 1.3, 2.2, 2.3)
    scores = np.array([1, 1, 0, 0, 0, 1, 1, 0], np.float32)
    rule = {"threshold": 0.5, "shortest": 0.95, "gap": 0.25}
    long = find_events(scores, times, EventRule(**rule))
    assert [event[:3] for event in long] == [(0, 2, 0), (5, 7, 5)]
    assert [event[5:8] for event in long] == [(0.0, 1.0, 0.0), (1.3, 2.3, 1.3)]
    (one,) = find_events(scores, times, EventRule(**{**rule, "gap": 0.3}))
    assert (one.start, one.end, one.start_s, one.end_s) == (0, 7, 0.0, 2.3)
    assert find_events(scores, times, EventRule(**{**rule, "shortest": 1.05})) == []


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (600.0, [(18, 22)]),  # the pause is one of 599.96 s
        (599.9, [(18, 20), (20, 22)]),
        (0.0, [(18, 20), (20, 22)]),
    ],
)
def test_a_pause_longer_than_the_gap_cuts_a_run(gap: float, expected: list[tuple[int, int]]) -> None:
    times = FrameTimes(25.0, np.concatenate([np.arange(20) / 25, 600.76 + np.arange(20) / 25]))
    scores = np.zeros(40, np.float32)
    scores[18:22] = 0.9
    events = find_events(scores, times, EventRule(shortest=0.08, gap=gap))
    assert [event[:2] for event in events] == expected
    assert events[0].start_s == pytest.approx(0.72) and events[-1].end_s == pytest.approx(600.84)
    if len(events) == 2:
        assert events[0].end_s == pytest.approx(0.8) and events[1].start_s == pytest.approx(600.76)


def test_what_a_pause_cuts_off_has_to_reach_the_threshold_itself() -> None:
    times = stamped(0.0, 0.1, 60.0, 60.1)
    scores = np.array([0.9, 0.9, 0.45, 0.45], np.float32)
    rule = EventRule(shortest=0.0)
    assert [event[:2] for event in find_events(scores, times, rule)] == [(0, 2)]
    assert [event[:2] for event in find_events(scores, FrameTimes(10.0), rule)] == [(0, 4)]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(PipelineError, match="finite"):
        find_events(np.array([0.5, np.nan], np.float32), FrameTimes(1.0), EventRule())


def test_settings_are_read_and_checked() -> None:
    @dataclass(frozen=True)
    class Config:
        events: EventSettings = field(default_factory=EventSettings)

    read = load_config(Config, None, ["events.threshold=0.25", "events.gap=3"], {}).events
    assert read == EventSettings(threshold=0.25, gap=3.0)
    assert EventRule(threshold=0.25, hysteresis=0.5).low == 0.125
    for assignment, message in (
        ("events.threshold=0", "threshold is more than 0"),
        ("events.hysteresis=1.5", "hysteresis is more than 0 and at most 1, not 1.5"),
        ("events.shortest=-1", "shortest is zero or more seconds"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(Config, None, [assignment], {})
