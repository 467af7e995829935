"""Rows of a table replaced, whoever wrote it and however."""

from pathlib import Path

import pytest

from ssrl_pipeline.disk.rewrite import changed_table, new_table
from ssrl_pipeline.disk.tables import Columns, Row, read_table
from ssrl_pipeline.errors import LabelError

COLUMNS = Columns(("name", "size"), ("note",), lambda cells: len(cells) > 1 and cells[1].isdigit())
SPANS = Columns(("name", "a", "b"), (), lambda cells: len(cells) > 2, repeated=("a", "b"))


def name(row: Row) -> str:
    return row.cells["name"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name,size\r\ná,1\r\nb,2\r\n", "name,size\r\ná,1\r\nb,7\r\nc,8\r\n"),
        ("sep=;\nwho;size;name\nx;1;á\ny;2;b", "sep=;\nwho;size;name\nx;1;á\ny;7;b\n;8;c\n"),
        ("# mine\nb\t2\t\n\ná\t1\tkept \t", "# mine\nb\t7\n\ná\t1\tkept \t\nc\t8\n"),
        ('name,size,note\n"b","2","two\nlines"\ná,1,\n', 'name,size,note\nb,7,"two\nlines"\ná,1,\nc,8\n'),
    ],
)
def test_other_rows_and_cells_stay_as_they_are(
    tmp_path: Path, before: str, after: str, encoding: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(before.encode(encoding))
    rows = {"c": [{"name": "c", "size": "8"}], "b": [{"name": "b", "size": "7"}]}
    assert changed_table(path, COLUMNS, rows, name) == after.encode(encoding)


def test_several_rows_take_the_place_of_several(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,name,a,b\n1,2,x,3,4\n5,6,y\n7,8,x\n9,9,z\n")
    rows = {"x": [{"name": "x", "a": "10", "b": "11"}, {"name": "x", "a": "12", "b": "13"}], "z": []}
    assert changed_table(path, SPANS, rows, name) == b"a,b,name,a,b\n10,11,x\n12,13,x\n5,6,y\n"


def test_a_new_table_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(new_table(COLUMNS, [{"name": "#1, a", "size": "1"}, {"name": "#2", "size": "2"}]))
    assert path.read_text() == 'name,size\n"#1, a","1"\n"#2","2"\n'
    assert [row.cells["name"] for row in read_table(path, COLUMNS)] == ["#1, a", "#2"]


def test_a_cell_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,size\n")
    with pytest.raises(LabelError, match="has no column 'note' for 'x'; add it to the first line"):
        changed_table(path, COLUMNS, {"a": [{"name": "a", "size": "1", "note": "x"}]}, name)
