"""What commands show on a terminal: tables, and a progress bar of snippets."""

import sys
from collections.abc import Sequence

import click
from tqdm import tqdm

from ssrl_pipeline.extract import Plan
from ssrl_pipeline.storing import Outcome, Progress


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


def say(message: str) -> None:
    """A message for the person, beside the results on stdout."""
    click.echo(message, err=True)


class SnippetBar(Progress):
    """Videos done, snippets per second and the time left, on stderr."""

    def __init__(self, plan: Plan):
        self.videos, self.finished = plan.videos, 0
        self.bar = tqdm(
            total=plan.snippets,
            unit="snippet",
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not plan.todo,
        )

    def start(self, video: str) -> None:
        self.bar.set_description(f"{self.finished + 1}/{self.videos} {video[-30:]}")

    def snippet(self) -> None:
        self.bar.update()

    def finish(self, outcome: Outcome) -> None:
        self.finished += 1
        if outcome.status == "failed":
            self.bar.write(f"failed: {outcome.reason}", file=sys.stderr)

    def close(self) -> None:
        self.bar.close()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return str(value)
