"""Cameras of one watch that have detectors and thresholds of their own."""

import dataclasses
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.events.stream import EventStream
from ssrl_pipeline.models import LinearProbe, WindowScorer
from ssrl_pipeline.scoring.cameras import Fitted
from ssrl_pipeline.watching import post as module
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.post import Post
from ssrl_pipeline.watching.start import _of_camera

CPU = torch.device("cpu")


def probe(bias: float) -> LinearProbe:
    """One that gives every snippet the same score."""
    model = LinearProbe(4, {"clip": 1})
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.fill_(bias)
    return model.eval().requires_grad_(False)


def checkpoint(own: float, rules: Mapping[int | None, EventRule]) -> Any:
    """As of scoring, with a detector of "gate" and its rules by hour."""
    common = Fitted(None, probe(-1.0), ChosenRule(EventRule(threshold=0.6), ""), "", False)
    gate = Fitted("gate", probe(own), ChosenRule(rules[None], ""), "", True)
    return SimpleNamespace(
        of=lambda name: gate if name == "gate" else common,
        rule=lambda name, hour: (
            ChosenRule(rules.get(hour, rules[None]), "") if name == "gate" else common.chosen
        ),
    )


def test_a_camera_has_its_own_detector_and_thresholds_and_others_the_common_ones() -> None:
    common = Analysis(probe(-1.0), CPU, lambda images, wanted: [], EventRule(threshold=0.6))
    day, night = EventRule(threshold=0.7), EventRule(threshold=0.9)
    cameras = checkpoint(2.0, {None: day, 3: night})
    gate, yard = (_of_camera(common, cameras, name) for name in ("gate", "yard"))
    assert gate.model({"clip": torch.ones(1, 1, 1, 4)}).odds.item() == 2.0
    assert yard.model is cameras.of("yard").model and yard.rule.threshold == 0.6 and not yard.by_hour
    plan = Plan(cast(Any, None), gate)
    assert [plan.rule_at(hour).threshold for hour in (None, 2, 3)] == [0.7, 0.7, 0.9]
    assert dataclasses.replace(plan, threshold=0.5).rule_at(3).threshold == 0.5
    assert gate.describe is common.describe  # so that both are described together


def post(live: bool = True) -> Post:
    analysis = Analysis(probe(0.0), CPU, lambda images, wanted: [], EventRule())
    camera = SimpleNamespace(source=SimpleNamespace(name="gate"))
    plan, scorer = Plan(cast(Any, camera.source), analysis), WindowScorer(analysis.model, CPU, 4)
    return Post(cast(Any, camera), plan, scorer, print, print, live=live)


def test_the_hour_is_that_of_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    live = post()
    live.zero = time.monotonic()
    moment = time.mktime((2024, 5, 31, 14, 59, 59, 0, 0, -1))
    monkeypatch.setattr(time, "time", lambda: moment)
    monkeypatch.setattr(time, "monotonic", lambda: live.zero)
    assert module._hour(live, 0.5) == 14 and module._hour(live, 1.5) == 15
    assert module._hour(post(live=False), 0.5) is None


def test_another_rule_holds_from_the_next_score_on() -> None:
    stream = EventStream(EventRule(threshold=0.9, shortest=0.0, gap=0.1))
    starts = np.arange(16) / 10

    def told(score: float, begin: float) -> list[str]:
        return [kind for kind, _ in stream.add(score, starts + begin, starts + begin + 0.1)]

    assert told(0.7, 0.0) == []
    stream.rule = EventRule(threshold=0.6, shortest=0.0, gap=0.1)
    assert "event_start" in told(0.65, 1.6)
