"""Creates events in Frigate (https://frigate.video), so that its recordings and review show them.

An event is created when it starts, without a duration, and ended when it ends; Frigate adds its own
pre- and post-capture. Its port 5000 asks for no login, 8971 does (with a certificate of its own making,
unless it was given one): https://docs.frigate.video/configuration/authentication

Which of its events are open is noted in a file, so that the next run ends what a killed one left.
"""

import json
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ssrl_pipeline.alarms.receivers.base import Message, Options, Recipient, Say, Target
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.alarms.receivers.unended import Unended, state_folder
from ssrl_pipeline.alarms.receivers.web import Refused, Server
from ssrl_pipeline.errors import ConfigError, PipelineError

JSON = {"Content-Type": "application/json"}
SUB_LABEL = 100  # characters that one may have
UNAUTHORIZED, NOT_FOUND = 401, 404
TYPES = ("connected", "event_start", "event_end")
LIVE = 10.0  # seconds from one note that open events go on to the next


@dataclass(frozen=True, kw_only=True)
class FrigateOptions(Options):
    url: str = ""  # http://frigate:5000 or https://frigate:8971
    user: str = ""  # an admin of Frigate's
    password: str = ""
    label: str = "anomaly"
    names: dict[str, Any] = field(default_factory=dict)  # our name of a camera -> Frigate's
    ca: str = ""
    verify: bool = True
    state: str = ""  # folder in which open events are noted; "": the user's own


OPTIONS = FrigateOptions


def make(options: FrigateOptions, mutes: Mutes, say: Say) -> Recipient:
    """Raises ConfigError where an option does not fit."""
    if bool(options.user) != bool(options.password):
        raise ConfigError("user and password: both or neither")
    if bad := [key for key, value in options.names.items() if not isinstance(value, str)]:
        raise ConfigError(f"names.{bad[0]}: not the name of a camera")
    if not options.label:
        raise ConfigError("label: empty")
    server = Server(options.url.rstrip("/"), options.ca, options.verify)
    login = (options.user, options.password) if options.user else None
    try:
        folder = Path(options.state) if options.state else state_folder()
    except RuntimeError:  # there is no home
        folder = None
    unended = Unended(folder, f"frigate {options.url} {options.label}", say)
    return Recipient(Frigate(server, options.label, options.names, login, unended), TYPES)


class Frigate(Target):
    """Keeps which of Frigate's events are ours and open; what a run before left is ended first."""

    def __init__(
        self,
        server: Server,
        label: str = "anomaly",
        names: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        unended: Unended | None = None,
    ):
        self._server, self._label, self._names, self._login = server, label, dict(names or {}), login
        self._open: dict[tuple[str, int], str] = {}  # our camera and event -> Frigate's id
        self._unended = unended or Unended(None, "", lambda text: None)
        self._begun, self._lived = False, 0.0

    def deliver(self, message: Message) -> None:
        try:
            if not self._begun:
                self._begun = True
                self._end_left()
        finally:
            if message["type"] != "connected":
                self._tell(message)

    def tick(self) -> None:
        if self._open and time.monotonic() - self._lived >= LIVE:
            self._lived = time.monotonic()
            self._unended.live()

    def close(self, timeout: float) -> None:
        """What is still open would be recorded for ever; where that cannot be said now, the next run does."""
        failures = []
        while self._open:
            try:
                self._end(self._open.popitem()[1], None, patient=False)
            except PipelineError as error:
                failures.append(error)
        self._unended.close()
        if failures:
            raise failures[0]

    def _tell(self, message: Message) -> None:
        key = message["camera"], message["event"]
        if message["type"] == "event_start":
            self._open[key] = name = self._create(message)
            self._unended.add(name)
        elif key in self._open:
            end = message.get("end_time")
            self._end(self._open.pop(key), _seconds(end) if end else None)

    def _end_left(self) -> None:
        failures = []
        for name, moment in self._unended.take_over():
            try:
                self._end(name, moment)
            except PipelineError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _create(self, message: Message) -> str:
        camera = self._names.get(message["camera"], str(message["camera"]))
        body = {
            "sub_label": "; ".join(message.get("words") or ())[:SUB_LABEL] or None,
            "score": message["peak_score"],
            "duration": None,  # until it is ended
            "include_recording": True,
        }
        path = f"/api/events/{_quoted(camera)}/{_quoted(self._label)}/create"
        try:
            answer = self._send("POST", path, body, once=True)
            return str(json.loads(answer)["event_id"])
        except Refused as error:
            if error.code == NOT_FOUND:
                raise PipelineError(f"{error}; Frigate knows no camera {camera!r}") from error
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise PipelineError(f"{self._server.shown} answered no event_id; is that Frigate?") from error

    def _end(self, event: str, seconds: float | None, patient: bool = True) -> None:
        """Seconds since 1970; None: now. One that Frigate does not know is none that goes on."""
        path = f"/api/events/{_quoted(event)}/end"
        try:
            self._send("PUT", path, {"end_time": seconds}, patient=patient)
        except Refused as error:
            if error.code == NOT_FOUND:
                self._unended.remove(event)
            raise
        self._unended.remove(event)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any], once: bool = False, patient: bool = True
    ) -> bytes:
        """Logs in where Frigate asks for that, at first and when the token has run out."""
        content = json.dumps(body).encode()
        try:
            return self._server.send(method, content, JSON, path, once, patient)
        except Refused as error:
            if error.code != UNAUTHORIZED or not self._login:
                raise
        user, password = self._login
        login = json.dumps({"user": user, "password": password}).encode()
        self._server.send("POST", login, JSON, "/api/login", patient=patient)
        return self._server.send(method, content, JSON, path, once, patient)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
