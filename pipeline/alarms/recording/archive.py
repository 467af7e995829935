"""The archive of events: a folder of clips, stills and records by camera and day, and an index of them.

    events/
      index.sqlite                        one row an event; may be read while it is written
      gate/2026-11-26/
        20261126-140311-3fa9c1.mp4        the clip
        20261126-140311-3fa9c1.jpg        the peak, with the patch marked
        20261126-140311-3fa9c1.json       all that was told of it, and the scores

Days and times in names are UTC. Every file appears whole or not at all. One `watch` at a time writes here.
"""

import contextlib
import json
import re
import sqlite3
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssrl_pipeline.disk import clear_leftovers, locked, require_writable
from ssrl_pipeline.errors import BusyError, PipelineError

INDEX, LOCK = "index.sqlite", ".watch.lock"
VERSION = 1  # of the index
PATIENCE = 5.0  # seconds that a reader may hold the index up
UNWRITTEN = 1000  # rows that wait until there is room for them
OPEN, DONE, INTERRUPTED, EXPIRED = "open", "done", "interrupted", "expired"
COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "camera": "TEXT NOT NULL",
    "state": "TEXT NOT NULL",  # open; done; interrupted: `watch` was killed; expired: its files are gone
    "made": "REAL NOT NULL",  # when it began here, seconds since 1970
    "told": "REAL",  # when its start was told
    "start": "INTEGER",  # frames, `end` exclusive
    "end": "INTEGER",
    "peak": "INTEGER",
    "start_s": "REAL",
    "end_s": "REAL",
    "peak_s": "REAL",
    "start_time": "TEXT",  # UTC, ISO 8601; NULL of a recording
    "end_time": "TEXT",
    "peak_time": "TEXT",
    "peak_score": "REAL",
    "mean_score": "REAL",
    "words": "TEXT",  # JSON, as are zones
    "patch": "TEXT",
    "zones": "TEXT",
    "clip": "TEXT",  # from the archive's folder on
    "still": "TEXT",
    "clip_first": "INTEGER",  # the clip's frames, as the camera counts them; both are in it
    "clip_last": "INTEGER",
    "bytes": "INTEGER NOT NULL DEFAULT 0",  # of its files
    "verdict": "TEXT",  # normal or abnormal; NULL: nobody said
}
CONFIRMED = "abnormal"  # the verdict for which an event is kept longer
Row = dict[str, Any]


class Archive:
    """Writes the index, in one thread.

    Args:
        folder: of the archive.
        say: takes a line for people.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]):
        self.folder, self._say = folder, say
        self._index = open_index(folder / INDEX)
        self._unwritten: deque[Row] = deque(maxlen=UNWRITTEN)
        self._failing = False

    def place(self, camera: str, moment: float | None = None) -> tuple[str, Path]:
        """The id of a new event, and its clip's path, of which those of its other files differ by suffix."""
        utc = datetime.fromtimestamp(time.time() if moment is None else moment, timezone.utc)
        name = f"{utc:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        return name, self.folder / folder_name(camera) / f"{utc:%Y-%m-%d}" / f"{name}.mp4"

    def write(self, row: Mapping[str, Any]) -> None:
        """A new event, or more of one that is there; values are those of :data:`COLUMNS`, by name.

        Where there is no room, it waits in memory until there is.
        """
        self._unwritten.append(dict(row))
        self.write_waiting()

    @property
    def is_waiting(self) -> bool:
        """Whether rows wait for room."""
        return bool(self._unwritten)

    def write_waiting(self) -> None:
        """Tries again to write what waits."""
        try:
            while self._unwritten:
                self._put(self._unwritten[0])
                self._unwritten.popleft()
        except sqlite3.Error as error:
            if not self._failing:
                self._say(f"{self.folder / INDEX}: cannot be written ({error}); events wait for it in memory")
            self._failing = True
        else:
            self._failing = False

    def mend(self) -> int:
        """Marks what a killed run left unfinished, and clears away its half files; how many events it was."""
        rows = self.rows("state = ?", OPEN)
        for row in rows:
            found = row["still"], row["clip"]
            stem = self.folder / folder_name(row["camera"]) / day_of(row["id"]) / row["id"]
            still, clip = (
                path or (self.relative(file) if file.is_file() else None)
                for path, file in zip(
                    found, (stem.with_suffix(".jpg"), stem.with_suffix(".mp4")), strict=True
                )
            )
            self.write(
                {"id": row["id"], "state": INTERRUPTED, "still": still, "clip": clip, **self.size(stem)}
            )
        for camera in self.folder.iterdir():
            if camera.is_dir():
                for day in sorted(path for path in camera.iterdir() if path.is_dir())[-2:]:
                    clear_leftovers(day)
        return len(rows)

    def rows(self, where: str = "1", *values: object) -> list[Row]:
        """Events, the oldest first."""
        return read_rows(self._index, where, *values)

    def expire(self, row: Mapping[str, Any]) -> None:
        """Removes an event's files; the index still knows it."""
        stem = self.folder / folder_name(row["camera"]) / day_of(row["id"]) / row["id"]
        for suffix in (".mp4", ".mkv", ".jpg", ".json"):
            stem.with_suffix(suffix).unlink(missing_ok=True)
        for folder in (stem.parent, stem.parent.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        self.write({"id": row["id"], "state": EXPIRED, "clip": None, "still": None, "bytes": 0})

    def size(self, stem: Path) -> Row:
        """What an event's files take, as a part of its row."""
        files = [stem.with_suffix(suffix) for suffix in (".mp4", ".jpg", ".json")]
        return {"bytes": sum(file.stat().st_size for file in files if file.is_file())}

    def relative(self, path: Path) -> str:
        """As the index has it."""
        return path.absolute().relative_to(self.folder.absolute()).as_posix()

    def close(self) -> None:
        if self._unwritten:
            self.write_waiting()
        if self._unwritten:
            self._say(f"{self.folder / INDEX}: events that it does not have: {len(self._unwritten)}")
        self._index.close()

    def _put(self, row: Row) -> None:
        values = {
            name: json.dumps(value) if isinstance(value, list | tuple) else value
            for name, value in row.items()
        }
        names = ", ".join(f'"{name}"' for name in values)
        holes = ", ".join("?" * len(values))
        known = self._index.execute("SELECT 1 FROM events WHERE id = ?", (row["id"],)).fetchone()
        if known:
            changes = ", ".join(f'"{name}" = ?' for name in values)
            self._index.execute(f"UPDATE events SET {changes} WHERE id = ?", (*values.values(), row["id"]))
        else:
            self._index.execute(f"INSERT INTO events ({names}) VALUES ({holes})", tuple(values.values()))


def open_index(path: Path) -> sqlite3.Connection:
    """The index, made where it is not there; for one thread at a time.

    Raises:
        PipelineError: it is no index, or one of a later version.
    """
    try:
        index = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        index.row_factory = sqlite3.Row
        index.execute("PRAGMA journal_mode=WAL")  # readers do not wait, and a kill loses nothing
        index.execute("PRAGMA synchronous=NORMAL")
        (version,) = index.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise PipelineError(f"{path}: made by a later version of this program; update it")
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        index.execute(f"CREATE TABLE IF NOT EXISTS events ({columns})")
        index.execute("CREATE INDEX IF NOT EXISTS by_time ON events (made)")
        index.execute(f"PRAGMA user_version={VERSION}")
    except sqlite3.Error as error:
        raise PipelineError(
            f"{path}: cannot be used as the index of events ({error}); move it away, or choose another folder"
        ) from error
    return index


def read_rows(index: sqlite3.Connection, where: str = "1", *values: object) -> list[Row]:
    """Events of an index that fulfil a condition in SQL, the oldest first."""
    found = index.execute(f"SELECT * FROM events WHERE {where} ORDER BY made, id", values).fetchall()
    rows = [dict(row) for row in found]
    for row in rows:
        for name in ("words", "zones"):
            row[name] = json.loads(row[name]) if row[name] else []
    return rows


def read_events(folder: Path, most: int, before: float = float("inf"), of: str | None = None) -> list[Row]:
    """The latest events of an archive that may be written meanwhile, the oldest first.

    Args:
        most: of them.
        before: seconds since 1970; only such as began before.
        of: the id of the only one that is wanted.
    """
    if not (folder / INDEX).is_file():
        return []
    index = sqlite3.connect(folder / INDEX, timeout=PATIENCE)
    try:
        index.row_factory = sqlite3.Row
        index.execute("PRAGMA query_only=1")
        latest = "SELECT id FROM events WHERE made < ? AND (? IS NULL OR id = ?) ORDER BY made DESC LIMIT ?"
        return read_rows(index, f"id IN ({latest})", before, of, of, most)
    finally:
        index.close()


def note_verdict(folder: Path, of: str, word: str | None) -> None:
    """What was said of an event, by which its files stay longer; None: nothing any more.

    Another process may write the index meanwhile. Where it cannot be written, the event has none.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(open_index(folder / INDEX)) as index:
        index.execute("UPDATE events SET verdict = ? WHERE id = ?", (word, of))


@contextmanager
def open_archive(folder: Path, say: Callable[[str], object]) -> Iterator[Archive]:
    """An archive that is nobody else's to write until the context ends.

    Raises:
        PipelineError: the folder cannot be written, or its index is none.
        BusyError: another process writes there.
    """
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK) as holder:
        if holder:
            raise BusyError(f"{folder}: {holder} writes its events there; choose another folder")
        archive = Archive(folder, say)
        try:
            if interrupted := archive.mend():
                say(f"{folder}: events that a run before could not finish: {interrupted}")
            yield archive
        finally:
            archive.close()


def folder_name(camera: str) -> str:
    """A camera's name as a folder's; of names that are not fit for one, with a number of their own."""
    fit = re.sub(r"[^\w-]+", "_", camera).strip("_-")[:60] or "camera"
    return fit if fit == camera else f"{fit}-{zlib.crc32(camera.encode()):08x}"


def day_of(name: str) -> str:
    """The folder of an event's day, by its id."""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]}"
