"""Which frames are chosen where a recipe names a rate, and which snippet a frame belongs to."""

from collections.abc import Sequence

import numpy as np
import pytest

from ssrl_pipeline.extractors.rate import (
    FrameChoice,
    chosen_count,
    expected_count,
    require_starts,
    snippet_of_frames,
)


def chosen(times: Sequence[float] | np.ndarray, rate: float) -> list[int]:
    choice = FrameChoice(rate)
    return [frame for frame, time in enumerate(times) if choice.take(float(time))]


def even(frames: int, fps: float) -> np.ndarray:
    return np.arange(frames) / fps


@pytest.mark.parametrize(
    ("fps", "rate", "expected"),
    [
        (30, 15, [0, 2, 4, 6, 8, 10]),
        (30, 10, [0, 3, 6, 9]),
        (60, 10, [0, 6]),
        (30, 25, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]),  # 0, 1.2, 2.4, 3.6, 4.8, 6, ... the nearest of each
        (30, 20, [0, 2, 3, 5, 6, 8, 9, 11]),  # 0, 1.5, 3, ...: the later of two that are as near
        (25, 10, [0, 3, 5, 8, 10]),
        (30, 30, [*range(12)]),
        (25, 25, [*range(12)]),
    ],
)
def test_of_a_faster_video_the_frames_nearest_to_the_rate(
    fps: float, rate: float, expected: list[int]
) -> None:
    assert chosen(even(12, fps), rate) == expected


@pytest.mark.parametrize("fps", [30.0, 30000 / 1001, 25.0, 24000 / 1001, 59.94, 120.0])
@pytest.mark.parametrize("rate", [25.0, 15.0, 10.0, 12.5, 29.97, 30000 / 1001])
def test_every_moment_has_its_frame_and_rounded_times_choose_the_same(fps: float, rate: float) -> None:
    times = even(3000, fps)
    frames = np.array(chosen(times, rate))
    if rate > fps:
        assert len(frames) == 3000
        return
    moments = np.arange(len(frames)) / rate
    assert np.abs(times[frames] - moments).max() <= 0.56 / fps
    assert times[-1] - moments[-1] < 1 / rate + 0.56 / fps  # to the end
    assert chosen_count(3000, fps, rate) == pytest.approx(len(frames), abs=1)
    milliseconds, clock = np.round(times, 3), np.round(times * 90000) / 90000
    assert np.abs(np.array(chosen(clock, rate)) - frames[: len(frames)]).max() <= 1
    assert len(chosen(milliseconds, rate)) == pytest.approx(len(frames), abs=1)


@pytest.mark.parametrize("fps", [30, 25])
@pytest.mark.parametrize("rate", [25, 20, 15, 10])
def test_a_container_that_rounds_to_milliseconds_changes_nothing(fps: int, rate: int) -> None:
    times = even(2000, fps)
    assert chosen(np.round(times, 3), rate) == chosen(times, rate)
    assert chosen(np.floor(times * 1000) / 1000, rate) == chosen(times, rate)
    assert chosen(times + 7.25, rate) == chosen(times, rate)  # wherever the video begins


@pytest.mark.parametrize(("fps", "rate"), [(12, 25), (24.9, 25), (29.97, 30), (15, 15), (25, 25)])
def test_a_slower_video_keeps_all_of_its_frames(fps: float, rate: float) -> None:
    assert chosen(even(500, fps), rate) == list(range(500))
    late = np.random.default_rng(0).uniform(0, 0.3 / fps, 500)
    assert chosen(even(500, fps) + late, rate) == list(range(500))


def test_what_a_pause_left_out_is_not_made_up_for() -> None:
    times = np.concatenate([even(30, 30), 60 + even(30, 30)])
    # Behind it the next is due 0.045 s after the first, then one each 0.1 s.
    assert chosen(times, 10) == [*range(0, 30, 3), 30, *range(31, 60, 3)]


def test_frames_of_a_telephone_that_slows_down() -> None:
    """25 a second up to 1.2 s, then a frame each 0.12 s."""
    times = np.concatenate([even(31, 25), 1.2 + 0.12 * np.arange(1, 30)])
    frames = chosen(times, 10)
    assert frames == [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, *range(31, 60)]


def test_an_hour_has_as_many_as_the_rate_says() -> None:
    frames = chosen(even(107_892, 30000 / 1001), 25)  # 3599.996 s
    assert abs(len(frames) - 90_000) <= 1
    assert len(set(frames)) == len(frames)


def test_all_frames_are_taken_without_a_rate_and_snippets_begin_at_every_16th() -> None:
    choice = FrameChoice()
    assert all(choice.take(time) for time in even(40, 25))
    assert list(choice.starts) == [0, 16, 32] and choice.snippet_starts(3) is None


def test_snippets_begin_at_chosen_frames() -> None:
    choice = FrameChoice(15)
    for time in even(70, 30):
        choice.take(time)
    assert (choice.frames, choice.chosen) == (70, 35)
    starts = choice.snippet_starts(3)
    assert starts is not None and starts.tolist() == [0, 32, 64]
    assert choice.snippet_starts(2).tolist() == [0, 32]  # type: ignore[union-attr]
    expected = [0] * 32 + [1] * 32 + [2] * 6
    assert snippet_of_frames(70, 3, starts).tolist() == expected
    assert snippet_of_frames(70, 2, starts[:2]).tolist() == [0] * 32 + [1] * 38
    assert snippet_of_frames(40, 3).tolist() == [0] * 16 + [1] * 16 + [2] * 8


@pytest.mark.parametrize(
    "starts", [[0, 32], [0, 32, 70], [1, 32, 64], [0, 32, 32], [0.0, 32.0, 64.0]], ids=str
)
def test_starts_that_cannot_be(starts: list[float]) -> None:
    require_starts(np.array([0, 32, 64]), 3, 70)
    with pytest.raises(ValueError, match=r"starts are|do not begin"):
        require_starts(np.array(starts), 3, 70)


def test_expected_snippets_are_counted_by_the_rate() -> None:
    assert expected_count(96, 30.0, None, drop_last=False) == 6
    assert expected_count(96, 30.0, 15.0, drop_last=False) == 3
    assert expected_count(97, 30.0, 15.0, drop_last=False) == 4
    assert expected_count(97, 30.0, 15.0, drop_last=True) == 3
    assert expected_count(96, 10.0, 15.0, drop_last=False) == 6
    assert expected_count(96, 0.0, 15.0, drop_last=False) == 6  # unknown
    assert expected_count(96, 90000.0, 15.0, drop_last=False) == 6  # of no camera
    assert expected_count(0, 30.0, 15.0, drop_last=False) == 0
