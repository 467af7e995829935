"""Times on a page: near enough to those they stand for, and few."""

from typing import Any

import numpy as np
import pytest

from ssrl_pipeline.results import time_knots as module
from ssrl_pipeline.results.time_knots import time_knots
from ssrl_pipeline.times import FrameTimes


def spans(knots: dict[str, Any], frames: int) -> np.ndarray:
    """[N, 2]: start and end of each frame, as the page reads them."""
    at, seconds = knots["frames"], knots["seconds"]
    found = []
    for frame in range(frames):
        k = max(i for i, number in enumerate(at) if number <= frame)
        length = (seconds[k + 1] - seconds[k]) / (at[k + 1] - at[k])
        start = seconds[k] + (frame - at[k]) * length
        found.append((start, start + length))
    return np.array(found)


@pytest.mark.parametrize("seed", range(20))
def test_the_middle_of_each_frame_on_the_page_is_in_that_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(1, 80))
    lengths = rng.choice([0.2, 1.0, rng.uniform(0.3, 5)], frames) / 25
    lengths += (rng.random(frames) < 0.05) * rng.uniform(1, 900, frames)
    times = FrameTimes(25.0, rng.uniform(0, 2) + np.cumsum(lengths))
    knots = time_knots(times, frames)
    assert knots["frames"][-1] == frames
    middles = spans(knots, frames).mean(axis=1)
    assert (middles > times.starts(frames)).all() and (middles < times.ends(frames)).all()


def test_steady_stretches_and_rounded_stamps_take_two_knots_each() -> None:
    stamps = np.round(np.arange(9000) / 29.97, 3) + 600.0 * (np.arange(9000) >= 3000)
    knots = time_knots(FrameTimes(29.97, stamps), 9000)
    assert knots["frames"] == [0, 3000, 3000, 9000]
    assert knots["seconds"] == pytest.approx(
        [0, 3000 / 29.97, 600 + 3000 / 29.97, 600 + 9000 / 29.97], abs=0.001
    )


def test_a_frame_alone() -> None:
    knots = time_knots(FrameTimes(25.0, np.array([3.0])), 1)
    assert knots == {"frames": [0, 1], "seconds": [3.0, 3.04]}


def test_too_many_knots_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    times = FrameTimes(25.0, np.cumsum(rng.uniform(0.3, 2, 5000)) / 25)
    many = len(time_knots(times, 5000)["frames"])
    monkeypatch.setattr(module, "MOST_KNOTS", 500)
    few = time_knots(times, 5000)
    assert len(few["frames"]) <= 500 < many
    off = np.abs(spans(few, 5000)[:, 0] - times.starts(5000))
    assert off.max() < 0.5
