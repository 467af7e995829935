"""Cameras whose clips do not change: what is described again, and what is not."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.watched import Fake, Watched, describe, fetch_metrics, opening, stream
from live_stream import read_mark

from ssrl_pipeline.extractors import Unchanged, UnchangedRule
from ssrl_pipeline.extractors.passes import plan_passes
from ssrl_pipeline.extractors.presets import PRESETS
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.watching import health
from ssrl_pipeline.watching.cameras import Sight
from ssrl_pipeline.watching.sources import Source


def by_rule(**rule: int) -> Unchanged:
    passes = plan_passes(None, PRESETS["live"].views[:1], "exact")  # type: ignore[arg-type]
    return Unchanged(UnchangedRule(**{"checked": 10**6, **rule}), passes)


def test_a_quiet_camera_loses_nothing_while_busy_ones_do() -> None:
    """The quiet one is scored twenty times while a snippet of the other is described."""

    def changing() -> Iterator[int]:
        while not watched.scores("quiet"):
            time.sleep(0.001)
        for number in range(1, 10**6):
            time.sleep(0.0005)
            yield 8 * (number % 1000) + 8

    def slow(images: np.ndarray) -> ViewArrays:
        end = time.monotonic() + 20
        if read_mark(images[0]):
            enough.append(len(watched.scores("quiet")) + 20)
            while len(watched.scores("quiet")) < enough[-1] and time.monotonic() < end:
                time.sleep(0.001)
        return describe(images)

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        if source.name == "busy":
            return Fake(changing())
        video = Fake(itertools.repeat(0))
        video.busy = watched.job.posts[0].camera.waiting
        return video

    enough: list[int] = []
    watched = Watched([stream("quiet"), stream("busy")], opener, slow, patient=False, health=False)
    for post in watched.job.posts:
        post.unchanged = by_rule()
    watched.run(until=lambda: len(watched.scores("busy")) >= 2)
    assert {line["camera"] for line in watched.of("dropped")} == {"busy"}
    assert len(watched.scores("quiet")) >= enough[1] > 40


def test_what_does_not_change_is_scored_by_its_last_description() -> None:
    """As of a file; the camera that was lost begins anew."""
    sent = [number for snippet in range(3) for number in [20 * snippet] * 16]
    watched = Watched([stream()], opening(Fake(sent), Fake(sent)))
    post = watched.job.posts[0]
    post.unchanged = by_rule(levels=255)  # nothing ever changes
    watched.run(until=lambda: len(watched.of("score")) == 6)
    assert post.unchanged.repeats.clips == {"clip": 6}
    assert post.unchanged.repeats.repeated == {"clip": 4}
    assert any("clip 67 %" in text for text in watched.said)
    assert watched.scores()[:3] == pytest.approx(watched.scores()[3:])
    served = fetch_metrics(watched.job.posts)
    assert served["ssrl_clips_total", "a"] == 6 and served["ssrl_repeated_clips_total", "a"] == 4


def test_a_description_ages_by_the_times_of_frames() -> None:
    watched = Watched([Source("a", "a.mp4", "file")], lambda *_: Fake(range(80), length=80))
    watched.job.posts[0].unchanged = by_rule(levels=255, seconds=2)
    assert watched.run() == []
    assert watched.job.posts[0].unchanged.repeats.repeated == {"clip": 2}  # described at 0, 3.2 and 6.4 s


def test_after_a_camera_was_blind_all_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0})
    monkeypatch.setattr(health, "OVER", 0.0)
    monkeypatch.setattr(health, "STIRRED", 0.0)
    watched = Watched([stream()], opening(Fake([*range(32), *[200] * 48, *range(304, 352)])))
    watched.job.posts[0].unchanged = by_rule(levels=255)
    watched.run(until=lambda: bool(watched.of("lost")))
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 80, 96, 112]
    assert watched.job.posts[0].unchanged.repeats.repeated == {"clip": 3}


def test_what_was_saved_is_told_of_cameras_that_were_altered_or_left_too() -> None:
    watched = Watched([stream()], opening(Fake([1] * 48)), health=False)
    post = watched.job.posts[0]
    post.unchanged = by_rule(levels=255)
    watched.run(until=lambda: bool(watched.of("lost")))
    before = post.unchanged
    masked = Sight((((0.0, 0.0), (0.1, 0.0), (0.1, 0.1)),))
    post.alter(replace(post.plan, sight=masked), post.scorer)
    assert post.unchanged is not before and post.unchanged.repeats.repeated == {"clip": 2}
    watched.job._change([])
    assert watched.job.posts == [] and watched.job._repeats.repeated == {"clip": 2}
