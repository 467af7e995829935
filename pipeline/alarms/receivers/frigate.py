"""Creates events in Frigate (https://frigate.video), so that its recordings and review show them.

An event is created when it starts, without a duration, and ended when it ends; Frigate adds its own
pre- and post-capture. Its port 5000 asks for no login, 8971 does (with a certificate of its own making,
unless it was given one): https://docs.frigate.video/configuration/authentication
"""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ssrl_pipeline.alarms.receivers.base import Message, Options, Recipient, Target
from ssrl_pipeline.alarms.receivers.web import Refused, Server
from ssrl_pipeline.errors import ConfigError, PipelineError

JSON = {"Content-Type": "application/json"}
SUB_LABEL = 100  # characters that one may have
UNAUTHORIZED = 401


@dataclass(frozen=True, kw_only=True)
class FrigateOptions(Options):
    url: str = ""  # http://frigate:5000 or https://frigate:8971
    user: str = ""  # an admin of Frigate's
    password: str = ""
    label: str = "anomaly"
    names: dict[str, Any] = field(default_factory=dict)  # our name of a camera -> Frigate's
    ca: str = ""
    verify: bool = True


OPTIONS = FrigateOptions


def make(options: FrigateOptions, *_: Any) -> Recipient:
    """Raises ConfigError where an option does not fit."""
    if bool(options.user) != bool(options.password):
        raise ConfigError("user and password: both or neither")
    if bad := [key for key, value in options.names.items() if not isinstance(value, str)]:
        raise ConfigError(f"names.{bad[0]}: not the name of a camera")
    if not options.label:
        raise ConfigError("label: empty")
    server = Server(options.url.rstrip("/"), options.ca, options.verify)
    login = (options.user, options.password) if options.user else None
    return Recipient(Frigate(server, options.label, options.names, login), ("event_start", "event_end"))


class Frigate(Target):
    """Keeps which of Frigate's events are ours and open."""

    def __init__(
        self,
        server: Server,
        label: str = "anomaly",
        names: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
    ):
        self._server, self._label, self._names, self._login = server, label, dict(names or {}), login
        self._open: dict[tuple[str, int], str] = {}  # our camera and event -> Frigate's id

    def deliver(self, message: Message) -> None:
        key = message["camera"], message["event"]
        if message["type"] == "event_start":
            self._open[key] = self._create(message)
        elif key in self._open:
            self._end(self._open.pop(key), message.get("end_time"))

    def close(self, timeout: float) -> None:
        """What is still open would be recorded for ever."""
        while self._open:
            self._end(self._open.popitem()[1], None)

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
            if error.code == 404:
                raise PipelineError(f"{error}; Frigate knows no camera {camera!r}") from error
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise PipelineError(f"{self._server.shown} answered no event_id; is that Frigate?") from error

    def _end(self, event: str, time: str | None) -> None:
        seconds = datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() if time else None
        self._send("PUT", f"/api/events/{_quoted(event)}/end", {"end_time": seconds})

    def _send(self, method: str, path: str, body: Mapping[str, Any], once: bool = False) -> bytes:
        """Logs in where Frigate asks for that, at first and when the token has run out."""
        content = json.dumps(body).encode()
        try:
            return self._server.send(method, content, JSON, path, once)
        except Refused as error:
            if error.code != UNAUTHORIZED or not self._login:
                raise
        user, password = self._login
        self._server.send(
            "POST", json.dumps({"user": user, "password": password}).encode(), JSON, "/api/login"
        )
        return self._server.send(method, content, JSON, path, once)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
