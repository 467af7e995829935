"""Events as they come, against find_events, which sees all scores at once."""

import pickle

import numpy as np
import pytest

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.find import Event, find_events
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.events.stream import EventNews, EventStream
from ssrl_pipeline.times import FrameTimes


def stream(
    scores: np.ndarray, times: FrameTimes, rule: EventRule, rng: np.random.Generator
) -> list[EventNews]:
    """All news; equal neighbours are handed over together now and then."""
    events, news, frame = EventStream(rule), [], 0
    starts, ends = times.starts(len(scores)), times.ends(len(scores))
    while frame < len(scores):
        equal = 1
        while frame + equal < len(scores) and scores[frame + equal] == scores[frame]:
            equal += 1
        part = slice(frame, frame + int(rng.integers(1, equal + 1)))
        over = ends[part].copy()
        over[-1] = starts[part][-1] + 1 / times.fps  # what comes next is not known yet
        news += events.add(float(scores[frame]), starts[part], over)
        frame = part.stop
    return [*news, *events.finish()]


def at(fps: float, first: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of frames at a steady rate."""
    number = np.arange(first, first + frames)
    return number / fps, (number + 1) / fps


def assert_same(found: Event, expected: Event) -> None:
    assert found[:4] == expected[:4]
    assert found.mean_score == pytest.approx(expected.mean_score, rel=1e-12)
    assert found[5:8] == pytest.approx(expected[5:8], rel=1e-12)


@pytest.mark.parametrize("kind", ["steady", "jitter", "pauses"])
def test_the_events_are_those_of_find_events(kind: str) -> None:
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
        lengths = np.full(len(scores), 1 / fps)
        if kind != "steady":
            lengths *= rng.uniform(0.2, 3, len(scores)).round(1)
        if kind == "pauses":
            lengths += (rng.random(len(scores)) < 0.1) * rng.integers(5, 40, len(scores)) / fps
        times = FrameTimes(fps, None if kind == "steady" else np.cumsum(lengths))
        expected = find_events(scores, times, rule)
        news = stream(scores, times, rule, rng)
        assert [one.kind for one in news] == ["event_start", "event_end"] * len(expected)
        for found, event in zip(news[1::2], expected, strict=True):
            assert_same(found.event, event)
        seen.add(len(expected))
    assert seen >= {0, 1, 2, 3, 4, 5}


def test_news_come_at_the_first_frame_that_makes_them_certain() -> None:
    rule = EventRule(threshold=0.5, hysteresis=0.5, shortest=3.0, gap=2.0)
    scores = [0, 0.3, 0.6, 0.3, 0.3, 0, 0, 0.3, 0, 0.6]
    events, when = EventStream(rule), []
    for frame, score in enumerate(scores):
        news = events.add(score, *at(1.0, frame, 1))
        when += [(frame, one.kind, one.event.start, one.event.end) for one in news]
    # Frame 4 begins three seconds after frame 1: before, frame 3 might have been a short one.
    # The low run at 7 might have joined; at 8 it did not.
    assert when == [(4, "event_start", 1, 4), (8, "event_end", 1, 5)]
    assert events.finish() == []  # the second is too short


def test_an_end_is_certain_once_a_frame_begins_too_late_to_join() -> None:
    rule = EventRule(threshold=0.5, shortest=0.0, gap=2.0)
    events = EventStream(rule)
    assert [one.kind for one in events.add(0.6, *at(1.0, 0, 1))] == ["event_start"]
    assert events.add(0.0, *at(1.0, 1, 2)) == []
    assert events.add(0.0, *at(1.0, 3, 1)) == []  # the next may follow this one at once
    ((kind, event),) = events.add(0.6, *at(1.0, 4, 1))[:1]
    assert (kind, event.start_s, event.end_s) == ("event_end", 0.0, 1.0)


def test_the_frame_that_follows_tells_when_the_last_one_was_over() -> None:
    rule = EventRule(threshold=0.5, shortest=0.0, gap=0.0)
    for start, end_s in ((0.5, 0.5), (3.0, 3.0), (11.0, 1.0)):  # the last after a pause
        events = EventStream(rule)
        events.add(0.6, np.array([0.0]), np.array([1.0]))
        (_, event), *_ = [
            *events.add(0.0, np.array([start]), np.array([start + 1])),
            *events.finish(),
        ]
        assert event.end_s == end_s


def test_a_low_run_within_the_gap_holds_the_end_back_until_it_is_known() -> None:
    rule = EventRule(threshold=0.5, hysteresis=0.5, shortest=0.0, gap=1.0)
    events = EventStream(rule)
    assert [one.kind for one in events.add(0.6, *at(1.0, 0, 1))] == ["event_start"]
    assert events.add(0.0, *at(1.0, 1, 1)) == []
    assert events.add(0.3, *at(1.0, 2, 1000)) == []  # may still become part of it
    assert events.add(0.6, *at(1.0, 1002, 1)) == []
    ((kind, event),) = events.finish()
    assert (kind, event.start, event.end) == ("event_end", 0, 1003)
    assert event.mean_score == pytest.approx((0.6 * 2 + 300) / 1003)


def test_frames_without_a_score_are_a_pause_that_does_not_count_in_the_mean() -> None:
    rule = EventRule(threshold=0.5, shortest=0.0, gap=2.5)
    events = EventStream(rule, first=100)
    assert [one.event.start for one in events.add(0.5, *at(10.0, 70, 16))] == [100]
    assert events.skip(20) == []
    assert events.add(1.0, *at(10.0, 110, 16)) == []  # 2.4 s later
    assert events.skip(20) == []
    ((_, event),) = events.finish()
    assert event[:4] == (100, 152, 143, 1.0)
    assert event.mean_score == pytest.approx(0.75)
    assert event[5:8] == pytest.approx((7.0, 12.6, 11.7))


def test_frames_without_a_score_may_be_too_long_a_pause() -> None:
    rule = EventRule(threshold=0.5, shortest=0.0, gap=2.0)
    events = EventStream(rule)
    events.add(0.5, *at(10.0, 0, 16))
    assert events.skip(20) == []
    ended, started = events.add(1.0, *at(10.0, 40, 16))
    assert (ended.kind, ended.event.end_s) == ("event_end", 1.6)
    assert (started.kind, started.event.start, started.event.start_s) == ("event_start", 36, 4.0)


@pytest.mark.parametrize("steady", [True, False])
def test_an_event_without_end_takes_no_memory(steady: bool) -> None:
    """Ten hours of the highest score: of so many times some are kept, and the middle is found among them."""
    events, rng = EventStream(EventRule(shortest=0.0)), np.random.default_rng(0)
    starts = np.arange(900_000) / 25
    if not steady:
        starts += rng.uniform(0, 0.03, len(starts))
    for part in np.split(starts, 900):
        events.add(1.0, part, np.append(part[1:], part[-1] + 0.04))
        size = len(pickle.dumps(events))
        assert size < 100_000
    ((_, event),) = events.finish()
    assert (event.start, event.end, event.peak) == (0, 900_000, 449_999)
    assert event.peak_s == pytest.approx(starts[449_999], abs=1e-9 if steady else 0.03)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(PipelineError, match="not finite"):
        EventStream(EventRule()).add(score, *at(1.0, 0, 1))
