"""MQTT through a real broker: what is told, what survives its death, TLS, mutes, and Home Assistant."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paho.mqtt")
from helpers.broker import Broker, Listener, until

from ssrl_pipeline.alarms import open_receiver
from ssrl_pipeline.alarms.receivers.base import Notifier, Receiver
from ssrl_pipeline.alarms.receivers.limits import Mutes

JPEG = b"\xff\xd8 a picture \xff\xd9"


def line(kind: str, number: int = 1, camera: str = "gate", **more: Any) -> dict[str, Any]:
    return {"type": kind, "camera": camera, "event": number, "peak_score": 0.9, **more}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    opened: list[Listener] = []

    def start(*arguments: Any, **options: Any) -> Listener:
        opened.append(Listener(*arguments, **options))
        return opened[-1]

    yield start
    for listener in opened:
        listener.close()


@pytest.fixture
def tell_to() -> Iterator[Callable[..., tuple[Receiver, list[str]]]]:
    """tell_to(port, mutes, **options) -> the receiver, and what it says to people."""
    opened: list[Receiver] = []

    def start(
        port: int, mutes: Mutes | None = None, host: str = "127.0.0.1", **options: Any
    ) -> tuple[Receiver, list[str]]:
        said: list[str] = []
        whole = {"type": "mqtt", "host": host, "port": port, "score": 0, **options}
        opened.append(open_receiver("broker", whole, mutes, said.append))
        return opened[-1], said

    yield start
    for receiver in opened:
        receiver.close(0.1)


def test_what_a_camera_does_is_told(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any, tmp_path: Path
) -> None:
    heard = listen(broker.port, "ssrl/#")
    receiver, said = tell_to(broker.port)
    (tmp_path / "still.jpg").write_bytes(JPEG)
    receiver.tell({"type": "connected", "camera": "front door"})
    until(lambda: heard.last("ssrl/front_door/availability") == "online")
    until(lambda: heard.last("ssrl/status") == "online")
    until(lambda: heard.last("ssrl/front_door/alarm") == "OFF")
    until(lambda: heard.last("ssrl/front_door/health") == "ok")

    def tell(kind: str, **more: Any) -> None:
        receiver.tell(line(kind, camera="front door", **more))

    tell("score", score=0.25)
    tell("event_start", still=str(tmp_path / "still.jpg"), id="2026-1")
    until(lambda: heard.last("ssrl/front_door/alarm") == "ON")
    tell("event_end", words=["running"])
    for kind, health in (("start", "frozen"), ("start", "moved"), ("end", "moved")):
        receiver.tell({"type": f"health_{kind}", "camera": "front door", "health": health, "start_time": "t"})
    receiver.tell({"type": "lost", "camera": "front door"})
    until(lambda: heard.last("ssrl/front_door/availability") == "offline")
    until(lambda: len(heard.of("ssrl/front_door/event")) == 5)
    assert heard.last("ssrl/front_door/score") == "0.2500"
    assert heard.of("ssrl/front_door/picture") == [JPEG]
    assert heard.last("ssrl/front_door/alarm") == "OFF"
    attributes = json.loads(heard.last("ssrl/front_door/attributes") or "")
    assert attributes["words"] == ["running"]
    health = [payload.decode() for payload in heard.of("ssrl/front_door/health")]
    assert [state for state, _ in groupby(health)] == ["ok", "frozen", "moved", "frozen"]
    events = [json.loads(payload) for payload in heard.of("ssrl/front_door/event")]
    assert events[0]["id"] == "2026-1"
    assert len({event["id"] for event in events}) == 4  # start and end of `moved` have the same
    receiver.close(10)
    until(lambda: heard.last("ssrl/status") == "offline")
    late = listen(broker.port, "ssrl/#", "late")
    until(lambda: late.last("ssrl/front_door/score") == "0.2500")
    assert all(retain for _, _, retain in late.heard) and not late.of("ssrl/front_door/event")
    assert said == []


def test_an_alarm_is_on_while_any_event_of_the_camera_is_open(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any
) -> None:
    """The end of the first is told late, as it waits for its clip."""
    heard = listen(broker.port, "#")
    receiver, _ = tell_to(broker.port, discovery=True)
    for kind, number in (("event_start", 1), ("event_start", 2), ("event_end", 1)):
        receiver.tell(line(kind, number))
    until(lambda: len(heard.of("ssrl/gate/event")) == 3)
    until(lambda: heard.last("ssrl/gate/alarm") == "ON")
    receiver.tell(line("event_end", 2))
    until(lambda: heard.last("ssrl/gate/alarm") == "OFF")
    states = [payload.decode() for payload in heard.of("ssrl/gate/alarm")]
    assert [state for state, _ in groupby(states)][-2:] == ["ON", "OFF"]
    assert heard.last("homeassistant/device/ssrl_gate/config")


def test_it_closes_though_the_broker_is_away(broker: Broker, tell_to: Any) -> None:
    receiver, said = tell_to(broker.port)
    receiver.tell({"type": "connected", "camera": "gate"})
    receiver.tell(line("event_start"))
    broker.kill()
    until(lambda: said)
    begun = time.monotonic()
    receiver.close(1)
    assert time.monotonic() - begun < 5
    assert said[1:] == ["broker: the broker did not take the last messages in time"]


def test_every_event_arrives_once_though_the_broker_is_killed(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any
) -> None:
    heard = listen(broker.port, "ssrl/#")
    receiver, said = tell_to(broker.port)

    def ids() -> list[int]:
        return [json.loads(payload)["event"] for payload in heard.of("ssrl/gate/event")]

    def tell(*numbers: int) -> None:
        for number in numbers:
            receiver.tell(line("event_start", number))
            receiver.tell(line("event_end", number))

    tell(1, 2)
    until(lambda: len(ids()) == 4)
    broker.kill()
    until(lambda: said)
    tell(3, 4)
    receiver.tell(line("event_start", 5))
    receiver.tell(line("score", score=0.5))
    broker.start()
    until(lambda: len(ids()) == 9)
    tell(6)
    receiver.close(20)
    until(lambda: heard.last("ssrl/status") == "offline")
    assert ids() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6]
    assert [text for text in said if "lost" in text] and said[-1] == "broker: connected"


def test_a_broker_that_forgot_all_is_told_again(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any, tmp_path: Path
) -> None:
    receiver, said = tell_to(broker.port)
    receiver.tell({"type": "connected", "camera": "gate"})
    receiver.tell(line("event_start"))
    early = listen(broker.port, "#", "early")
    until(lambda: early.last("ssrl/gate/alarm") == "ON")
    early.close()
    broker.kill()
    until(lambda: said)
    receiver.tell(line("event_end"))  # the alarm is over meanwhile
    for file in tmp_path.glob("*.db*"):
        file.unlink()
    broker.start()
    until(lambda: said[-1] == "broker: connected")
    heard = listen(broker.port)
    until(lambda: heard.last("ssrl/gate/alarm"))
    until(lambda: heard.last("homeassistant/device/ssrl_gate/config"))
    until(lambda: heard.last("ssrl/status") == "online")
    assert heard.of("ssrl/gate/alarm") == [b"OFF"]


def test_the_last_will_says_that_we_are_gone(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any
) -> None:
    heard = listen(broker.port, "ssrl/status")
    receiver, _ = tell_to(broker.port)
    receiver.tell({"type": "connected", "camera": "gate"})
    until(lambda: heard.last("ssrl/status") == "online")
    inner = receiver
    while not isinstance(inner, Notifier):
        inner = inner._receiver
    client = inner._target._client  # type: ignore[attr-defined]
    client.reconnect_delay_set(50, 60)
    client.socket().close()  # as when the process dies: no word of parting
    until(lambda: heard.last("ssrl/status") == "offline")


def test_cameras_are_muted_by_message(broker: Broker, listen: Callable[..., Listener], tell_to: Any) -> None:
    heard = listen(broker.port, "ssrl/gate/+")
    heard.publish("ssrl/gate/mute/set", "600", retain=True)  # from days ago
    mutes = Mutes()
    receiver, said = tell_to(broker.port, mutes, mute="30m")
    receiver.tell({"type": "connected", "camera": "gate"})
    until(lambda: heard.last("ssrl/gate/mute") == "OFF")
    heard.publish("ssrl/gate/mute/set", "soon")
    heard.publish("ssrl/yard/mute/set", "5")
    heard.publish("ssrl/gate/mute/set", "ON")
    until(lambda: heard.last("ssrl/gate/mute") == "ON")
    assert mutes.is_muted("gate") and not mutes.is_muted("yard")
    receiver.tell(line("event_start"))
    receiver.tell(line("event_end"))
    receiver.tell({"type": "health_start", "camera": "gate", "health": "black"})
    until(lambda: heard.of("ssrl/gate/event"))
    assert [json.loads(payload)["type"] for payload in heard.of("ssrl/gate/event")] == ["health_start"]
    heard.publish("ssrl/gate/mute/set", "0.02")  # minutes; the end comes by itself
    until(lambda: heard.last("ssrl/gate/mute") == "OFF")
    assert not mutes.is_muted("gate")
    expected = ["ON, OFF or minutes, not 'soon'", "muted for 30 minutes", "muted for 0.02 minutes"]
    assert len(said) == 3 and all(text in line for text, line in zip(expected, said, strict=True))


def certify(folder: Path) -> None:
    """An authority, and a certificate of it for 127.0.0.1."""
    name = ["-subj", "/CN=test", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    new = ["openssl", "req", "-x509", *name]
    subprocess.run([*new, "-keyout", "ca.key", "-out", "ca.pem"], cwd=folder, check=True, capture_output=True)
    own = [*new, "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
    own += ["-addext", "basicConstraints=CA:FALSE", "-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(own, cwd=folder, check=True, capture_output=True)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # paho's, where TLS fails
def test_tls_and_a_password(tmp_path: Path, listen: Callable[..., Listener], tell_to: Any) -> None:
    try:
        certify(tmp_path)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl 3 is not here")
    (tmp_path / "users").write_text("gate:secret\n")
    (tmp_path / "users").chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", "users"], cwd=tmp_path, check=True, capture_output=True)
    broker = Broker(
        tmp_path,
        f"certfile {tmp_path}/server.pem",
        f"keyfile {tmp_path}/server.key",
        f"password_file {tmp_path}/users",
    )
    broker.start()
    try:
        options = {"tls": True, "ca": str(tmp_path / "ca.pem"), "user": "gate", "password": "secret"}
        tries = [
            ({"password": "wrong secret"}, "Not authorized"),
            ({"ca": ""}, "not trusted: unable to get local issuer"),
            ({"host": "localhost"}, "not trusted: Hostname mismatch"),
        ]
        for change, reason in tries:
            receiver, said = tell_to(broker.port, **options | change)
            receiver.tell(line("event_start"))
            until(lambda said=said: said, broker.log.read_text)
            assert reason.lower() in said[0].lower() and "secret" not in said[0], said

        def set_up(client: Any) -> None:
            client.tls_set(str(tmp_path / "ca.pem"))
            client.username_pw_set("gate", "secret")

        heard = listen(broker.port, "ssrl/#", set_up=set_up)
        receiver, said = tell_to(broker.port, **options)
        receiver.tell(line("event_start"))
        until(lambda: heard.of("ssrl/gate/event"), lambda: f"{said} {broker.log.read_text()}")
        assert said == []
    finally:
        broker.stop()


def test_without_home_assistant_and_with_names_alike(
    broker: Broker, listen: Callable[..., Listener], tell_to: Any
) -> None:
    heard = listen(broker.port)
    receiver, _ = tell_to(broker.port, discovery=False, topic="home/cctv")
    for camera in ("a/b", "a b", "#", "a b"):
        receiver.tell({"type": "connected", "camera": camera})
    until(lambda: heard.last("home/cctv/camera/mute"))
    receiver.close(10)
    until(lambda: heard.last("home/cctv/status") == "offline")
    assert not [topic for topic, *_ in heard.heard if topic.startswith("homeassistant/")]
    of = {topic.split("/")[2] for topic, *_ in heard.heard if topic.endswith("/alarm")}
    other = "a_b_" + hashlib.sha256(b"a b").hexdigest()[:6]
    assert of == {"a_b", other, "camera"}
