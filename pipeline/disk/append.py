"""Rows added to a table that several may write and people may edit: whole lines, one writer at a time.

A row is written as the table is: with what separates its cells, in the order of its columns and in its
encoding, so that a file saved by a spreadsheet goes on as one.
"""

import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ssrl_pipeline.disk.locks import writing
from ssrl_pipeline.disk.tables import Columns, csv_text, encoding_of, layout
from ssrl_pipeline.errors import DiskError, LabelError


@contextmanager
def appending(path: Path, columns: Columns) -> Iterator[Callable[..., None]]:
    """Until the context ends, no other process that does so writes the table, which may be read meanwhile.

    Yields:
        What adds rows at the end of the table, all or none, which is made with its header where there is
        none. It takes column -> cell of each (a column that is left out is empty), with the columns whose
        cells are left out where the table has no such column. It raises LabelError where what is there is
        no such table, or lacks a column that a cell is for.

    Raises:
        BusyError: another process has kept the table for too long.
    """
    with writing(path):
        yield functools.partial(_append, path, columns)


def _append(path: Path, columns: Columns, *rows: tuple[Mapping[str, str], Collection[str]]) -> None:
    before = path.read_bytes() if path.exists() else b""
    known = layout(path, columns) if before.strip() else None
    delimiter, names = known or (",", [*columns.required, *columns.optional])
    for cells, may_lack in rows:
        if lost := [name for name, cell in cells.items() if cell and name not in (*names, *may_lack)]:
            raise LabelError(
                f"{path}: has no column {lost[0]!r} for {cells[lost[0]]!r}; add it to the first line"
            )
    codec = _codec(before)
    torn = bool(before) and not before.decode(codec, errors="replace").endswith(("\n", "\r"))
    lines = [[cells.get(name, "") for name in names] for cells, _ in rows]
    text = csv_text(lines if known else [names, *lines], delimiter)
    _write(path, (("\n" if torn else "") + text).encode(codec))


def _codec(before: bytes) -> str:
    """That of a table by its first bytes, for more behind them: without a mark of its own."""
    encoding = encoding_of(before)
    if encoding in ("utf-16", "utf-32"):
        return encoding + ("-be" if before[0] in (0x00, 0xFE) else "-le")
    return encoding.removesuffix("-sig")


def _write(path: Path, content: bytes) -> None:
    """At the end of a file, whole or not at all, and onto the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, content) < len(content):
            os.ftruncate(descriptor, size)
            raise DiskError(f"{path}: cannot be written, the disk is full; make room and try again")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
