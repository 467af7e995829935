"""What timeline.png shows, by the figure that is saved and by the pixels of the picture."""

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ssrl_pipeline.events.find import Event, find_events
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.results.timeline import BLUE, COLUMNS, GREEN, ORANGE, VERMILION, save_timeline
from ssrl_pipeline.times import FrameTimes


def video(scores: np.ndarray, fps: float = 25.0, **drawn: Any) -> Shown:
    return Shown(Path("a.mp4"), scores.astype(np.float32), FrameTimes(fps), **drawn)


def pixels(path: Path, colour: str) -> np.ndarray:
    """bool [height, width]: where a picture has a colour, near enough."""
    rgb = cv2.imread(str(path))[..., ::-1].astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(rgb - wanted).max(axis=2) < 60


def ticks(axes: Axes) -> list[str]:
    """The labels of time that are in the picture."""
    low, high = axes.get_xlim()
    shown = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    return [label.get_text() for at, label in shown if low <= at <= high]


def test_one_frame_of_a_day_stays_visible(drawn: list[Figure], tmp_path: Path) -> None:
    frames, peak = 24 * 3600 * 25, 1_234_567
    scores, truth = np.full(frames, 0.1), np.zeros(frames, bool)
    scores[peak], truth[peak] = 0.9, True
    rule = EventRule(shortest=0)
    (event,) = find_events(scores, FrameTimes(25.0), rule)
    save_timeline(tmp_path / "a.png", video(scores, truth=truth, events=[event], threshold=rule.threshold))
    (axes,) = drawn[0].axes
    line = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata())
    assert len(x) == COLUMNS + 1
    column = int(np.searchsorted(x, peak / 25, side="right")) - 1
    assert y[column] == np.float32(0.9)
    assert (np.delete(y, column) == np.float32(0.1)).all()
    across = axes.transData.transform((peak / 25, 0))[0]
    picture = tmp_path / "a.png"
    above, below_it = pixels(picture, BLUE)[60:150], pixels(picture, GREEN)[250:]  # 0.4 to 0.9; the band
    for found in (np.flatnonzero(above.sum(axis=0) > 40), np.flatnonzero(below_it.sum(axis=0) > 8)):
        assert 1 <= len(found) <= 5
        assert np.abs(found - across).max() < 4
    assert [text.get_text() for text in axes.texts if text.get_text().isdigit()] == ["1"]
    assert ticks(axes)[:3] == ["0:00", "2:00", "4:00"]
    assert axes.get_xlabel() == "time (h:mm)"
    assert axes.get_title(loc="left") == "a.mp4: 1 event, highest score 0.90 at 13:43:02.7, frame 1234567"


def test_columns_hold_the_lowest_and_the_highest_of_their_frames(drawn: list[Figure], tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random(3 * COLUMNS).astype(np.float32)
    save_timeline(tmp_path / "a.png", video(scores, fps=1.0))
    axes = drawn[0].axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata()[:-1], scores.reshape(COLUMNS, 3).max(axis=1))
    outline = axes.collections[0].get_paths()[0].vertices
    heights = {x: y for x, y in outline.tolist() if y}
    lowest = scores.reshape(COLUMNS, 3).min(axis=1)
    middles = {3 * i: low for i, low in enumerate(lowest.tolist()) if 3 * i in heights}
    assert len(middles) > 990
    assert set(np.float32(list(heights.values()))) == set(lowest)


@pytest.mark.parametrize(
    ("seconds", "labels", "unit"),
    [
        (5, ["0.0", "0.5", "1.0"], "time (s)"),
        (59, ["0", "5", "10"], "time (s)"),
        (300, ["0:00", "0:30", "1:00"], "time (m:ss)"),
        (3599, ["0:00", "5:00", "10:00"], "time (m:ss)"),
        (7200, ["0:00", "0:10", "0:20"], "time (h:mm)"),
        (40 * 3600, ["0:00", "6:00", "12:00"], "time (h:mm)"),
    ],
)
def test_time_is_readable(
    seconds: int, labels: list[str], unit: str, drawn: list[Figure], tmp_path: Path
) -> None:
    save_timeline(tmp_path / "a.png", video(np.zeros(seconds * 10), fps=10.0))
    (axes,) = drawn[0].axes
    shown = ticks(axes)
    assert shown[:3] == labels
    assert 4 <= len(shown) <= 14
    assert axes.get_xlabel() == unit
    assert axes.get_xlim() == (0, seconds)


def test_the_axis_is_of_time_and_a_pause_is_empty(drawn: list[Figure], tmp_path: Path) -> None:
    """Two frames a second, from 0 to 20 s and from 80 to 100 s; an event around the pause, one behind it."""
    frames = np.arange(80)
    stamps = frames / 2 + 60.0 * (frames >= 40)
    scores = np.where((frames >= 30) & (frames < 50) | (frames >= 70), 0.8, 0.2)
    times = FrameTimes(2.0, stamps)
    events = find_events(scores, times, EventRule())
    shown = video(scores, truth=scores > 0.5, events=events, threshold=0.5)
    save_timeline(tmp_path / "a.png", shown._replace(times=times))
    (axes,) = drawn[0].axes
    assert axes.get_xlim() == (0, 100)
    assert ticks(axes)[:3] == ["0:00", "0:10", "0:20"]
    assert axes.get_title(loc="left") == "a.mp4: 3 events, highest score 0.80 at 15.0 s, frame 30"
    spans = [
        (patch.get_x(), patch.get_x() + patch.get_width())
        for patch in axes.patches
        if to_hex(patch.get_facecolor()) == ORANGE.lower()
    ]
    assert sorted(spans) == [(15, 20), (80, 85), (95, 100)]
    x, y = (np.asarray(values, float) for values in axes.lines[0].get_data())
    for at, height in (
        (1.0, 0.2),
        (15.2, 0.8),
        (19.9, 0.8),
        (20.1, np.nan),
        (79, np.nan),
        (80.1, 0.8),
        (99.9, 0.8),
    ):
        np.testing.assert_allclose(y[np.searchsorted(x, at, side="right") - 1], height, rtol=1e-6)
    filled = pixels(tmp_path / "a.png", BLUE)[60:250]
    across = [round(axes.transData.transform((at, 0))[0]) for at in (22, 78)]
    assert not filled[:, across[0] : across[1]].any()
    unknown = video(np.full(30, 0.1), fps=0.0)
    save_timeline(tmp_path / "b.png", unknown)
    assert (drawn[1].axes[0].get_xlim(), drawn[1].axes[0].get_xlabel()) == ((0, 30), "frame")


def test_all_is_in_the_picture(drawn: list[Figure], tmp_path: Path) -> None:
    scores, truth = np.full(200, 0.2), np.zeros(200, bool)
    scores[50:100], truth[60:110] = 0.8, True
    rule = EventRule()
    events = find_events(scores, FrameTimes(25.0), rule)
    save_timeline(tmp_path / "a.png", video(scores, truth=truth, events=events, threshold=0.5))
    (axes,) = drawn[0].axes
    (span,) = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == ORANGE.lower()]
    assert (span.get_x(), span.get_width()) == (2.0, 2.0)
    (threshold,) = [line for line in axes.lines if to_hex(line.get_color()) == VERMILION.lower()]
    assert list(threshold.get_ydata()) == [0.5, 0.5]
    left, right = (axes.transData.transform((at, 0))[0] for at in (60 / 25, 110 / 25))
    found = np.flatnonzero(pixels(tmp_path / "a.png", GREEN)[280:].any(axis=0))
    assert abs(found.min() - left) < 3
    assert abs(found.max() - right) < 3
    assert cv2.imread(str(tmp_path / "a.png")).shape == (360, 1200, 3)


def test_numbers_of_crowded_events_are_those_of_the_highest(drawn: list[Figure], tmp_path: Path) -> None:
    scores = np.zeros(100_000)
    events = [Event(10 * i, 10 * i + 1, 10 * i, i / 1e4, 0, None, None, None) for i in range(10_000)]
    save_timeline(tmp_path / "a.png", video(scores, fps=0.0, events=events[::20], threshold=0.5))
    axes = drawn[0].axes[0]
    numbers = sorted(int(text.get_text()) for text in axes.texts if text.get_text().isdigit())
    assert numbers[-1] == 500
    assert 20 < len(numbers) < 50
    boxes = sorted(
        (box.x0, box.x1)
        for box in (text.get_window_extent() for text in axes.texts if text.get_text().isdigit())
    )
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))
    assert (axes.get_xlabel(), "frame 0" in axes.get_title(loc="left")) == ("frame", True)


@pytest.mark.parametrize(("threshold", "top"), [(None, 1.0), (0.02, 0.05), (0.5, 1.0)])
def test_low_thresholds_do_not_lie_on_the_axis(
    threshold: float | None, top: float, drawn: list[Figure], tmp_path: Path
) -> None:
    save_timeline(tmp_path / "a.png", video(np.full(1, 0.04), threshold=threshold))
    assert drawn[0].axes[0].get_ylim() == pytest.approx((0, top))
