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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.disk import Columns, Row, append_row, one_name, read_table, seconds_of
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.scales import parse_scale

NORMAL, ABNORMAL, UNDO = "normal", "abnormal", "undo"
WORDS = (NORMAL, ABNORMAL, UNDO)
_FRAME = re.compile(r"[0-9]{1,9}")
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
    def key(self) -> tuple[object, ...]:
        """Equal for lines on the same moment."""
        return (
            self.video,
            *(("t", f"{self.time:.3f}") if self.frame is None else ("f", self.frame)),
            self.patch,
        )

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
    standing: dict[tuple[object, ...], list[tuple[int, Verdict]]] = {}

    def refuse(error: LabelError) -> None:
        skip(f"{error}; the line is passed over")

    for number, row in enumerate(read_table(path, COLUMNS, refuse)):
        try:
            verdict = _verdict(row)
            earlier = standing.setdefault(verdict.moment.key, [])
            if verdict.word != UNDO:
                earlier.append((number, verdict))
            elif earlier:
                earlier.pop()
            else:
                raise LabelError(f"{row.place}: there is no verdict on {verdict.moment} to undo")
        except LabelError as error:
            refuse(error)
    latest = sorted((stack[-1] for stack in standing.values() if stack), key=lambda pair: pair[0])
    return [verdict for _, verdict in latest]


def add_verdict(path: Path, verdict: Verdict, may_lack: Sequence[str] = ()) -> Verdict:
    """Adds a line to the table, which is made where there is none; several processes may at the same time.

    Args:
        may_lack: what is left out where the table has no such column, beside `who` and `when`.

    Returns:
        The verdict with the time at which it was given, now where it says none.

    Raises:
        LabelError: what is there is no table of verdicts.
        BusyError: another process has kept the table for too long.
    """
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    video, frame, time, patch = verdict.moment
    verdict = verdict._replace(when=verdict.when or now)
    cells = {
        "video": video,
        "verdict": verdict.word,
        "frame": "" if frame is None else str(frame),
        "time": "" if time is None else f"{round(time, 6):.6f}".rstrip("0").rstrip("."),
        "patch": str(patch or ""),
        **{name: " ".join(getattr(verdict, name).split()) for name in ("note", "who", "when")},
    }
    either = () if None in (frame, time) else ("frame", "time")
    append_row(path, COLUMNS, cells, may_lack=("who", "when", *either, *may_lack))
    return verdict


def undo(
    path: Path, video: str | None, at: Moment | None, who: str, skip: Callable[[str], object]
) -> Verdict:
    """Takes back the latest verdict that counts: of all, of a video, or on a moment.

    Returns:
        The verdict that no longer counts.

    Raises:
        LabelError: there is none.
    """
    found = latest(read_verdicts(path, skip), video, at)
    if found is None:
        of = f" on {at}" if at else f" on {video}" if video else ""
        raise LabelError(f"{path}: no verdict{of} counts, so there is none to undo")
    add_verdict(path, Verdict(found.moment, UNDO, who=who))
    return found


def latest(verdicts: Sequence[Verdict], video: str | None, at: Moment | None) -> Verdict | None:
    """The last of all, of a video, or on a moment, which may be told by its frame or its time alone."""
    fitting = (v for v in reversed(verdicts) if video in (None, v.moment.video))
    return next((v for v in fitting if at is None or _same(v.moment, at)), None)


def _same(one: Moment, other: Moment) -> bool:
    if (one.video, one.patch) != (other.video, other.patch):
        return False
    if one.frame is not None and other.frame is not None:
        return one.frame == other.frame
    return one.time is not None and other.time is not None and abs(one.time - other.time) < 1e-3


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
