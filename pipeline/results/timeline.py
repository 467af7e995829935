"""timeline.png: a video's scores over time, with the threshold, the events and the ground truth.

Colours are Okabe and Ito's (2008), which hold for colour-blind people.
Dimensions: N frames, W columns of the picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from ssrl_pipeline.console import clock, one_line, tick
from ssrl_pipeline.data import intervals_of
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import Event
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.times import FrameTimes

BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
COLUMNS = 1000  # about one for each pixel of the plot's width
DIGIT_COLUMNS = 11  # that a digit of an event's number takes
TRUTH = 0.08  # height of the band of ground truth
TICK_SECONDS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800),
)
TICKS = 13  # at most


def save_timeline(path: Path | IO[bytes], shown: Shown) -> None:
    """Writes :func:`draw_timeline` as a PNG, to a path or a file."""
    figure = Figure(figsize=(10, 3), dpi=120, layout="constrained")
    draw_timeline(figure.subplots(), shown)
    figure.savefig(path, format="png")


def draw_timeline(axes: Axes, shown: Shown) -> None:
    """Draws the scores of one video.

    Of a video with more frames than columns each column shows the highest of its
    scores as a line, the lowest as the top of the filled part: a single frame's
    peak in a day stays visible. Nothing is drawn where the video pauses. Events are
    shaded and, as far as there is room, numbered, the highest first; the ground truth is a band below.

    Raises:
        PipelineError: the truth is not of as many frames as the scores.
    """
    scores, events, threshold, truth = shown.scores, shown.events, shown.threshold, shown.truth
    frames = len(scores)
    if truth is not None and len(truth) != frames:
        raise PipelineError(f"{shown.video}: ground truth of {len(truth)} frames, scores of {frames}")
    times = shown.times if shown.times.known else FrameTimes(1.0)  # an axis of frames
    length = times.over(frames)
    _draw_scores(axes, scores, times)
    _draw_events(axes, events, times, length)
    if threshold is not None:
        axes.axhline(threshold, color=VERMILION, ls="--", lw=1.2)
        axes.annotate(
            f"threshold\n{threshold:.3g}",
            (1.005, threshold),
            xycoords=("axes fraction", "data"),
            color=VERMILION,
            fontsize=9,
            va="center",
        )
    # A low threshold would lie flat on the axis; without one, low scores should look low.
    highest = max(float(scores.max()), 1.0 if threshold is None else threshold)
    top = 1 if highest > 0.4 else 1.25 * highest
    axes.set(ylabel="anomaly score", xlim=(0, length), ylim=(0, top))
    _draw_title(axes, shown)
    if truth is not None:
        _draw_truth(axes, truth, times, top)
    _draw_time(axes, length, shown.times.known)


def _draw_scores(axes: Axes, scores: np.ndarray, times: FrameTimes) -> None:
    pauses = times.pauses(len(scores))
    starts = np.union1d(_column_starts(len(scores)), pauses)
    behind = np.searchsorted(starts, pauses)  # columns that come after a pause
    x = np.append(times.start_of(starts), times.end_of(np.array(len(scores) - 1)))
    x = np.insert(x, np.repeat(behind, 2), np.repeat(times.end_of(pauses - 1), 2))

    def steps(values: np.ndarray) -> np.ndarray:
        """[W] -> the height from each x on: of the last column to the end or a pause, there of none."""
        breaks = np.stack([values[behind - 1], np.full(len(pauses), np.nan)], axis=1).ravel()
        return np.insert(np.append(values, values[-1]), np.repeat(behind, 2), breaks)

    low, high = steps(np.minimum.reduceat(scores, starts)), steps(np.maximum.reduceat(scores, starts))
    axes.fill_between(x, low, step="post", color=BLUE, alpha=0.25, lw=0)
    axes.step(x, high, where="post", color=BLUE, lw=1.2)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_events(axes: Axes, events: Sequence[Event], times: FrameTimes, length: float) -> None:
    numbered: list[float] = []
    room = DIGIT_COLUMNS * (len(str(len(events))) + 0.5) * length / COLUMNS
    for number, event in sorted(enumerate(events, 1), key=lambda pair: -pair[1].peak_score):
        # The edge has a width in pixels, so that a short event in a long video is seen.
        start, end = _span(times, event.start, event.end)
        axes.axvspan(start, end, color=ORANGE, alpha=0.35, lw=1.5, zorder=0.5)
        middle = (start + end) / 2
        if all(abs(middle - other) >= room for other in numbered):
            numbered.append(middle)
            axes.annotate(
                str(number),
                (middle, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=9,
            )


def _draw_title(axes: Axes, shown: Shown) -> None:
    peak, events = int(shown.scores.argmax()), len(shown.events)
    where = f"{clock(float(shown.times.start_of(np.array(peak))))}, " if shown.times.known else ""
    found = "" if shown.threshold is None else f"{events or 'no'} event{'' if events == 1 else 's'}, "
    name = one_line(shown.video.name)
    name = name if len(name) <= 50 else f"...{name[-47:]}"
    title = f"{name}: {found}highest score {shown.scores[peak]:.2f} at {where}frame {peak}"
    axes.set_title(title, loc="left", fontsize=10, pad=16, parse_math=False)  # a name may hold `$x^$`


def _span(times: FrameTimes, start: int, end: int) -> tuple[float, float]:
    """From the start of a frame to the end of the one before another."""
    return float(times.start_of(np.array(start))), float(times.end_of(np.array(end - 1)))


def _draw_truth(axes: Axes, truth: np.ndarray, times: FrameTimes, top: float) -> None:
    """A band below zero, of TRUTH times the height of the scores."""
    spans = [_span(times, *interval) for interval in intervals_of(truth)]
    bands = [(start, end - start) for start, end in spans]
    axes.axhspan(-TRUTH * top, 0, color="white", lw=0, zorder=0.9)  # events are shaded above it alone
    axes.broken_barh(bands, (-TRUTH * top, 0.7 * TRUTH * top), color=GREEN, lw=1.5)
    axes.axhline(0, color="black", lw=0.8)
    axes.set(ylim=(-TRUTH * top, top))
    axes.annotate(
        "truth",
        (-0.005, -0.65 * TRUTH * top),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="center",
        fontsize=9,
    )


def _draw_time(axes: Axes, length: float, seconds: bool) -> None:
    """The axis of time, its ticks on round times; or of frames, where the rate is unknown."""
    if not seconds:
        axes.xaxis.set_major_locator(MaxNLocator(TICKS - 1, integer=True))
        axes.set_xlabel("frame")
        return
    step = next((step for step in TICK_SECONDS if length / step <= TICKS), length / TICKS)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    if length < 60:
        axes.set_xlabel("time (s)")
        return
    in_minutes = length >= 3600  # ticks of an hour and more stand on whole minutes
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, in_minutes)))
    axes.set_xlabel("time (h:mm)" if in_minutes else "time (m:ss)")


def _column_starts(frames: int) -> np.ndarray:
    """int [W]: the first frame of each column; no column is empty."""
    columns = min(frames, COLUMNS)
    return np.arange(columns) * frames // columns
