"""How many cameras are carried: measured on all that a watch does with still snippets and moving ones."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from helpers.live_video import CPU, LIGHT

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import EventRule
from ssrl_pipeline.extractors import Unchanged, UnchangedRule, ViewArrays, Wanted
from ssrl_pipeline.extractors.decoding import Video, open_video
from ssrl_pipeline.extractors.passes import plan_passes
from ssrl_pipeline.extractors.presets import PRESETS
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching import capacity
from ssrl_pipeline.watching.cameras import Sight
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import Source

SLOW = 0.2  # seconds a snippet of which anything is to be described


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "SECONDS", 0.1)
    monkeypatch.setattr(capacity, "MOST", 2)


def by_rule() -> Unchanged:
    passes = plan_passes(None, PRESETS["live"].views[:1], "exact")  # type: ignore[arg-type]
    return Unchanged(UnchangedRule(checked=10**6), passes)


def test_still_snippets_cost_what_is_done_with_them_and_moving_ones_their_description(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "SECONDS", 60.0)  # all that are sent, however slow the machine is
    monkeypatch.setattr(capacity, "SNIPPETS", 4)
    described: list[tuple[bool, np.ndarray]] = []

    def describe(snippets: Sequence[np.ndarray], wanted: Sequence[Wanted]) -> list[ViewArrays]:
        for images, of in zip(snippets, wanted, strict=True):
            described.append((of.anything, images))
            time.sleep(SLOW * of.anything)
        return [{"clip": np.zeros((1, 1, 1), np.float32)} for _ in snippets]

    masked = Sight((((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    analysis = Analysis(LIGHT, CPU, describe, EventRule(), unchanged=by_rule, chosen_fps=12.5)
    plan = Plan(Source("gate", "rtsp://gate", "stream"), analysis, sight=masked)
    found = capacity.measure_capacity(plan, WatchSettings())
    assert found.fps == 12.5
    assert found.busy > 0.9 * SLOW and found.quiet > 0
    still = [number for number, (changed, _) in enumerate(described) if not changed]
    assert len(still) > 2 and len(described) == still[-1] + 1  # they come last
    assert np.ptp(described[0][1][:, :, :320]) < np.ptp(described[0][1][:, :, 320:])  # painted over
    assert "busy or" in found.told() and "at 12.5 described frames a second" in found.told()


def test_a_camera_does_not_end_before_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    late, opened = 1.0, []

    def open_slowly(*arguments: Any, **named: Any) -> Video:
        video = open_video(*arguments, **named)
        opened.append(video)
        if len(opened) % 2:
            video.frames = after(video.frames)  # type: ignore[assignment]
        return video

    def after(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        time.sleep(late)
        yield from frames

    monkeypatch.setattr(capacity, "open_video", open_slowly)
    clip = {"clip": np.zeros((1, 1, 1), np.float32)}
    analysis = Analysis(LIGHT, CPU, lambda snippets, wanted: [clip for _ in snippets], EventRule())
    found = capacity.measure_capacity(Plan(Source("a", "rtsp://a", "stream"), analysis), WatchSettings())
    assert found.busy < late and found.quiet < late


def test_capacity_is_not_known_where_nothing_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "SNIPPETS", 1)
    analysis = Analysis(LIGHT, CPU, lambda *_: [], EventRule())
    monkeypatch.setattr(capacity.Watch, "run", lambda watch, stop: [])
    with pytest.raises(PipelineError, match="capacity is not known"):
        capacity.measure_capacity(Plan(Source("a", "rtsp://a", "stream"), analysis), WatchSettings())
