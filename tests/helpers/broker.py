"""mosquitto, started by a test; where it is missing, the test skips and says so."""

import getpass
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

PLACES = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Broker:
    """A broker that can be killed and started again at the same port; its memory is on the disk."""

    def __init__(self, folder: Path, *more: str):
        found = next(filter(None, map(shutil.which, PLACES)), None)
        if found is None:
            pytest.skip("mosquitto is not here (Debian: apt install mosquitto)")
        self.program, self.port = found, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/"]
        lines += ["autosave_on_changes true", "autosave_interval 1", *more]
        lines.append(f"user {getpass.getuser()}")  # started by root, it would not be let into the folder
        if not any("password_file" in line for line in more):
            lines.append("allow_anonymous true")
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self.log = folder / "mosquitto.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([self.program, "-c", self._config], stdout=log, stderr=log)
        until(self._listens, self.log.read_text)

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process:
            self.kill()

    def _listens(self) -> bool:
        assert self._process and self._process.poll() is None, self.log.read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """A client that keeps all that it hears, and that the broker remembers while it is away.

    What the broker sends again after a crash because it had not yet saved our acknowledgement is kept once.
    """

    def __init__(self, port: int, topic: str = "#", name: str = "listener", set_up: Any = None):
        self.heard: list[tuple[str, bytes, bool]] = []
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        if set_up:
            set_up(client)
        client.reconnect_delay_set(1, 1)
        client.on_message = self._hear
        client.on_connect = lambda *_: client.subscribe(topic, 1)
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        self.publish = client.publish
        assert subscribed.wait(20), f"the broker did not let {name} subscribe"

    def _hear(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        heard = (message.topic, message.payload, message.retain)
        if not (message.dup and heard in self.heard):
            self.heard.append(heard)

    def of(self, topic: str) -> list[bytes]:
        return [payload for found, payload, _ in list(self.heard) if found == topic]

    def last(self, topic: str) -> str | None:
        return found[-1].decode() if (found := self.of(topic)) else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(condition: Callable[[], object], explain: Callable[[], object] = str, limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.01)
