"""When frames are shown, by numbers worked out by hand."""

import math

import numpy as np
import pytest

from ssrl_pipeline.times import (
    FrameTimes,
    from_stamps,
    is_rate,
    measured_rate,
    require_increasing,
    steady,
)


def with_a_pause() -> FrameTimes:
    """20 frames at 25 a second, nothing for ten minutes, and 20 more: as times/gap10min.mkv has them."""
    return FrameTimes(25.0, np.concatenate([np.arange(20) / 25, 600.76 + np.arange(20) / 25]))


def test_a_steady_rate() -> None:
    times = FrameTimes(8.0)
    assert times.known
    assert times.starts(3).tolist() == [0, 0.125, 0.25]
    assert times.ends(3).tolist() == [0.125, 0.25, 0.375]
    assert times.start_of(np.array([80, 2])).tolist() == [10, 0.25]
    assert (times.seconds(20), times.duration(20)) == (2.5, 2.5)
    assert times.pauses(20).tolist() == []


@pytest.mark.parametrize("fps", [0.0, math.nan, math.inf, -1.0])
def test_an_unknown_rate_has_no_times(fps: float) -> None:
    assert not is_rate(fps)
    for times in (FrameTimes(fps), FrameTimes(fps, np.arange(3.0))):
        assert not times.known
        assert np.isnan(times.starts(3)).all() and np.isnan(times.ends(3)).all()
        assert math.isnan(times.seconds(3)) and math.isnan(times.duration(3))
        assert times.pauses(3).tolist() == []


def test_a_pause_is_no_frames_length() -> None:
    times = with_a_pause()
    assert times.starts(40)[38] == pytest.approx(601.48)
    ends = times.ends(40)
    assert ends[19] == pytest.approx(0.8) and ends[20] == times.starts(40)[21]
    assert ends[39] == pytest.approx(601.56)
    assert times.seconds(40) == pytest.approx(40 / 25)
    assert times.duration(40) == pytest.approx(601.56)
    assert times.pauses(40).tolist() == [20]
    assert times.pauses(20).tolist() == []
    assert times.pauses(40, 599.9).tolist() == [20]
    assert times.pauses(40, 599.96).tolist() == []  # it is as long, no longer


def test_the_first_frames_of_a_video_end_where_the_next_begins() -> None:
    times = FrameTimes(10.0, np.array([0.0, 0.1, 0.35, 0.4]))
    assert times.ends(2).tolist() == [0.1, 0.35]
    assert times.seconds(2) == pytest.approx(0.35)
    assert times.ends(4).tolist() == [0.1, 0.35, 0.4, 0.5]


def test_what_lies_in_a_video_may_end_a_little_behind_it() -> None:
    for times in (FrameTimes(10.0), FrameTimes(10.0, np.arange(20) / 10)):
        assert times.over(20) == pytest.approx(2.0)
        assert times.hold(1.9, 2.5, 20) and not times.hold(1.9, 2.6, 20)
        assert not times.hold(2.0, 2.4, 20) and not times.hold(1.9, 2.5, 10)


def test_stamps_that_a_rate_gives_are_not_kept() -> None:
    rounded = np.round(np.arange(1000) / 30, 3)  # as Matroska rounds them
    for said in (30.0, 0.0, 1000.0, 90000.0):
        times = from_stamps(rounded, said)
        assert times.stamps is None
        assert times.fps == pytest.approx(30, rel=1e-5)
    assert from_stamps(np.array([0.0]), 25.0).stamps is None


@pytest.mark.parametrize("said", [1000.0, 90000.0, 60000.0, 0.0, 30.0])
def test_uneven_stamps_are_kept_and_tell_the_rate(said: float) -> None:
    stamps = np.cumsum(np.tile([0.05, 0.09], 100))
    times = from_stamps(stamps, said)
    assert times.stamps is stamps
    assert times.fps == pytest.approx(1 / 0.07, rel=0.01)


def test_the_rate_of_a_video_with_pauses_is_that_between_them() -> None:
    pause = with_a_pause()
    assert pause.stamps is not None
    assert measured_rate(pause.stamps) == pytest.approx(25)
    assert from_stamps(pause.stamps, 0.06).fps == pytest.approx(25)


@pytest.mark.parametrize("lengths", [[0.0004, 0.0796], [*[0.001] * 9, 0.391], [0.04, 0.08, 0.01, 0.03]])
def test_the_rate_of_frames_in_bursts_is_that_of_all(lengths: list[float]) -> None:
    """Pairs of one stamp, a group at once, jitter: 25 a second each, and a pause of an hour besides."""
    stamps = np.cumsum(np.tile(lengths, 200))
    assert measured_rate(stamps) == pytest.approx(25, rel=0.01)
    stamps[333:] += 3600
    stamps[700:] += 20
    times = from_stamps(stamps, 90000.0)
    assert times.fps == pytest.approx(25, rel=0.01)
    assert times.pauses(len(stamps)).tolist() == [333, 700][: 1 + (len(stamps) > 700)]
    assert times.seconds(len(stamps)) == pytest.approx(len(stamps) / 25, rel=0.02)


def test_one_frame_has_a_time_where_the_container_says_a_rate() -> None:
    assert not from_stamps(np.array([3.0]), 0.0).known
    assert not from_stamps(np.array([3.0]), 90000.0).known
    late = from_stamps(np.array([3.0]), 25.0)
    assert (late.starts(1)[0], late.ends(1)[0]) == (3.0, pytest.approx(3.04))


def test_a_rate_that_no_camera_has_is_unknown_without_stamps() -> None:
    assert steady(25.0).fps == 25
    assert not any(steady(said).known for said in (0.0, -1.0, 1000.0, 90000.0, math.nan, math.inf))
    fast = from_stamps(np.arange(100) / 2000, 2000.0)  # the stamps themselves say so
    assert fast.fps == pytest.approx(2000) and fast.stamps is not None


def test_stamps_that_are_not_finite_or_do_not_increase() -> None:
    require_increasing(np.array([0.0, 0.1]))
    require_increasing(np.array([]))
    with pytest.raises(ValueError, match="frame 1 is not finite"):
        require_increasing(np.array([0.0, np.nan]))
    for stamps in ([0.0, 1.0, 1.0], [0.0, 1.0, 0.5]):
        with pytest.raises(ValueError, match="frame 2 is at"):
            require_increasing(np.array(stamps))
