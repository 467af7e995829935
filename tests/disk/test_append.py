"""Rows added to tables that others may write and people may have saved."""

import multiprocessing
import threading
from pathlib import Path

import pytest

from ssrl_pipeline.disk.append import appending
from ssrl_pipeline.disk.cells import seconds_of
from ssrl_pipeline.disk.tables import Columns, read_table
from ssrl_pipeline.errors import LabelError

COLUMNS = Columns(("name", "size"), ("note",), lambda cells: len(cells) > 1 and cells[1].isdigit())
WRITERS, ROWS = 3, 40


def rows(path: Path) -> list[tuple[str, ...]]:
    return [
        tuple(row.cells.get(name, "") for name in ("name", "size", "note"))
        for row in read_table(path, COLUMNS)
    ]


def append_row(path: Path, cells: dict[str, str]) -> None:
    with appending(path, COLUMNS) as append:
        append((cells, ()))


def test_a_table_is_made_with_its_header(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    append_row(path, {"name": "a, b", "size": "1"})
    assert path.read_bytes() == b'name,size,note\n"a, b",1,\n'
    assert [one.name for one in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "text",
    ["name,size\r\na,1\r\n", "size;note;name\n1;;a", "sep=;\nsize;name\n1;a", "# mine\na\t1\t\n", "a,1\n"],
)
def test_a_row_is_written_as_the_table_is(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    append_row(path, {"name": "cámara; b, c\td", "size": "2"})
    assert rows(path) == [("a", "1", ""), ("cámara; b, c\td", "2", "")]
    assert path.read_bytes().startswith(text.encode(encoding))


def test_what_has_no_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,size\na,1\n")
    with pytest.raises(LabelError, match=r"no column 'note' for 'hm'"):
        append_row(path, {"name": "b", "size": "2", "note": "hm"})
    assert path.read_text() == "name,size\na,1\n"


def test_several_rows_are_added_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,size\na,1\n")
    with appending(path, COLUMNS) as append:
        with pytest.raises(LabelError, match=r"no column 'note' for 'hm'"):
            append(({"name": "b", "size": "2"}, ()), ({"name": "c", "note": "hm"}, ()))
        assert path.read_text() == "name,size\na,1\n"
        append(({"name": "b", "size": "2"}, ()), ({"name": "c", "note": "hm"}, ("note",)))
    assert path.read_text() == "name,size\na,1\nb,2\nc,\n"


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    path, said = tmp_path / "table.csv", []
    path.write_bytes(b'name,size\na,1\n"b,2\n\0\0\xff\nc,3,4,5\nd,')
    append_row(path, {"name": "e", "size": "5"})
    found = [row.cells["name"] for row in read_table(path, COLUMNS, said.append)]
    assert found == ["a", "d", "e"]
    assert [str(error).split(":")[0].rpartition(" ")[2] for error in said] == ["3", "4", "5"]


def test_a_damaged_first_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for first in (b"na\xffme,size,note", b"\0\0", b"\xc3(,,", b'"a,1', b"nonsense"):
        said: list[LabelError] = []
        path.write_bytes(first + b"\na,1\nb,2\n")
        append_row(path, {"name": "c", "size": "3"})
        assert [row.cells["name"] for row in read_table(path, COLUMNS, said.append)] == ["a", "b", "c"]
        assert len(said) == 1 and "line 1" in str(said[0])
        with pytest.raises(LabelError, match="line 1"):
            list(read_table(path, COLUMNS))


@pytest.mark.parametrize("first", ["size,n\ufffdme", "name,label", "name,size,noot", "n\ufffdme,note"])
def test_a_header_that_names_other_columns_is_not_passed_over(tmp_path: Path, first: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{first}\na,1\n", encoding="utf-8")
    with pytest.raises(LabelError, match="line 1"):
        list(read_table(path, COLUMNS, lambda error: None))
    with pytest.raises(LabelError, match="line 1"):
        append_row(path, {"name": "c", "size": "3"})


def test_a_name_that_begins_with_a_hash_is_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for name in ("#1.mp4", "# 2.mp4", "3.mp4"):
        append_row(path, {"name": name, "size": "1"})
    assert [name for name, *_ in rows(path)] == ["#1.mp4", "# 2.mp4", "3.mp4"]
    assert path.read_text().endswith("\n3.mp4,1,\n")


def test_what_was_read_stands_until_a_row_is_added(tmp_path: Path) -> None:
    path, order = tmp_path / "table.csv", []

    def other() -> None:
        append_row(path, {"name": "b", "size": "2"})
        order.append("b")

    with appending(path, COLUMNS) as append:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        append(({"name": "a", "size": "1"}, ()))
        order.append("a")
    thread.join(30)
    assert order == ["a", "b"] and [name for name, *_ in rows(path)] == ["a", "b"]


def write_some(path: Path, writer: int) -> None:
    for row in range(ROWS):
        append_row(path, {"name": f"{writer}" * 50, "size": str(row)})


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_some, args=(path, writer)) for writer in range(WRITERS)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    expected = sorted((str(writer) * 50, str(row), "") for writer in range(WRITERS) for row in range(ROWS))
    assert sorted(rows(path)) == expected


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        *[("12.5", 12.5), ("12,5", 12.5), ("12.5s", 12.5), ("7 s", 7.0), ("1:02", 62.0), ("0:01:02.5", 62.5)],
        *[
            ("2:00:00", 7200.0),
            (".5", 0.5),
            ("-1", None),
            ("", None),
            ("a", None),
            ("1:-2", None),
            ("s", None),
            ("9" * 400, None),
            ("9" * 5000 + ":00", None),
            ("1" + ":00" * 200, None),
            ("0." + "1" * 5000, 1 / 9),
        ],
    ],
)
def test_times_as_people_write_them(cell: str, seconds: float | None) -> None:
    assert seconds_of(cell) == seconds
