"""Some rows of a table replaced by others: all other lines stay as they are."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ssrl_pipeline.disk.tables import Columns, Row, csv_text, encoding_of, layout, read_table, read_text
from ssrl_pipeline.errors import LabelError

Cells = Mapping[str, str]  # column -> cell
ODD = "backslashreplace"  # of bytes in a file's name that are no text


def new_table(columns: Columns, rows: Sequence[Cells]) -> bytes:
    """A table of the required columns and of the others that a row has."""
    optional = [name for name in columns.optional if any(row.get(name) for row in rows)]
    names = [*columns.required, *optional]
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    return "".join(_line(of_it, ",", "\n") for of_it in cells).encode(errors=ODD)


def changed_table(
    path: Path, columns: Columns, rows: Mapping[str, Sequence[Cells]], name_of: Callable[[Row], str | None]
) -> bytes:
    """What is to be in a table's place.

    Args:
        rows: what they are of -> the rows that replace those of it that are there; where there are none they
            come last. The cells of columns that a row does not name are kept, unless columns are repeated.
        name_of: what a row is of; None, or what is none of `rows`: it stays.

    Raises:
        LabelError: it cannot be read, or has no column for a cell.
    """
    known = layout(path, columns)
    if known is None:
        return new_table(columns, [row for of_it in rows.values() for row in of_it])
    delimiter, names = known
    for column in (*columns.required, *columns.optional):
        cells = [row[column] for of_it in rows.values() for row in of_it if row.get(column)]
        if cells and column not in names:
            raise LabelError(f"{path}: has no column {column!r} for {cells[0]!r}; add it to the first line")
    lines = list(io.StringIO(read_text(path), newline=""))
    ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
    left = dict(rows)

    def made(of_it: Sequence[Cells], before: Sequence[str] = ()) -> str:
        text = ""
        for row in of_it:
            cells = [*before, *[""] * (len(names) - len(before))]
            for column, cell in row.items():
                cells[names.index(column)] = cell
            text += _line(cells, delimiter, ending)
        return text

    for row in list(read_table(path, columns)):
        name = name_of(row)
        if name is None or name not in rows:
            continue
        first, *others = row.lines
        raw = "".join(lines[number - 1] for number in row.lines)
        before = next(csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter, skipinitialspace=True))
        lines[first - 1] = made(left.pop(name, ()), () if columns.repeated else before)
        for number in others:
            lines[number - 1] = ""
    if lines[-1] and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += ending
    lines += [made(of_it) for of_it in left.values()]
    return "".join(lines).encode(encoding_of(path.read_bytes()), ODD)


def _line(cells: Sequence[str], delimiter: str, ending: str) -> str:
    """Without the empty cells at its end."""
    last = max((place for place, cell in enumerate(cells) if cell), default=0)
    return csv_text([cells[: last + 1]], delimiter, ending)
