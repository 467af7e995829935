"""Tables as people, spreadsheets and the field's projects write them: text of any Unicode encoding, and rows.

What is in no doubt is read: commas, semicolons or tabs, a header in any case or none, comments, UTF-16.
All else is refused with its file and line, for a cell that is passed over is a wrong number later.
"""

import codecs
import csv
import difflib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from ssrl_pipeline.disk.files import mistaken_download
from ssrl_pipeline.errors import LabelError

T = TypeVar("T")

DELIMITERS = (",", ";", "\t", "|", " ")
LOST = "\ufffd"  # stands for what is no text
_MARKS = (  # UTF-32's first: it begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are ZIP archives, .xls is OLE
_EXCELS_NOTE = re.compile(r'"?sep=(?P<delimiter>\\t|.)"?', re.IGNORECASE)  # which it writes as the first line
_COMMENT = ("# ", "#\t")


class Columns(NamedTuple):
    """The columns of a table."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    is_row: Callable[
        [Sequence[str]], bool
    ]  # whether cells in this order may be a row; decides without a header
    repeated: tuple[str, ...] = ()  # of the required ones: the last, which may come several times in a row
    hint: str = ""  # behind what the header should be

    @property
    def header(self) -> str:
        return ",".join(self.required) + "".join(f"[,{name}]" for name in self.optional)


class Row(NamedTuple):
    """One row of a table."""

    place: str  # file and line, for messages
    cells: dict[str, str]  # column -> cell, stripped; "" where the row has none
    repeated: list[str]  # cells of the repeated columns, as many times as the row has them
    lines: range = range(0)  # the numbers of those that it stands in, from 1


def read_text(path: Path, *, damaged: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 where it says so by its first bytes.

    Args:
        damaged: what is no text becomes U+FFFD, and is not refused.

    Raises:
        LabelError: it cannot be read, or is not such a text.
    """
    try:
        content = path.read_bytes()
        mistake = mistaken_download(path) if content else None
    except FileNotFoundError:
        raise LabelError(f"{path}: no such file") from None
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error})") from error
    if content.startswith(_WORKBOOKS):
        raise LabelError(f"{path}: a workbook, not a text; save it as CSV (in Excel: CSV UTF-8)")
    if mistake:
        raise LabelError(f"{path}: {mistake}")
    encoding = encoding_of(content)
    if damaged:
        return content.decode(encoding, errors="replace").replace("\0", LOST)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start : error.start + 1].hex()
        raise LabelError(
            f"{path}, line {line}: not text in {encoding.upper().removesuffix('-SIG')} (byte 0x{byte}); "
            "save the file as UTF-8 (in Excel: CSV UTF-8)"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LabelError(f"{path}, line {line}: not text (a zero byte); save the file as UTF-8")
    return text


def encoding_of(start: bytes) -> str:
    """Of a text, by its first bytes."""
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    # UTF-16 of a first character that ASCII has
    if encoding == "utf-8" and start[:2].count(0) == 1 < len(start):
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    return encoding


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line) of a text file, stripped; empty ones and comments (`# ...`) are passed over.

    Raises:
        LabelError: it cannot be read as text.
    """
    for number, line in enumerate(_lines(read_text(path)), start=1):
        text = line.strip()
        if text and text != "#" and not text.startswith(_COMMENT):
            yield number, text


def read_table(
    path: Path, columns: Columns, skip: Callable[[LabelError], object] | None = None
) -> Iterator[Row]:
    """The rows of a table with or without a header; empty ones and comments are passed over.

    A line that begins with # is a comment. Without a header the cells stand in the order of `columns`.

    Args:
        skip: is told what is wrong with a row, which is then passed over; a row is one line then, so
            that no quote swallows the next. None: such a row is an error.

    Raises:
        LabelError: it cannot be read, a column is missing, or a row does not fit; the line is named.
    """
    header, lines = _open(path, columns, skip)
    if header is None:
        raise LabelError(f"{path}: empty; its first line reads {columns.header}")
    for number, line in lines:
        place, text = f"{path}, line {number}", line.strip()
        last = number  # a quoted cell may go on in the next lines
        rest = iter(()) if skip else (more for at, more in lines if (last := at))
        try:
            if not text or _is_comment(text, place, columns):
                continue
            if skip and LOST in line:
                raise LabelError(f"{place}: not text")
            cells = _cells(line, rest, header.delimiter, place)
            if any(cells):
                yield header.row(cells, place)._replace(lines=range(number, last + 1))
        except LabelError as error:
            if skip is None:
                raise
            skip(error)


def layout(path: Path, columns: Columns) -> tuple[str, list[str]] | None:
    """What separates a table's cells, and its columns in order ("" is none of ours); None: it has no rows.

    Raises:
        LabelError: as of :func:`read_table`.
    """
    header, _ = _open(path, columns, skip=lambda error: None)
    return (header.delimiter, header.names) if header else None


def csv_text(rows: Iterable[Sequence[object]], delimiter: str = ",", ending: str = "\n") -> str:
    """Rows as :func:`read_table` reads them: in quotes what begins with # and is no comment."""
    text = io.StringIO()
    plain = csv.writer(text, delimiter=delimiter, lineterminator=ending)
    quoting = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoting if str(row[0]).startswith("#") else plain).writerow(row)
    return text.getvalue()


def _open(
    path: Path, columns: Columns, skip: Callable[[LabelError], object] | None
) -> "tuple[_Header | None, Iterator[tuple[int, str]]]":
    """A table's header, None where it has no rows, and the numbered lines behind it.

    Args:
        skip: is told of damaged lines before the first whole one.
    """
    lines = enumerate(_lines(read_text(path, damaged=skip is not None)), start=1)
    delimiters: Sequence[str] = DELIMITERS
    damage: list[LabelError] = []
    for number, line in lines:
        place, text = f"{path}, line {number}", line.strip()
        try:
            if not text or _is_comment(text, place, columns):
                continue
            if said := _EXCELS_NOTE.fullmatch(line.rstrip("\n")):
                delimiters = (said["delimiter"].replace("\\t", "\t"),)
                continue
            header = _find_header(line, delimiters, place, columns)
        except LabelError as error:
            if skip is None or not _is_damaged(line, columns):
                raise
            damage.append(error)
            continue
        if skip:
            for one in damage:
                skip(one)
        return header, chain([(number, line)], lines) if header.is_default else lines
    if damage:
        raise damage[0]
    return None, lines


def _is_damaged(line: str, columns: Columns) -> bool:
    """Whether a line that is neither header nor row says nothing of the columns that holds for other lines.

    It names none of them or, with what is no text in it, some where they stand without a header as well.
    """
    order = dict(enumerate((*columns.required, *columns.optional)))
    named: set[str] = set()
    for delimiter in DELIMITERS:
        with suppress(csv.Error):
            cells = {at: _column(cell, columns) for at, cell in enumerate(_parse([line], delimiter))}
            if any(name and name != order.get(at) for at, name in cells.items()):
                return False
            named |= set(cells.values()) - {""}
    return not named or (LOST in line and not named >= set(columns.required))


class _Header(NamedTuple):
    """Which column a cell is of, by its place."""

    columns: Columns
    delimiter: str
    names: list[str]  # one a cell; "" where the column is none of ours
    is_default: bool = False  # the table has none

    def row(self, cells: list[str], place: str) -> Row:
        size, repeated = len(self.names), self.columns.repeated
        named, surplus = cells[:size] + [""] * (size - len(cells)), cells[size:]
        if surplus and not (repeated and tuple(self.names[-len(repeated) :]) == repeated):
            raise LabelError(
                f"{place}: {len(cells)} cells where there are {size} columns, {surplus[0]!r} is too much; "
                f"a name that holds {self.delimiter!r} stands in quotes"
            )
        pairs = list(zip(self.names, named, strict=True))
        found = [(name, cell) for name, cell in pairs if name in repeated]
        groups = [sorted(group, key=lambda pair: repeated.index(pair[0])) for group in self._groups(found)]
        values = [[cell for _, cell in group] for group in groups] + self._groups(surplus)
        filled = [group for group in values if any(group)] or values[:1]
        return Row(
            place,
            {name: cell for name, cell in pairs if name and name not in repeated},
            [cell for group in filled for cell in group],
        )

    def _groups(self, cells: list[T]) -> list[list[T]]:
        """Cut after each time that the repeated columns come."""
        size = max(1, len(self.columns.repeated))
        return [cells[at : at + size] for at in range(0, len(cells), size)]

    def check(self, cells: list[str], place: str) -> None:
        """Raises LabelError where columns come twice or are misspelt, so that nothing is passed over."""
        columns = self.columns
        single = [name for name in self.names if name and name not in columns.repeated]
        if twice := [name for name in single if single.count(name) > 1]:
            raise LabelError(f"{place}: has two columns {twice[0]!r}; remove or rename one")
        repeated = [name for name in self.names if name in columns.repeated]
        if any(sorted(group) != sorted(columns.repeated) for group in self._groups(repeated)):
            raise LabelError(
                f"{place}: its columns {', '.join(repeated)} are not so many times "
                f"{' and '.join(columns.repeated)}"
            )
        missing = [name for name in columns.optional if name not in self.names]
        for cell in (cell for cell, name in zip(cells, self.names, strict=True) if not name):
            meant = difflib.get_close_matches(cell.casefold(), missing, 1, 0.75)
            meant += [name for name in columns.repeated if cell.casefold().startswith(name)]
            if meant:
                raise LabelError(
                    f"{place}: the column {cell!r} should read {meant[0]!r}, or be called otherwise"
                )


def _find_header(line: str, delimiters: Sequence[str], place: str, columns: Columns) -> _Header:
    """What separates cells, and the columns, by the first line that is not a comment."""
    tried = []
    for delimiter in delimiters:
        with suppress(csv.Error):
            tried.append((delimiter, _parse([line], delimiter)))
    for delimiter, cells in tried:
        header = _Header(columns, delimiter, [_column(cell, columns) for cell in cells])
        if set(columns.required) <= set(header.names):
            header.check(cells, place)
            return header
    for delimiter, cells in tried:
        if columns.is_row(cells):
            return _Header(columns, delimiter, [*columns.required, *columns.optional], is_default=True)
    named = [{_column(cell, columns) for cell in cells} - {""} for _, cells in tried]
    best = max(named, key=len, default=set())
    lacks = [repr(name) for name in columns.required if name not in best]
    if best:
        said = f"has no column {lacks[0]}"
    else:
        said = f"is neither a header with the columns {' and '.join(lacks)} nor a row of them"
    raise LabelError(f"{place}: {line.strip()!r} {said}; the first line reads {columns.header}{columns.hint}")


def _column(cell: str, columns: Columns) -> str:
    """The column that a cell of a header names, `start2` and `start_2` as `start`; "" where none of ours."""
    name = cell.casefold()
    base = re.sub(r"[ _.-]?[0-9]+$", "", name)
    if base in columns.repeated:
        return base
    return name if name in (*columns.required, *columns.optional) else ""


def _is_comment(text: str, place: str, columns: Columns) -> bool:
    """Whether a line is a comment; one that may as well be a video whose name begins with # is refused."""
    if not text.startswith("#"):
        return False
    if text.startswith(_COMMENT):
        return True
    for delimiter in DELIMITERS:
        with suppress(csv.Error):
            if columns.is_row(_parse([text], delimiter)):
                raise LabelError(
                    f"{place}: {text!r} may be a comment or a video; write '# ' in front of a comment, "
                    'and a name that begins with # in quotes, as in "#1.mp4"'
                )
    return True


def _cells(line: str, rest: Iterator[str], delimiter: str, place: str) -> list[str]:
    """Of the row that begins with a line."""
    try:
        return _parse(chain([line], rest), delimiter)
    except csv.Error as error:
        raise LabelError(f"{place}: not readable as CSV ({error})") from error


def _parse(lines: Iterable[str], delimiter: str) -> list[str]:
    """The cells of the first row, stripped; empty ones at its end are left out. Raises csv.Error."""
    cells = next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    cells = [cell.strip() for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _lines(text: str) -> Iterator[str]:
    """Its lines, with any of the three line ends and nothing else to end one."""
    return iter(io.StringIO(text, newline=None))
