"""What commands show on a terminal: tables, messages, and a progress bar of snippets."""

import io
import logging
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from ssrl_pipeline.extract import Plan
from ssrl_pipeline.messages import are_json, one_line, say
from ssrl_pipeline.storing import Outcome, Progress

__all__ = ["SnippetBar", "progress_bar", "say", "table"]

INTERVAL = 5.0  # seconds between two messages of progress


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
    """tqdm's bar on stderr; where messages are JSON, one of these every few seconds instead."""
    if are_json():
        return _Messages(**options, file=io.StringIO(), miniters=1, mininterval=INTERVAL)
    return tqdm(**options, file=sys.stderr, dynamic_ncols=True, mininterval=0.5)


class _Messages(tqdm):  # type: ignore[misc]
    """A bar whose states are messages."""

    last = -math.inf

    def display(self, *arguments: Any, **options: Any) -> None:
        now = time.monotonic()
        if now - self.last < INTERVAL and not self.disable:  # which it is when it is closed
            return
        self.last = now
        of, said = self.format_dict, (self.desc or "").removesuffix(": ")
        count = f"{of['n']} of {of['total']}" if of["total"] else str(of["n"])
        seconds = round(of["elapsed"], 1)
        numbers = {"done": of["n"], "total": of["total"], "unit": of["unit"], "seconds": seconds}
        say(f"{said}: {count} {of['unit']}s" if said else f"{count} {of['unit']}s", progress=numbers)


class SnippetBar(Progress):
    """Videos done, snippets per second and the time left, on stderr."""

    def __init__(self, plan: Plan):
        self.videos, self.finished = plan.videos, 0
        self.bar = progress_bar(total=plan.snippets, unit="snippet", disable=not plan.todo)

    def start(self, video: str) -> None:
        self.bar.set_description(one_line(f"{self.finished + 1}/{self.videos} {video[-30:]}"))

    def snippet(self) -> None:
        self.bar.update()

    def finish(self, outcome: Outcome) -> None:
        self.finished += 1
        if outcome.status == "failed":
            say(f"failed: {outcome.reason}", logging.WARNING, video=outcome.video)

    def close(self) -> None:
        self.bar.close()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return one_line(str(value))
