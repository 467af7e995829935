"""What was imported, as labels.csv and intervals.csv: new tables, or some rows of those that are there.

The lines of other videos stay as they are, and so do those that say already what was imported.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.data import INTERVAL_COLUMNS, LABEL_COLUMNS, Intervals, Labels, StoredNames
from ssrl_pipeline.disk import (
    Cells,
    Columns,
    Row,
    changed_table,
    frame_pairs,
    new_table,
    one_name,
    read_table,
    write_together,
    writing,
)
from ssrl_pipeline.errors import ConfigError, LabelError

NORMAL, ABNORMAL = "normal", "abnormal"
Rows = Mapping[str, Sequence[Cells]]  # video -> its rows


class Imported(NamedTuple):
    labels: Labels
    intervals: Intervals
    problems: list[str]  # one a video that was left out


def write_tables(
    found: Imported, out: Path, overwrite: bool = False, update: bool = False, bare: bool = False
) -> tuple[Path, Path]:
    """Writes labels.csv and intervals.csv into a folder: both, or neither; one process after the other.

    Args:
        overwrite: tables that are there are replaced.
        update: they are changed where they say something else of the videos that were found.
        bare: they may know videos by other folders and endings, as beside released features.

    Raises:
        ConfigError: tables are there already, or both is said.
        LabelError: what is there cannot be read, or lacks a column.
        BusyError: another process has kept the tables for too long.
    """
    if overwrite and update:
        raise ConfigError("--overwrite replaces the tables, --update changes them; say one")
    paths = out / "labels.csv", out / "intervals.csv"
    with writing(paths[0]):
        _write(found, paths, overwrite, update, bare)
    return paths


def _write(found: Imported, paths: tuple[Path, Path], overwrite: bool, update: bool, bare: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not (overwrite or update):
        raise ConfigError(
            f"{there[0]}: is there already; say --update to change what it says of these videos alone, "
            "--overwrite to replace it, or name another folder with --out"
        )
    name_of = partial(_name, known=found.labels, bare=StoredNames(found.labels) if bare else None)
    tables = (
        (paths[0], LABEL_COLUMNS, _label_rows(found), _same_label),
        (paths[1], INTERVAL_COLUMNS, _interval_rows(found), _same_intervals),
    )
    contents = {}
    for path, columns, rows, same in tables:
        if update and path in there:
            contents[path] = _changed(path, columns, rows, name_of, same)
        else:
            contents[path] = new_table(columns, [row for of_it in rows.values() for row in of_it])
    write_together(contents)


def _label_rows(found: Imported) -> Rows:
    words = {True: ABNORMAL, False: NORMAL}
    rows = {}
    for video, label in found.labels.items():
        split = {"split": label.split} if label.split else {}
        rows[video] = [{"video": video, "label": words[label.abnormal], **split}]
    return rows


def _interval_rows(found: Imported) -> Rows:
    return {
        video: [
            {"video": video, "start": str(start), "end": str(end)}
            for start, end in found.intervals.get(video, [])
        ]
        for video in found.labels
    }


def _name(row: Row, known: Labels, bare: StoredNames | None) -> str | None:
    """The imported video that a row is of; None: of another."""
    video = one_name(row.cells["video"])
    return video if video in known or bare is None else bare.find(video)


def _changed(
    path: Path,
    columns: Columns,
    rows: Rows,
    name_of: Callable[[Row], str | None],
    same: Callable[[Sequence[Row], Sequence[Cells]], bool],
) -> bytes:
    before: dict[str | None, list[Row]] = {}
    for row in read_table(path, columns):
        before.setdefault(name_of(row), []).append(row)
    new = {video: of_it for video, of_it in rows.items() if not same(before.get(video, []), of_it)}
    return changed_table(path, columns, new, name_of)


def _same_label(before: Sequence[Row], rows: Sequence[Cells]) -> bool:
    said = [{column: row.cells.get(column, "").lower() for column in rows[0]} for row in before]
    return [cells | {"video": ""} for cells in said] == [{**cells, "video": ""} for cells in rows]


def _same_intervals(before: Sequence[Row], rows: Sequence[Cells]) -> bool:
    try:
        pairs = [pair for row in before for pair in frame_pairs(row.repeated, row.place)]
    except LabelError:
        return False  # they are times
    return sorted(pairs) == [(int(row["start"]), int(row["end"])) for row in rows]
