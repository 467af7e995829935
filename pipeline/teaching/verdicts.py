"""Verdicts on moments: feedback.csv, which only grows, and of which the latest line on a moment counts.

feedback.csv   video,verdict,frame,time,patch,note,who,when

verdict   normal, abnormal, or undo, which takes the latest verdict on the same moment back
frame     0-based; time is of the same moment, seconds or h:mm:ss from the video's beginning; one is enough
patch     2x3:4, the cell of a grid that it is about, counted from 0 row by row; empty: all of the frame

People may edit it, and spreadsheets may save it (:mod:`ssrl_pipeline.disk.tables`). A line that is none
is told with its number, and the others count.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.data import StoredNames
from ssrl_pipeline.disk import Columns, Row, appending, one_name, read_table, seconds_of
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.scales import parse_scale

NORMAL, ABNORMAL, UNDO = "normal", "abnormal", "undo"
WORDS = (NORMAL, ABNORMAL, UNDO)
_FRAME = re.compile(r"[0-9]{1,9}")
_Key = tuple[object, ...]
_PATCH = re.compile(r"(?P<scale>[0-9]{1,3}x[0-9]{1,3}):(?P<cell>[0-9]{1,6})")


class Patch(NamedTuple):
    """A cell of a grid over the frame."""

    scale: str  # as "2x3", rows x columns
    cell: int  # 0-based, row by row

    def __str__(self) -> str:
        return f"{self.scale}:{self.cell}"


class Moment(NamedTuple):
    """What a verdict is on."""

    video: str  # as in the feature store; or a camera's name
    frame: int | None  # None: the time alone is known
    time: float | None  # seconds from the beginning; None: the frame alone is known
    patch: Patch | None = None  # None: all of the frame

    @property
    def by_frame(self) -> _Key | None:
        """Equal for lines that tell the same moment by its frame."""
        return None if self.frame is None else (self.video, self.frame, self.patch)

    @property
    def by_time(self) -> _Key | None:
        """Equal for lines that tell the same moment by its time."""
        return None if self.time is None else (self.video, f"{self.time:.3f}", self.patch)

    def is_on(self, other: "Moment") -> bool:
        """Whether both are the same moment, as far as they can be compared."""
        if (self.video, self.patch) != (other.video, other.patch):
            return False
        if self.frame is not None and other.frame is not None:
            return self.frame == other.frame
        return self.time is not None and other.time is not None and abs(self.time - other.time) < 1e-3

    def __str__(self) -> str:
        parts = [self.video]
        parts += [] if self.frame is None else [f"frame {self.frame}"]
        parts += [] if self.time is None else [f"{self.time:g} s"]
        return ", ".join([*parts, *([f"patch {self.patch}"] if self.patch else [])])


class Verdict(NamedTuple):
    """One line."""

    moment: Moment
    word: str  # of WORDS
    note: str = ""
    who: str = ""
    when: str = ""  # ISO 8601, UTC

    @property
    def abnormal(self) -> bool:
        return self.word == ABNORMAL


def read_verdicts(path: Path, skip: Callable[[str], object]) -> list[Verdict]:
    """The verdicts that count, in the order of their lines.

    Args:
        skip: is told of every line that is none, with its number.

    Raises:
        LabelError: no such file, or its first line is no header.
    """
    standing = _Standing()

    def refuse(error: LabelError) -> None:
        skip(f"{error}; the line is passed over")

    for number, row in enumerate(read_table(path, COLUMNS, refuse)):
        try:
            verdict = _verdict(row)
            earlier = standing.on(verdict.moment)
            if verdict.word != UNDO:
                earlier.append((number, verdict))
            elif earlier:
                earlier.pop()
            else:
                raise LabelError(f"{row.place}: there is no verdict on {verdict.moment} to undo")
        except LabelError as error:
            refuse(error)
    return standing.latest()


class _Standing:
    """The verdicts on each moment, which a line may tell by its frame, its time or both."""

    def __init__(self) -> None:
        self._said: dict[_Key, list[tuple[int, Verdict]]] = {}  # with the numbers of their lines
        self._frames: dict[_Key, _Key] = {}  # moments by their times -> by their frames

    def on(self, moment: Moment) -> list[tuple[int, Verdict]]:
        """Those on a moment, the latest at the end, to be changed."""
        by_frame, by_time = moment.by_frame, moment.by_time
        if by_frame and by_time and by_time not in self._frames:
            self._frames[by_time] = by_frame
            both = self._said.pop(by_time, []) + self._said.get(by_frame, [])
            self._said[by_frame] = sorted(both, key=lambda pair: pair[0])
        key = by_frame or self._frames.get(by_time or (), by_time or ())
        return self._said.setdefault(key, [])

    def latest(self) -> list[Verdict]:
        """The one that counts on each moment, in the order of their lines."""
        found = (said[-1] for said in self._said.values() if said)
        return [verdict for _, verdict in sorted(found, key=lambda pair: pair[0])]


@contextmanager
def adding(path: Path, may_lack: Sequence[str] = ()) -> Iterator[Callable[..., list[Verdict]]]:
    """Until the context ends nobody else adds to the table, so that what is read in it meanwhile stands.

    Args:
        may_lack: what is left out where the table has no such column, beside `who` and `when`.

    Yields:
        What does as :func:`add_verdict` with verdicts, all or none, and gives them with their times.

    Raises:
        BusyError: another process has kept the table for too long.
    """
    with appending(path, COLUMNS) as append:

        def add(*verdicts: Verdict) -> list[Verdict]:
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            dated = [verdict._replace(when=verdict.when or now) for verdict in verdicts]
            append(*(row(one) for one in dated))
            return dated

        def row(verdict: Verdict) -> tuple[dict[str, str], Sequence[str]]:
            either = () if None in (verdict.moment.frame, verdict.moment.time) else ("frame", "time")
            return _cells(verdict), ("who", "when", *either, *may_lack)

        yield add


def _cells(verdict: Verdict) -> dict[str, str]:
    video, frame, time, patch = verdict.moment
    return {
        "video": video,
        "verdict": verdict.word,
        "frame": "" if frame is None else str(frame),
        "time": "" if time is None else f"{round(time, 6):.6f}".rstrip("0").rstrip("."),
        "patch": str(patch or ""),
        **{name: " ".join(getattr(verdict, name).split()) for name in ("note", "who", "when")},
    }


def add_verdict(path: Path, verdict: Verdict, may_lack: Sequence[str] = ()) -> Verdict:
    """Adds a line to the table, which is made where there is none; several processes may at the same time.

    Args:
        may_lack: as of :func:`adding`.

    Returns:
        The verdict with the time at which it was given, now where it says none.

    Raises:
        LabelError: what is there is no table of verdicts.
        BusyError: another process has kept the table for too long.
    """
    with adding(path, may_lack) as add:
        return add(verdict)[0]


def undo(
    path: Path, video: str | None, at: Moment | None, who: str, skip: Callable[[str], object]
) -> Verdict:
    """Takes back the latest verdict that counts: of all, of a video, or on a moment.

    Returns:
        The verdict that no longer counts.

    Raises:
        LabelError: there is none.
        BusyError: another process has kept the table for too long.
    """
    with adding(path) as add:
        verdicts = read_verdicts(path, skip)
        if video is not None:
            video = StoredNames({one.moment.video for one in verdicts}).find_path(video) or video
            at = at and at._replace(video=video)
        found = latest(verdicts, video, at)
        if found is None:
            of = f" on {at}" if at else f" on {video}" if video else ""
            raise LabelError(f"{path}: no verdict{of} counts, so there is none to undo")
        add(Verdict(found.moment, UNDO, who=who))
    return found


def latest(verdicts: Sequence[Verdict], video: str | None, at: Moment | None) -> Verdict | None:
    """The last of all, of a video, or on a moment, which may be told by its frame or its time alone."""
    fitting = (v for v in reversed(verdicts) if video in (None, v.moment.video))
    return next((v for v in fitting if at is None or v.moment.is_on(at)), None)


def parse_patch(text: str) -> Patch:
    """ "2x3:4" -> Patch("2x3", 4). Raises ValueError: it is none."""
    match = _PATCH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a patch reads like 2x3:4 (rows x columns : cell, counted from 0), not {text!r}")
    rows, columns = parse_scale(match["scale"])
    if int(match["cell"]) >= rows * columns:
        raise ValueError(f"patch {text!r}: {match['scale']} has the cells 0 to {rows * columns - 1}")
    return Patch(match["scale"], int(match["cell"]))


def digest_rows(verdicts: Iterable[Verdict]) -> list[list[object]]:
    """What of verdicts decides what is learnt, to be hashed: not who said it, nor when."""
    return sorted([[*map(str, v.moment), v.word] for v in verdicts])


def _is_row(cells: Sequence[str]) -> bool:
    return len(cells) >= 3 and bool(cells[0]) and cells[1].lower() in WORDS


COLUMNS = Columns(("video", "verdict"), ("frame", "time", "patch", "note", "who", "when"), _is_row)


def _verdict(row: Row) -> Verdict:
    """Raises LabelError where the row is none."""
    said = {name: row.cells.get(name, "") for name in (*COLUMNS.required, *COLUMNS.optional)}
    word, video = said["verdict"].lower(), said["video"]
    if not video or not video.isprintable():
        raise LabelError(f"{row.place}: {video!r} is no video's name")
    if word not in WORDS:
        raise LabelError(f"{row.place}: verdict {said['verdict']!r} is none of {', '.join(WORDS)}")
    if said["frame"] and not _FRAME.fullmatch(said["frame"]):
        raise LabelError(f"{row.place}: frame {said['frame']!r} is no whole number from 0")
    time = seconds_of(said["time"]) if said["time"] else None
    if said["time"] and time is None:
        raise LabelError(f"{row.place}: time {said['time']!r} is neither seconds nor h:mm:ss")
    if not said["frame"] and time is None:
        raise LabelError(f"{row.place}: says neither a frame nor a time")
    try:
        patch = parse_patch(said["patch"]) if said["patch"] else None
    except ValueError as error:
        raise LabelError(f"{row.place}: {error}") from error
    moment = Moment(one_name(video), int(said["frame"]) if said["frame"] else None, time, patch)
    return Verdict(moment, word, said["note"], said["who"], said["when"])
