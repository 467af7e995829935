"""The thread that writes to the archive; nobody waits for it, and what it cannot take is lost, and said."""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ssrl_pipeline.alarms.recording.archive import EXPIRED, Archive, Row
from ssrl_pipeline.alarms.recording.files import Box, make_playable, still_of_clip, write_record
from ssrl_pipeline.alarms.recording.retention import expired
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import AlarmSettings

WAITING = 100  # tasks
CURVE = 4096  # scores of a camera that are kept for its next event
TIDY_EVERY = 3600.0  # seconds
ROOM_EVERY = 30.0  # seconds from one look for room to the next, where the index has none


class Keeper:
    """Does what it is given, one after the other, and removes what the archive does not keep any longer.

    Args:
        archive: used by this thread alone from now on, but for :meth:`Archive.place`.
        settings: of how long files stay.
        say: takes a line for people.
    """

    def __init__(self, archive: Archive, settings: AlarmSettings, say: Callable[[str], object]):
        self._archive, self._settings, self._say = archive, settings, say
        self._lock = threading.Lock()
        self._scores: dict[str, deque[tuple[float, float]]] = {}
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue(WAITING)
        self._overflowing = False
        self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
        self._thread.start()

    def score(self, camera: str, time_s: float, score: float) -> None:
        """The next point of a camera's curve."""
        with self._lock:
            self._scores.setdefault(camera, deque(maxlen=CURVE)).append((time_s, round(score, 6)))

    def give(self, task: Callable[[], object]) -> bool:
        """Returns at once; whether it was taken."""
        try:
            self._tasks.put_nowait(task)
            self._overflowing = False
        except queue.Full:
            if not self._overflowing:
                self._say(
                    f"{self._archive.folder}: too slow, {WAITING} tasks wait; newer events are not kept"
                )
            self._overflowing = True
        return not self._overflowing

    def close(self, timeout: float) -> None:
        """Gives what waits that many seconds more."""
        end = time.monotonic() + timeout
        with contextlib.suppress(queue.Full):
            self._tasks.put(None, timeout=timeout)
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self._say(f"{self._archive.folder}: did not take the last events in time")

    def keep(self, row: Row, clip: Path, found: Row, still_frame: int | None, box: Box | None) -> Row:
        """An event that is over: its files, and all that the index knows of it; in the thread of this.

        Args:
            row: what is known of it.
            clip: where its clip is to be.
            found: what the decoding process told of the clip.
            still_frame: what the still shows that is there; None: there is none.
            box: what is to be marked in it.

        Returns:
            The paths of the clip and of the still, each None where there is none.
        """
        note, path = found.get("note", ""), None
        try:
            if "error" in found:
                raise PipelineError(found["error"])
            path = make_playable(found, self._settings)
        except (PipelineError, OSError) as error:
            note = _reason(error)
        if note:
            lack = "no clip of" if path is None else "the clip is not all of"
            self._say(f"{row['camera']}: {lack} event {row['id']}: {note}")
        picture = clip.with_suffix(".jpg")
        if path and still_frame != row["peak"] and found["first"] <= row["peak"] <= found["last"]:
            try:
                still_of_clip(path, row["peak"] - found["first"], picture, box)
                still_frame = row["peak"]
            except (PipelineError, OSError) as error:
                self._say(f"{row['camera']}: no still of the peak of event {row['id']}: {_reason(error)}")
        has_still = still_frame is not None
        row |= {"clip": path and self._archive.relative(path)}
        row |= {"still": self._archive.relative(picture) if has_still else None}
        if path:
            row |= {"clip_first": found["first"], "clip_last": found["last"]}
        try:
            write_record(clip.with_suffix(".json"), row, self._curve(row), note)
        except (PipelineError, OSError) as error:
            self._say(f"{row['camera']}: no record of event {row['id']}: {_reason(error)}")
        self._archive.write(row | self._archive.size(clip))
        self._tidy()
        return {
            "clip": path and str(path.absolute()),
            "still": str(picture.absolute()) if has_still else None,
        }

    def _curve(self, row: Row) -> list[tuple[float, float]]:
        begin, end = row["start_s"] - self._settings.before, row["end_s"] + self._settings.after
        with self._lock:
            return [pair for pair in self._scores.get(row["camera"], ()) if begin <= pair[0] <= end]

    def _tidy(self) -> None:
        """Removes what is too old or too much."""
        rows = self._archive.rows("state NOT IN (?, 'open')", EXPIRED)
        for row in expired(rows, self._settings, time.time()):
            try:
                self._archive.expire(row)
            except OSError as error:  # one file that stays is no reason to keep others, or to lose an event
                self._say(f"{error.filename}: cannot be removed ({error.strerror})")
                return

    def _run(self) -> None:
        tidied = float("-inf")
        while True:
            try:
                if time.monotonic() - tidied > TIDY_EVERY:
                    tidied = time.monotonic()
                    self._tidy()
                task = self._tasks.get(timeout=ROOM_EVERY if self._archive.is_waiting else TIDY_EVERY)
                if task is None:
                    return
                task()
            except queue.Empty:
                if self._archive.is_waiting:
                    self._archive.write_waiting()
            except Exception as error:  # one event's fault is not the next one's
                self._say(f"{self._archive.folder}: {type(error).__name__}: {error}")


def _reason(error: Exception) -> str:
    """Of a full disk, without what the user of a command is told to do."""
    return str(error).partition("; make room")[0]
