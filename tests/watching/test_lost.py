"""Streams as they are: lost and back, frozen, faster than the model, and what is told of it."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.watched import Fake, Watched, describe, opening, picture, stream
from live_stream import LiveServer, read_mark

from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.watching import health
from ssrl_pipeline.watching.sources import Source, parse_sources


def test_a_lost_stream_comes_back_and_no_snippet_or_window_spans_the_gap() -> None:
    attempts = (None, Fake(range(0, 40)), None, None, Fake(range(100, 140)), Fake(range(200, 216)))
    watched = Watched([stream()], opening(*attempts), window=3)
    assert watched.run(until=lambda: len(watched.scores()) == 5) == []
    flat = [number for numbers in watched.numbers for number in numbers]
    assert len(set(flat)) == len(flat)
    assert all(np.diff(numbers).tolist() == [1] * 15 for numbers in watched.numbers)
    kinds = [line["type"] for line in watched.of("connected", "lost")]
    assert kinds == ["lost", "connected", "lost", "connected", "lost", "connected"]
    first, second, third = ([n for n in watched.numbers if low <= n[0] < low + 100] for low in (0, 100, 200))
    parts = [watched.expected(part, 3) for part in (first, second, third)]
    assert watched.scores() == pytest.approx([score for part in parts for score in part], abs=1e-6)
    assert [(line["frame"], line["frames"]) for line in watched.of("dropped")] == [(32, 8), (72, 8)]
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 40, 56, 80]
    gaps = [line["gap_s"] for line in watched.of("connected")]
    assert gaps[0] is None and gaps[1] > 0 and gaps[2] > 0
    assert all(line["time"].endswith("Z") for line in watched.of("score"))
    assert not [text for text in (*watched.said, json.dumps(watched.lines)) if "secret" in text]


def test_an_open_event_ends_where_the_stream_is_lost() -> None:
    attempts = opening(Fake(range(0, 32)), Fake(range(100, 132)))
    rule = EventRule(threshold=1e-9, shortest=0.0)
    watched = Watched([stream()], attempts, rule=rule)
    watched.run(until=lambda: len(watched.of("lost")) == 2)
    kinds = [line["type"] for line in watched.of("event_start", "event_end", "lost")]
    assert kinds == ["event_start", "event_end", "lost"] * 2
    assert [line["start"] for line in watched.of("event_start")] == [0, 32]
    assert [line["end"] for line in watched.of("event_end")] == [32, 64]


def test_a_frozen_camera_is_told_and_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0, "lost": 0.0})
    monkeypatch.setattr(health, "OVER", 0.0)
    monkeypatch.setattr(health, "STIRRED", 0.0)
    numbers = [*range(32), *[200] * 48, *range(304, 352)]
    rule = EventRule(threshold=1e-9, shortest=0.0)
    watched = Watched([stream()], opening(Fake(numbers)), rule=rule)
    watched.run(until=lambda: any(line.get("health") == "lost" for line in watched.lines))
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 80, 96, 112]
    assert watched.scores()[2:] == pytest.approx(watched.expected(watched.numbers[2:], 16), abs=1e-6)
    dropped = watched.of("dropped")
    assert [(line["frame"], line["frames"]) for line in dropped] == [(32, 16), (48, 16), (64, 16)]
    assert {line["reason"] for line in dropped} == {"the picture is frozen"}
    assert [(line["start"], line["end"]) for line in watched.of("event_end")] == [(0, 32), (80, 128)]
    start, end, lost = watched.of("health_start", "health_end")
    keys = ["type", "camera", "health", "start_s", "start_time"]
    assert list(start) == list(lost) == keys and list(end) == [*keys, "end_s", "end_time"]
    assert (start["health"], end["health"], lost["health"]) == ("frozen", "frozen", "lost")
    assert end["start_time"] == start["start_time"] < end["end_time"]
    assert "a: the picture is frozen" in watched.said and "a: over: the picture is frozen" in watched.said


def test_the_last_frame_of_each_snippet_can_be_seen_of_a_blind_camera_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0})
    numbers = [*range(32), *[200] * 32]
    watched, seen = Watched([stream()], opening(Fake(numbers))), list[tuple[str, int]]()
    watched.job._see = lambda name, frame: seen.append((name, read_mark(frame)))
    watched.run(until=lambda: bool(watched.of("lost")))
    assert seen == [("a", 15), ("a", 31), ("a", 200), ("a", 200)]
    assert [line["frame"] for line in watched.of("score")] == [0, 16]


def test_health_can_be_left_out_and_is_not_told_of_files(make_video, tmp_path: Path) -> None:
    still = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter_fourcc(*"MJPG"), 1.0, (320, 32))
    for _ in range(48):
        writer.write(picture(1))
    writer.release()
    watched = Watched(parse_sources([f"a={still}"]))
    watched.run()
    without = Watched([stream()], opening(Fake([1] * 48)), health=False)
    without.run(until=lambda: len(without.of("lost")) == 1)
    for one in (watched, without):
        assert len(one.scores()) == 3 and not one.of("health_start", "dropped")


def test_the_newest_snippet_is_kept_where_the_model_is_slower() -> None:
    begun, read = threading.Event(), threading.Event()

    def slow(images: np.ndarray) -> ViewArrays:
        begun.set()
        assert read.wait(30)
        return describe(images)

    def numbers() -> Iterator[int]:
        yield from range(16)
        assert begun.wait(30)
        yield from range(16, 160)

    attempts = opening(Fake(numbers(), after=read.set))
    watched = Watched([stream()], attempts, slow, False, window=2)
    watched.run(until=lambda: len(watched.of("lost")) == 1)
    assert [numbers[0] for numbers in watched.numbers] == [0, 144]
    dropped = watched.of("dropped")
    assert sum(line["frames"] for line in dropped) == 160 - 32
    assert [line["frame"] for line in watched.of("score")] == [0, 144]
    assert watched.scores() == pytest.approx(watched.expected(watched.numbers, 2), abs=1e-6)  # one window
    assert watched.job.posts[0].dropped == 128
    assert [text for text in watched.said if "frames dropped" in text]


def test_all_cameras_lose_about_the_same_where_there_is_too_much() -> None:
    """Four send ten snippets in the time of one; none is favoured by its place among them."""
    names = ["a", "b", "c", "d"]

    def paced() -> Iterator[int]:
        for number in range(10**6):
            time.sleep(0.0005)
            yield number % 200

    def slow(images: np.ndarray) -> ViewArrays:
        time.sleep(0.06)  # so long that a busy machine, which delays a reader, costs it no turn
        return describe(images)

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        return Fake(paced(), after=lambda: None)

    watched = Watched([stream(name) for name in names], opener, slow, patient=False)
    watched.run(until=lambda: len(watched.of("score")) >= 80 or watched.stop.is_set())
    scored = [len(watched.scores(name)) for name in names]
    assert max(scored) - min(scored) <= 2
    assert all(line["frames"] for line in watched.of("dropped"))
    assert {line["camera"] for line in watched.of("dropped")} == set(names)


def test_a_live_stream_over_http_with_an_interruption() -> None:
    pytest.importorskip("av")
    with LiveServer(
        lambda n: cv2.resize(picture(n), (320, 240)), 480, fps=30, pace=2, outages=[(200, 260)]
    ) as server:
        watched = Watched(parse_sources([f"a={server.url}"]), window=4, timeout=5.0)
        watched.run(until=lambda: watched.numbers[-1:] > [[400]])
    flat = [number for numbers in watched.numbers for number in numbers]
    assert len(flat) > 100 and max(flat) > 260
    assert (np.diff(flat) > 0).all()
    assert [n for n in flat if 200 <= n < 260] == []
    assert [n for n in watched.numbers if n[0] < 200 and n[-1] >= 260] == []
    assert max(line["gap_s"] for line in watched.of("connected")[1:]) > 0.5


def test_a_thread_that_fails_ends_its_camera_and_says_so() -> None:
    def broken(source: Source, timeout: float, started: Any) -> None:
        raise RuntimeError(f"cannot read {source.address}")

    watched = Watched([stream()], broken)
    assert watched.run() == ["a"]
    assert "RuntimeError" in watched.lines[-1]["error"] and "secret" not in watched.lines[-1]["error"]
