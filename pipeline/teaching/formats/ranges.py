"""Ranges of a video with a label, in a tool's own unit, and as frames of the video once they are compared.

A tool counts frames by a rate that a person typed in, or that a browser guessed (label-studio#3315, #6493,
#6593): what does not fit the video itself is refused, for its ranges would be shifted ones.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.times import SLACK, FrameTimes

RATE = 1e-3  # relative difference of two rates that are one: 29.97 and 30000/1001
MOST_SECONDS = 1e8  # three years
MOST_FRAMES = 1000 * MOST_SECONDS


class Span(NamedTuple):
    """A labelled stretch: frames 0-based, or seconds; the end is exclusive."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Annotated:
    """What a file says of one video."""

    place: str  # the file and where in it, for messages
    video: str  # as the tool calls it
    spans: list[Span]
    seconds: bool  # the spans are seconds; else frames
    frames: int | None = None  # that the tool says the video has
    fps: float | None = None  # that the tool counts frames by; None: it does not say
    duration: float | None = None  # that the tool says, seconds
    split: str | None = None
    rate_matters: bool = False  # the tool's frames are times multiplied by a rate of its own

    def __post_init__(self) -> None:
        """Raises ValueError where the file says what cannot be: its values are whatever JSON holds."""
        for name in ("frames", "fps", "duration"):
            number = getattr(self, name)
            if number is not None and not (_is_plausible(number) and number >= 0):
                raise ValueError(f"{name} {number!r:.40}")
        for span in self.spans:
            if not (_is_plausible(span.start) and _is_plausible(span.end) and isinstance(span.label, str)):
                raise ValueError(f"range {span.start!r:.40} to {span.end!r:.40}, {span.label!r:.40}")
        if not isinstance(self.video, str):
            raise ValueError(f"video {self.video!r:.40}")


def _is_plausible(number: object) -> bool:
    return isinstance(number, (int, float)) and abs(number) < MOST_FRAMES  # which nan is not


class Known(NamedTuple):
    """What a video really is."""

    frames: int
    times: FrameTimes


@dataclass(frozen=True)
class Labelled:
    """A video to write to a file."""

    video: str
    spans: list[Span]  # in frames
    known: Known
    width: int = 0  # 0: not known
    height: int = 0
    split: str | None = None
    scores: list[float] = field(default_factory=list)  # of the spans, where they are a detector's events

    def seconds(self, span: Span) -> tuple[float, float]:
        """Start and end. Raises LabelError: the rate is unknown."""
        if not self.known.times.known:
            raise LabelError(f"{self.video}: its frame rate is unknown, and the format counts seconds")
        edges = np.array([int(span.start), int(span.end) - 1])
        start, end = self.known.times.start_of(edges[:1]), self.known.times.end_of(edges[1:])
        return round(float(start[0]), 6), round(float(end[0]), 6)

    @property
    def duration(self) -> float:
        return round(self.known.times.duration(self.known.frames), 6)


def in_frames(said: Annotated, known: Known, fps: float | None, by_time: bool) -> list[tuple[int, int, str]]:
    """Start, end and label of each range in frames of the video, 0-based, end exclusive.

    Args:
        fps: the rate that the tool counted by, where its file does not say.
        by_time: frames of another rate are taken as times.

    Raises:
        LabelError: lengths or rates differ, or a range lies outside of the video.
    """
    rate, own_rate = said.fps or fps, known.times.fps
    recounted = said.frames is not None and said.frames != known.frames
    if recounted and not by_time:
        raise LabelError(
            f"{said.place}: {said.video}: the tool counted {said.frames} frames, the video has "
            f"{known.frames}; its ranges would be shifted. {_WAY}"
        )
    own = known.times.duration(known.frames) if known.times.known else None
    if said.duration is not None and own is not None and abs(said.duration - own) > SLACK:
        raise LabelError(
            f"{said.place}: {said.video}: {said.duration:g} s long there, and {own:.6g} s in truth: "
            "another video, or another cut of it"
        )
    if said.seconds:
        return [_from_seconds(said, known, span) for span in said.spans]
    if said.frames == known.frames:  # then no frame is another, whatever rate is said
        return [_checked(said, known, int(start), int(end), label) for start, end, label in said.spans]
    if rate is None and said.spans and (recounted or said.rate_matters):
        raise LabelError(
            f"{said.place}: {said.video}: does not say by which rate frames were counted; give --fps "
            f"with {_RATES[said.rate_matters]}"
        )
    if rate and (recounted or (own_rate and abs(rate - own_rate) > RATE * own_rate)):
        if by_time:
            spans = [Span(start / rate, end / rate, label) for start, end, label in said.spans]
            return [_from_seconds(said, known, span) for span in spans]
        raise LabelError(
            f"{said.place}: {said.video}: frames were counted at {rate:g} a second, the video has "
            f"{own_rate:g}; its ranges would be shifted. {_WAY}"
        )
    return [_checked(said, known, int(start), int(end), label) for start, end, label in said.spans]


_RATES = (  # of tools that count the frames of a file, and of those that count by a rate
    "that of the file that was labelled",
    "the frameRate of the labelling configuration (24 where it names none)",
)
_WAY = "Label it again with the right rate, or say --by-time, with --fps where the file tells no rate"


def _from_seconds(said: Annotated, known: Known, span: Span) -> tuple[int, int, str]:
    if not known.times.known:
        raise LabelError(f"{said.place}: {said.video}: ranges in seconds, and its frame rate is unknown")
    if not 0 <= span.start < span.end < MOST_SECONDS:
        raise LabelError(f"{said.place}: {said.video}: range {span.start:g} to {span.end:g} s is none")
    start, end = known.times.frame_at(span.start), known.times.frames_before(span.end)
    if not known.times.hold(span.start, span.end, known.frames):
        raise LabelError(
            f"{said.place}: {said.video}: range {span.start:g} to {span.end:g} s does not lie in its "
            f"{known.frames} frames, which last until {known.times.over(known.frames):.6g} s"
        )
    end = min(end, known.frames)
    return _checked(said, known, start, end, span.label, f" ({span.start:g} to {span.end:g} s)")


def _checked(
    said: Annotated, known: Known, start: int, end: int, label: str, as_said: str = ""
) -> tuple[int, int, str]:
    if not 0 <= start < end <= known.frames:
        raise LabelError(
            f"{said.place}: {said.video}: range {start} to {end}{as_said} does not lie in its "
            f"{known.frames} frames"
        )
    return start, end, label
