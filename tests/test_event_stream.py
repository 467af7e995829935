"""Events as they come, against find_events, which sees all scores at once."""

import numpy as np
import pytest

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.event_stream import EventNews, EventStream
from ssrl_pipeline.events import Event, EventRule, find_events


def stream(
    scores: np.ndarray, fps: float, rule: EventRule, rng: np.random.Generator
) -> list[list[EventNews]]:
    """The news after each frame; equal neighbours are handed over together now and then."""
    events, news, frame = EventStream(fps, rule), [], 0
    while frame < len(scores):
        equal = 1
        while frame + equal < len(scores) and scores[frame + equal] == scores[frame]:
            equal += 1
        frames = int(rng.integers(1, equal + 1))
        news += [*[[]] * (frames - 1), events.add(float(scores[frame]), frames)]
        frame += frames
    return [*news, events.finish()]


def assert_same(found: Event, expected: Event) -> None:
    assert found[:4] == expected[:4]
    assert found.mean_score == pytest.approx(expected.mean_score, rel=1e-12)
    assert found[5:] == pytest.approx(expected[5:], rel=1e-12)


def test_the_events_are_those_of_find_events() -> None:
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for round_ in range(1500):
        length = int(rng.integers(1, 60))
        scores = (rng.integers(0, 9, length) / 8).astype(np.float32)
        if round_ % 2:  # as snippets give them
            scores = np.repeat(scores, 4)
        elif round_ % 3:
            scores = rng.random(length).astype(np.float32)
        rule = EventRule(
            threshold=float(rng.integers(1, 9) / 8),
            hysteresis=float(rng.integers(1, 5) / 4),
            shortest=float(rng.integers(0, 8) / 4),
            gap=float(rng.integers(0, 8) / 4),
        )
        fps = float(rng.choice([1, 4, 8, 7.3]))
        expected = find_events(scores, fps, rule)
        news = stream(scores, fps, rule, rng)
        kinds = [one.kind for batch in news for one in batch]
        assert kinds == ["event_start", "event_end"] * len(expected)
        ends = [one.event for batch in news for one in batch if one.kind == "event_end"]
        for found, event in zip(ends, expected, strict=True):
            assert_same(found, event)
        seen.add(len(expected))
    assert seen >= {0, 1, 2, 3, 4, 5}


def test_news_come_at_the_first_frame_that_makes_them_certain() -> None:
    rule = EventRule(threshold=0.5, hysteresis=0.5, shortest=3.0, gap=2.0)
    scores = [0, 0.3, 0.6, 0.3, 0.3, 0, 0, 0.3, 0, 0.6]
    events, when = EventStream(1.0, rule), []
    for frame, score in enumerate(scores):
        when += [(frame, one.kind, one.event.start, one.event.end) for one in events.add(score)]
    # Three frames long with frame 3. The low run at 7 might have joined; at 8 it did not.
    assert when == [(3, "event_start", 1, 4), (8, "event_end", 1, 5)]
    assert events.finish() == []  # the second is too short


def test_a_low_run_within_the_gap_holds_the_end_back_until_it_is_known() -> None:
    rule = EventRule(threshold=0.5, hysteresis=0.5, shortest=0.0, gap=1.0)
    events = EventStream(1.0, rule)
    assert [one.kind for one in events.add(0.6)] == ["event_start"]
    assert events.add(0.0) == []
    assert events.add(0.3, frames=1000) == []  # may still become part of it
    assert events.add(0.6) == []
    ((kind, event),) = events.finish()
    assert (kind, event.start, event.end) == ("event_end", 0, 1003)
    assert event.mean_score == pytest.approx((0.6 * 2 + 300) / 1003)


def test_frames_without_a_score_are_a_pause_that_does_not_count_in_the_mean() -> None:
    rule = EventRule(threshold=0.5, shortest=0.0, gap=2.0)
    events = EventStream(10.0, rule, first=100)
    assert [one.event.start for one in events.add(0.5, 16, time_s=7.0)] == [100]
    assert events.skip(20) == []
    assert events.add(1.0, 16, time_s=11.0) == []
    assert events.skip(20) == []
    ((_, event),) = events.skip(1)
    assert event[:4] == (100, 152, 143, 1.0)
    assert event.mean_score == pytest.approx(0.75)
    assert event[5:] == pytest.approx((7.0, 12.6, 11.7))


@pytest.mark.parametrize("fps", [0.0, float("nan")])
def test_without_a_rate_there_are_no_times(fps: float) -> None:
    events = EventStream(fps, EventRule(shortest=1.0))
    assert events.add(0.9, 24) == []
    ((_, event),) = events.add(0.9, 1)
    assert event[5:] == (None, None, None)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(PipelineError, match="no number"):
        EventStream(1.0, EventRule()).add(score)
