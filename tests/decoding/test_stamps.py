"""Frames' times from stamps that are missing, go back, or begin anew."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from ssrl_pipeline.extractors.decoding.stamps import Stamps


def timed(stamps: Stamps, found: Sequence[float | None]) -> list[float]:
    times = [stamps.time(stamp) for stamp in found]
    assert all(a < b for a, b in pairwise(times)), "times only grow"
    return times


def test_good_stamps_are_counted_from_the_first() -> None:
    stamps = Stamps(25)
    assert timed(stamps, [100.0, 100.04, 100.5, 701.5]) == pytest.approx([0, 0.04, 0.5, 601.5])
    assert (stamps.note(), stamps.frames) == ("", 4)


def test_stamps_are_counted_from_the_containers_beginning() -> None:
    """Its sound begins before."""
    stamps = Stamps(25, start=2.0)
    assert timed(stamps, [22.0, 22.1]) == pytest.approx([20, 20.1])
    assert stamps.note() == ""


def test_a_first_stamp_before_the_containers_beginning_is_the_beginning() -> None:
    stamps = Stamps(10, start=2.0)
    assert timed(stamps, [1.5, 1.6, 1.9]) == pytest.approx([0, 0.1, 0.4])
    assert stamps.note() == ""


@pytest.mark.parametrize(
    ("fps", "said"), [(10, "10"), (0, "25"), (90000, "25"), (1e-6, "25"), (29.97, "29.97")]
)
def test_without_any_stamps_frames_come_at_a_likely_rate(fps: float, said: str) -> None:
    stamps = Stamps(fps, start=5.0)
    length = 1 / float(said)
    assert timed(stamps, [None] * 4) == pytest.approx([0, length, 2 * length, 3 * length])
    assert stamps.note() == f"no times in it, frames taken for {said} a second"


def test_frames_without_a_stamp_are_a_usual_length_after_the_one_before() -> None:
    stamps = Stamps(10)
    assert timed(stamps, [3.0, None, None, 3.5, None]) == pytest.approx([0, 0.1, 0.2, 0.5, 0.6])
    assert stamps.note() == "3 frames without a time, taken for 10 a second"
    stamps = Stamps(10)
    assert timed(stamps, [None, None, 7.0, 7.2]) == pytest.approx([0, 0.1, 0.2, 0.4])
    assert stamps.note() == "2 frames without a time, taken for 10 a second"


def test_stamps_that_go_back_a_little_or_stand_still() -> None:
    stamps = Stamps(10)
    times = timed(stamps, [0.0, 0.1, 0.1, 0.05, 0.3, 0.3])
    assert times == pytest.approx([0, 0.1, 0.101, 0.102, 0.3, 0.301])
    assert stamps.note() == "times that go back or stand still at 3 frames"


def test_a_clock_that_begins_anew_goes_on() -> None:
    stamps = Stamps(10)
    times = timed(stamps, [50.0, 50.1, 50.2, 0.0, 0.1, 0.4, 0.0])
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.7, 0.701])
    assert stamps.note() == (
        "times that go back or stand still at 1 frames; times that begin anew at frame 3, taken for going on"
    )


def test_a_leap_of_more_than_an_hour_is_a_pause_but_where_clocks_may_begin_anew() -> None:
    found = [0.0, 0.1, 5000.0, 5000.1]
    stamps = Stamps(10)
    assert timed(stamps, found) == found and stamps.note() == ""
    stamps = Stamps(10, may_leap=True)
    assert timed(stamps, found) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert stamps.note() == "times that begin anew at frame 2, taken for going on"
    stamps = Stamps(10, may_leap=True)
    assert timed(stamps, [0.0, 600.0, 4100.0]) == [0, 600, 4100] and stamps.note() == ""
