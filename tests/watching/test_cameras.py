"""Cameras of one watch that have detectors and thresholds of their own."""

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.events.stream import EventStream
from ssrl_pipeline.models import LinearProbe, WindowScorer
from ssrl_pipeline.watching import watch as module
from ssrl_pipeline.watching.watch import Analysis, Post

CPU = torch.device("cpu")


def probe(bias: float) -> LinearProbe:
    """One that gives every snippet the same score."""
    model = LinearProbe(4, {"clip": 1})
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.fill_(bias)
    return model.eval()


def post(name: str, scorer: WindowScorer, live: bool = True) -> Post:
    camera = SimpleNamespace(source=SimpleNamespace(name=name))
    return Post(cast(Any, camera), scorer, scorer.window(), EventStream(EventRule()), live)


def test_each_camera_is_scored_by_its_own_detector() -> None:
    common, own = (WindowScorer(probe(bias), CPU, 4) for bias in (-1.0, 2.0))
    posts = [post("yard", common), post("gate", own), post("door", common)]
    views: Mapping[str, Tensor] = {"clip": torch.ones(3, 1, 4)}
    expected = torch.tensor([-1.0, 2.0, -1.0]).sigmoid().tolist()
    assert module._scored(posts, views) == pytest.approx(expected)
    assert [len(one.window.kept[0]) for one in posts] == [1, 1, 1]


def test_a_camera_without_its_own_has_the_common_ones() -> None:
    rules = {("gate", 3): EventRule(threshold=0.9)}
    analysis = Analysis(
        *(probe(0.0), CPU, lambda images: [], EventRule(threshold=0.5)),
        models={"gate": probe(1.0)},
        rule_of=lambda name, hour: rules.get((name, hour or 0), EventRule(threshold=0.6)),
    )
    assert analysis.model_of("gate") is analysis.models["gate"]
    assert analysis.model_of("yard") is analysis.model
    assert [analysis.rule_at("gate", 3).threshold, analysis.rule_at("gate", None).threshold] == [0.9, 0.6]


def test_the_hour_is_that_of_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = WindowScorer(probe(0.0), CPU, 4)
    live = post("gate", scorer)
    live.zero = time.monotonic()
    moment = time.mktime((2024, 5, 31, 14, 59, 59, 0, 0, -1))
    monkeypatch.setattr(time, "time", lambda: moment)
    monkeypatch.setattr(time, "monotonic", lambda: live.zero)
    assert module._hour(live, 0.5) == 14 and module._hour(live, 1.5) == 15
    assert module._hour(post("file", scorer, live=False), 0.5) is None


def test_another_rule_holds_from_the_next_score_on() -> None:
    stream = EventStream(EventRule(threshold=0.9, shortest=0.0, gap=0.1))
    starts = np.arange(16) / 10

    def told(score: float, begin: float) -> list[str]:
        return [kind for kind, _ in stream.add(score, starts + begin, starts + begin + 0.1)]

    assert told(0.7, 0.0) == []
    stream.rule = EventRule(threshold=0.6, shortest=0.0, gap=0.1)
    assert "event_start" in told(0.65, 1.6)
