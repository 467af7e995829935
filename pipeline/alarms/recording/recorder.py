"""Stands between `watch` and those who are told: events get an id, a still and a clip on the way.

The start of an event is told as soon as its still is there, or without one; the end as soon as its clip
is whole. Scoring waits for none of it: :meth:`EventRecorder.tell` asks and goes on. One thread waits for
answers and tells; another, the :class:`Keeper`'s, touches the disk. Where that hangs, lines come late and
without paths.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssrl_pipeline.alarms.recording.archive import COLUMNS, DONE, OPEN, Archive
from ssrl_pipeline.alarms.recording.files import box_of
from ssrl_pipeline.alarms.recording.keeper import Keeper
from ssrl_pipeline.extractors.decoding import Recordings
from ssrl_pipeline.settings import AlarmSettings

Line = Mapping[str, Any]
STILL_WAIT = 2.0  # seconds that the start of an event waits for its still
CLIP_WAIT = 15.0  # seconds, behind the clip's end, that the end of an event waits for its clip
DISK_WAIT = 60.0  # seconds that it waits for the archive, which may have to encode the clip
TICK = 0.25


@dataclass
class _Event:
    """What is on its way. But for the first four, the thread that tells alone touches it."""

    id: str
    clip: Path  # where it is to be; files beside it differ by their suffix
    start: Line
    made: float  # time.time()
    stills_due: int = 0  # asked for, and not there yet
    still_frame: int | None = None  # of the still that is there
    told: float | None = None  # its start, time.time()
    found: dict[str, Any] | None = None  # what became of the clip
    end: Line | None = None
    since: float = 0.0  # time.monotonic() of what is waited for
    given: bool = False  # to the thread of the archive
    kept: dict[str, Any] | None = None  # what that made of it: the end's clip and still

    @property
    def picture(self) -> Path:
        return self.clip.with_suffix(".jpg")


class EventRecorder:
    """Takes every line of `watch`; gives it on, those of events later and with more in them.

    Args:
        archive: where events are kept; used by a thread of this from now on.
        settings: of the clips and of how long they stay.
        recordings: a camera's name -> what is asked for its clips; None where it is gone.
        forward: takes each line, from several threads, one at a time.
        say: takes a line for people.
    """

    def __init__(
        self,
        archive: Archive,
        settings: AlarmSettings,
        recordings: Callable[[str], Recordings | None],
        forward: Callable[[dict[str, Any]], object],
        say: Callable[[str], object],
    ):
        self._keeper = Keeper(archive, settings, say)
        self._archive, self._settings, self._recordings = archive, settings, recordings
        self._forward, self._say = forward, say
        self._telling = threading.Lock()
        self._open: dict[tuple[str, int], _Event] = {}  # camera and number -> what goes on, for `tell`
        self._events: list[_Event] = []  # all that is on its way
        self._news: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def tell(self, line: dict[str, Any]) -> None:
        """Returns at once.

        Raises:
            OSError: what `forward` raised before, as where stdout was closed.
        """
        if self._broken:
            raise self._broken
        kind, camera = line["type"], line["camera"]
        if kind == "event_start" and line.get("alarm", True):
            self._begin(line)
        elif kind == "event_end" and (event := self._open.pop((camera, line["event"]), None)):
            self._finish(event, line)
        else:
            if kind == "score":
                self._keeper.score(camera, line["time_s"], line["score"])
            self._pass_on(line)

    def close(self, timeout: float) -> None:
        """Gives what waits that many seconds more."""
        end = time.monotonic() + timeout
        self._closing.set()
        self._thread.join(timeout)
        self._keeper.close(max(0.0, end - time.monotonic()))

    def _begin(self, line: dict[str, Any]) -> None:
        name, clip = self._archive.place(line["camera"])
        event = _Event(name, clip, line, time.time())
        self._open[line["camera"], line["event"]] = event
        event.since = time.monotonic()
        self._news.put(lambda: self._events.append(event))
        self._ask_still(event, line)

        def told(answer: dict[str, Any]) -> None:
            self._news.put(lambda: setattr(event, "found", answer))

        if recordings := self._recordings(line["camera"]):
            recordings.clip(name, line["start"], self._settings.before, self._settings.longest, clip, told)
        else:
            told({"error": "its camera is gone"})

    def _ask_still(self, event: _Event, line: Line) -> None:
        """Of the peak as far as it is known."""
        recordings, peak = self._recordings(line["camera"]), line["peak"]
        if recordings is None:
            return

        def told(answer: dict[str, Any]) -> None:
            def note() -> None:
                event.stills_due -= 1
                if "error" not in answer:
                    event.still_frame = peak

            self._news.put(note)

        def note_asked() -> None:
            event.stills_due += 1

        self._news.put(note_asked)
        recordings.still(f"{event.id}-{peak}", peak, event.picture, box_of(line.get("patch")), told)

    def _finish(self, event: _Event, line: dict[str, Any]) -> None:
        if recordings := self._recordings(line["camera"]):
            recordings.until(event.id, line["end"], self._settings.after)
        if line["peak"] != event.start["peak"]:
            self._ask_still(event, line)

        def note() -> None:
            event.end, event.since = line, time.monotonic()

        self._news.put(note)

    def _pass_on(self, line: dict[str, Any]) -> None:
        with self._telling:
            self._forward(line)

    def _run(self) -> None:
        """Waits for answers, and tells."""
        while True:
            try:
                self._news.get(timeout=TICK)()
                while True:
                    self._news.get_nowait()()
            except queue.Empty:
                pass
            try:
                self._events = [event for event in self._events if not self._told_whole(event)]
            except OSError as error:  # `tell` raises it
                self._broken = error
                return
            if self._closing.is_set() and self._news.empty() and not any(one.end for one in self._events):
                return

    def _told_whole(self, event: _Event) -> bool:
        """Goes on with an event as far as it is possible now; whether that is its end."""
        waited = time.monotonic() - event.since
        if event.told is None and (not event.stills_due or waited > STILL_WAIT):
            event.told = time.time()
            still = str(event.picture.absolute()) if event.still_frame is not None else None
            self._pass_on({**event.start, "id": event.id, "still": still, "clip": None})
            row = {"state": OPEN, "made": event.made, "told": event.told} | row_of(event.start)
            row |= {"still": still and self._archive.relative(event.picture)}
            self._keeper.give(lambda: self._archive.write({"id": event.id, **row}))
        if event.told is None or event.end is None:
            return False
        is_there = event.found is not None and not event.stills_due
        if not event.given and (is_there or waited > self._settings.after + CLIP_WAIT):
            event.given, event.since = True, time.monotonic()
            self._keep(event, event.end, event.found or {"error": "it did not come in time"})
        elif event.given and event.kept is None and waited > DISK_WAIT:
            self._say(
                f"{self._archive.folder}: too slow; the end of event {event.id} is told without its clip"
            )
            event.kept = {"clip": None, "still": None}
        if event.kept is None:
            return False
        self._pass_on({**event.end, "id": event.id, **event.kept})
        return True

    def _keep(self, event: _Event, end: Line, found: dict[str, Any]) -> None:
        row = {"state": DONE, "made": event.made, "told": event.told} | row_of({**event.start, **end})
        clip, frame = event.clip, event.still_frame

        def keep() -> None:
            kept = self._keeper.keep({"id": event.id, **row}, clip, found, frame, box_of(end.get("patch")))
            self._news.put(lambda: setattr(event, "kept", kept))

        if not self._keeper.give(keep):
            event.kept = {"clip": None, "still": None}


def row_of(line: Line) -> dict[str, Any]:
    """What the index has of an event's line."""
    return {name: value for name, value in line.items() if name in COLUMNS}
