"""What commands show on a terminal: tables, messages, and a progress bar of snippets."""

import io
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from ssrl_pipeline.console.messages import are_json, one_line, say
from ssrl_pipeline.console.progress import FAILED, Outcome, Progress, Workload

__all__ = ["SnippetBar", "progress_bar", "say", "table"]

INTERVAL = 5.0  # seconds between two messages of progress, as JSON
PLAIN_INTERVAL = 30.0  # and as lines of text, where stderr is a file


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Columns side by side; a column that holds only numbers is set flush right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) for row in rows) and bool(rows) for i in range(len(header))]
    lines = [list(header), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def progress_bar(**options: Any) -> tqdm:
    """tqdm's bar on a terminal; else a line of text every half minute, or JSON every few seconds."""
    if are_json():
        return _Messages(**options, file=io.StringIO(), miniters=1, mininterval=INTERVAL)
    if not sys.stderr.isatty():
        return _Lines(**options, file=io.StringIO(), miniters=1, mininterval=0)
    return tqdm(**options, file=sys.stderr, dynamic_ncols=True, mininterval=0.5)


class _Messages(tqdm):  # type: ignore[misc]
    """A bar whose states are messages."""

    last = -math.inf

    def display(self, *arguments: Any, **options: Any) -> None:
        now = time.monotonic()
        if now - self.last < INTERVAL and not self.disable:  # which it is when it is closed
            return
        self.last = now
        of = self.format_dict
        seconds = round(of["elapsed"], 1)
        numbers = {"done": of["n"], "total": of["total"], "unit": of["unit"], "seconds": seconds}
        say(_state(of, self.desc), progress=numbers)


class _Lines(tqdm):  # type: ignore[misc]
    """A bar for a log file: a line now and then, and the last state when it is closed."""

    def __init__(self, **options: Any):
        self.last, self.told = time.monotonic(), -1
        super().__init__(**options)

    def display(self, *arguments: Any, **options: Any) -> None:
        now, of, closed = time.monotonic(), self.format_dict, self.disable
        # The last state is told once: when the bar is closed, if it was not the latest line already.
        if of["n"] == self.told if closed else now - self.last < PLAIN_INTERVAL or of["n"] == of["total"]:
            return
        self.last, self.told = now, of["n"]
        told = f"{_state(of, self.desc)} in {self.format_interval(of['elapsed'])}"
        if not closed and of["n"] and of["n"] < (of["total"] or 0):
            left = self.format_interval((of["total"] - of["n"]) * of["elapsed"] / of["n"])
            told += f", about {left} left"
        say(told)


def _state(of: Mapping[str, Any], desc: str | None) -> str:
    """A bar's state in words: what it says of itself, and how much is done."""
    said = (desc or "").removesuffix(": ")
    count = f"{of['n']} of {of['total']}" if of["total"] else str(of["n"])
    return f"{said}: {count} {of['unit']}s" if said else f"{count} {of['unit']}s"


class SnippetBar(Progress):
    """Videos done, snippets per second and the time left, on stderr."""

    def __init__(self, workload: Workload):
        self.videos, self.finished = workload.videos, 0
        self.bar = progress_bar(total=workload.snippets, unit="snippet", disable=not workload.todo)

    def start(self, video: str) -> None:
        self.bar.set_description(one_line(f"{self.finished + 1}/{self.videos} {video[-30:]}"))

    def snippet(self) -> None:
        self.bar.update()

    def finish(self, outcome: Outcome) -> None:
        self.finished += 1
        if outcome.status == FAILED:
            say(f"failed: {outcome.reason}", logging.WARNING, video=outcome.video)

    def close(self) -> None:
        self.bar.close()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return one_line(str(value))
