"""What the page shows of the cameras and their events, put together from the lines of `watch`.

Dimensions are small and bounded: so many scores of a camera, so many events.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ssrl_pipeline.pages.live.names import shown_name, without_addresses
from ssrl_pipeline.watching import Plan

POINTS = 240  # scores of a camera's curve
EVENTS = 60  # the latest
OF_EVENT = (  # what of a line or a row of the archive is shown
    *("start_s", "end_s", "start_time", "end_time", "peak_score", "words", "patch", "zones", "alarm"),
    *("verdict",),
)
Line = Mapping[str, Any]
Json = dict[str, Any]


class Board:
    """Cameras and events as JSON; takes lines from any thread, and answers any.

    Args:
        tell: takes what is new, see :meth:`tell`; returns at once.
        renew: is called where nothing is as it was.
    """

    def __init__(self, tell: Callable[[Json], object], renew: Callable[[], object]):
        self._tell_on, self._renew = tell, renew
        self._lock = threading.Lock()
        self._run = time.time()  # ids of another run may be the same
        self._addresses: list[str] = []
        self._order: list[str] = []  # names of the cameras
        self._cameras: dict[str, Json] = {}  # by name, with those that are not watched any more
        self._points: dict[str, deque[tuple[float, float]]] = {}
        self._sources: dict[str, object] = {}
        self._events: dict[str, Json] = {}  # by id, the oldest first

    def change(self, plans: Sequence[Plan]) -> None:
        """These are the cameras from now on."""
        with self._lock:
            for number, plan in enumerate(plans, 1):
                name, source = plan.source.name, plan.source
                if self._sources.get(name) != source:
                    self._sources[name] = source
                    self._points[name] = deque(maxlen=POINTS)
                    known = self._cameras.get(name, {"id": f"c{len(self._cameras) + 1}"})
                    self._cameras[name] = {
                        "id": known["id"],
                        "name": shown_name(name, number),
                        "state": "waiting",
                        "note": "",
                        "health": [],
                        "score": None,
                        "time": None,
                        "time_s": None,
                        "dropped": 0,
                        "picture": 0,
                    }
                self._cameras[name]["threshold"] = plan.rule.threshold
            self._order = [plan.source.name for plan in plans]
            self._addresses = [text for plan in plans for text in (plan.source.address, plan.source.shown)]
        self._renew()

    def remember(self, rows: Sequence[Line]) -> None:
        """Events of an archive, the oldest first, that happened before."""
        with self._lock:
            for row in rows:
                self._put(self._from_row(row))
        self._renew()

    def older(self, rows: Sequence[Line]) -> list[Json]:
        """Events of an archive as the page shows them."""
        with self._lock:
            return [self._from_row(row) for row in rows]

    def tell(self, line: Line) -> None:
        """A line of `watch`. What is told on is one of

        {"type": "score", "camera": id, "score", "time", "time_s"}, {"type": "camera", and all of it but its
        curve} and {"type": "event", and all of it}, each fit to replace what was told before.
        """
        kind, name = line["type"], line["camera"]
        with self._lock:
            camera = self._cameras.get(name)
            if camera is None:
                return
            if kind == "score":
                news = self._score(camera, name, line)
            elif kind in ("event_start", "event_end"):
                news = {"type": "event", **self._event(camera, line)}
            else:
                self._note(camera, line)
                news = {"type": "camera", **camera, "health": list(camera["health"])}
        self._tell_on(news)

    def picture(self, name: str, version: int) -> None:
        """There is a new one of a camera."""
        with self._lock:
            if camera := self._cameras.get(name):
                camera["picture"] = version
        if camera:
            self._tell_on({"type": "picture", "camera": camera["id"], "picture": version})

    def name_of(self, of: str) -> str | None:
        """The camera's own name, by its id."""
        with self._lock:
            return next((name for name, camera in self._cameras.items() if camera["id"] == of), None)

    def event(self, of: str) -> Json | None:
        with self._lock:
            return self._events.get(of)

    def state(self) -> Json:
        """All of it."""
        with self._lock:
            listed = [(name, self._cameras[name]) for name in self._order]
            cameras = [
                {**camera, "health": list(camera["health"]), "points": list(self._points[name])}
                for name, camera in listed
            ]
            events = [dict(event) for event in self._events.values()]
            return {"run": self._run, "cameras": cameras, "events": events}

    def _score(self, camera: Json, name: str, line: Line) -> Json:
        score, time_s = round(line["score"], 4), round(line["time_s"], 3)
        self._points[name].append((time_s, score))
        now = {"score": score, "time": line["time"], "time_s": time_s}
        camera |= now | {"state": "live"}  # that it was connected may have been told before it was known here
        return {"type": "score", "camera": camera["id"], **now}

    def _note(self, camera: Json, line: Line) -> None:
        kind, health = line["type"], camera["health"]
        if kind == "connected":
            camera |= {"state": "live", "note": ""}
        elif kind == "lost":
            camera |= {"state": "lost", "note": self._public(line["reason"])}
        elif kind == "end":
            failed = line["error"] is not None
            note = line["error"] or line.get("note", "")
            camera |= {"state": "failed" if failed else "ended", "note": self._public(note)}
        elif kind == "dropped":
            camera["dropped"] += line["frames"]
        elif kind == "health_start" and line["health"] not in health:
            health.append(line["health"])
        elif kind == "health_end" and line["health"] in health:
            health.remove(line["health"])

    def _event(self, camera: Json, line: Line) -> Json:
        of = line.get("id") or f"{camera['id']}-{line['event']}"
        known = self._events.get(of, {"id": of, "camera": camera["name"], "made": time.time()})
        event = {
            **known,
            **_shown(line),
            "open": line["type"] == "event_start",
            "still": line.get("still") is not None,
            "clip": line.get("clip") is not None,
        }
        self._put(event)
        return event

    def _from_row(self, row: Line) -> Json:
        camera = self._cameras.get(row["camera"])
        return {
            "id": row["id"],
            "camera": camera["name"] if camera else shown_name(row["camera"]),
            "made": row["made"],
            **_shown(row),
            "alarm": True,
            "open": row["state"] == "open",
            "still": row["still"] is not None,
            "clip": row["clip"] is not None,
        }

    def _put(self, event: Json) -> None:
        self._events[event["id"]] = event
        while len(self._events) > EVENTS:
            del self._events[next(iter(self._events))]

    def _public(self, text: str) -> str:
        return without_addresses(text, self._addresses)


def _shown(of: Line) -> Json:
    return {name: of[name] for name in OF_EVENT if of.get(name) is not None}
