"""Tells an MQTT broker of scores, alarms, pictures and health; Home Assistant finds the cameras there.

    broker:
      type: mqtt
      host: broker.example.org
      port: 8883
      tls: true

Below the topic (`ssrl`): `status` (online, offline); and of each camera `CAMERA/score`, `CAMERA/alarm`
(ON, OFF), `CAMERA/attributes` (JSON of the last event), `CAMERA/picture` (a JPEG), `CAMERA/health`,
`CAMERA/availability` and `CAMERA/mute`, all retained; and `CAMERA/event`, each line of an event or of health
as JSON, once, with an `id`. `CAMERA/mute/set` takes ON, OFF or a number of minutes.

What is retained is sent again with every connection, for a broker may have forgotten it. Events wait
for the connection and are sent until the broker says that it has them (QoS 1): a connection that is cut
just then may let one arrive twice, with the same `id` and `type`.
"""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ssrl_pipeline.alarms.receivers.base import (
    ALARMS,
    Message,
    Options,
    Recipient,
    Say,
    Target,
    picture_of,
    seconds,
)
from ssrl_pipeline.alarms.receivers.home_assistant import PREFIX, discovery
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.alarms.receivers.web import tls_context
from ssrl_pipeline.errors import ConfigError, PipelineError

KEEPALIVE = 30  # seconds without a sign after which the broker tells the last will
FIRST_WAIT, LONGEST_WAIT = 1, 60  # seconds from one attempt to connect to the next
MOST_WAITING = 1000  # events that wait for the broker
TYPES = ("score", "connected", "lost", "end", *ALARMS)


@dataclass(frozen=True, kw_only=True)
class MqttOptions(Options):
    host: str = ""
    port: int | None = None  # None: 1883, with TLS 8883
    user: str = ""
    password: str = ""
    tls: bool = False
    ca: str = ""  # a file of certificates to trust instead of the system's
    cert: str = ""  # our own certificate and its key, where the broker asks for one
    key: str = ""
    verify: bool = True
    topic: str = "ssrl"
    client_id: str = ""
    qos: Literal["1", "2"] | int = 1
    discovery: str | bool = PREFIX  # Home Assistant's prefix; false: no such messages
    score: float | str = 5.0  # from one score of a camera to the next
    mute: float | str = "1h"  # how long the switch mutes


OPTIONS = MqttOptions


def make(options: MqttOptions, mutes: Mutes, say: Say) -> Recipient:
    """Raises ConfigError or ValueError where an option does not fit."""
    if not options.host or "/" in options.host:
        raise ConfigError(f"host: {options.host!r} is not the name of a machine")
    if options.port is not None and not 0 < options.port < 65536:
        raise ConfigError(f"port: {options.port} is not one")
    if not re.fullmatch(r"[^+#\s/$][^+#\s]*(?<!/)", options.topic):
        raise ConfigError(f"topic: {options.topic!r} is not one to tell on; write it like home/ssrl")
    if options.qos not in (1, 2):
        raise ConfigError(f"qos: {options.qos!r} is not 1 or 2")
    if bool(options.cert) != bool(options.key):
        raise ConfigError("cert and key: both or neither")
    if not options.tls and (options.ca or options.cert):
        raise ConfigError("tls: ca, cert and key are for `tls: true`; without it, nothing is encrypted")
    if options.password and not options.user:
        raise ConfigError("user: there is a password and no user")
    return Recipient(Mqtt(options, mutes, say), TYPES, seconds(options.score, "score"))


class Mqtt(Target):
    """See the module. It connects when it is first told something, and never gives up."""

    def __init__(self, options: MqttOptions, mutes: Mutes, say: Say):
        self._options, self._mutes, self._say = options, mutes, say
        self._base, self._mute_s = options.topic, seconds(options.mute, "mute")
        self._run = f"{int(time.time()):x}"  # events are counted anew with every start
        self._names: dict[str, str] = {}  # in topics -> the camera's
        self._health: dict[str, list[str]] = {}  # of a camera, what is not well, the newest last
        self._events: dict[str, set[int]] = {}  # of a camera, those that are open
        self._retained: dict[str, str | bytes] = {f"{self._base}/status": "online"}
        self._lock = threading.RLock()
        self._told_away = self._started = False
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, options.client_id)
        if options.user:
            client.username_pw_set(options.user, options.password or None)
        if options.tls:
            context = tls_context(options.ca, options.verify)
            if options.cert:
                _load_certificate(context.load_cert_chain, options.cert, options.key)
            client.tls_set_context(context)
        client.will_set(f"{self._base}/status", "offline", 1, retain=True)
        client.reconnect_delay_set(FIRST_WAIT, LONGEST_WAIT)
        client.max_queued_messages_set(MOST_WAITING)
        client.on_connect, client.on_connect_fail = self._connected, self._not_connected
        client.on_disconnect, client.on_message = self._disconnected, self._asked

    def deliver(self, message: Message) -> None:
        if not self._started:
            self._start()
        kind, camera = message["type"], message["camera"]
        own = f"{self._base}/{self._slug(camera)}"
        if kind == "score":
            self._keep(f"{own}/score", f"{message['score']:.4f}")
        elif kind in ("connected", "lost", "end"):
            self._keep(f"{own}/availability", "online" if kind == "connected" else "offline")
        elif kind.startswith("health_"):
            self._tell_health(own, message)
            self._tell_event(own, message, f"{message['health']}-{message.get('start_time')}")
        else:
            events = self._events.setdefault(camera, set())
            (events.add if kind == "event_start" else events.discard)(message["event"])
            self._keep(f"{own}/alarm", "ON" if events else "OFF")
            self._keep(f"{own}/attributes", json.dumps(dict(message)))
            if image := picture_of(message):
                self._keep(f"{own}/picture", image)
            self._tell_event(own, message, str(message["event"]))

    def tick(self) -> None:
        with self._lock:
            names = list(self._names.items())
        for slug, camera in names:
            self._tell_mute(slug, camera)

    def close(self, timeout: float) -> None:
        """Waits for the broker to have what it was told, and says that we go."""
        if not self._started:
            return
        last = self._client.publish(f"{self._base}/status", "offline", 1, retain=True)
        end = time.monotonic() + timeout
        while self._client.is_connected() and not _is_out(last) and time.monotonic() < end:
            time.sleep(0.01)
        if not _is_out(last):
            self._say("the broker did not take the last messages in time")
        self._client.disconnect()
        stopper = threading.Thread(target=self._client.loop_stop, daemon=True)
        stopper.start()
        stopper.join(1.0)

    def _start(self) -> None:
        port = self._options.port or (8883 if self._options.tls else 1883)
        self._client.connect_async(self._options.host, port, KEEPALIVE)
        self._client.loop_start()
        self._started = True

    def _slug(self, camera: str) -> str:
        """What stands for a camera in topics; what is told of a new one first."""
        slug = re.sub(r"[^A-Za-z0-9_-]+", "_", camera).strip("_") or "camera"
        with self._lock:
            if self._names.get(slug, camera) != camera:
                slug += "_" + hashlib.sha256(camera.encode()).hexdigest()[:6]
            if slug in self._names:
                return slug
            self._names[slug] = camera
            if prefix := self._options.discovery:
                prefix = PREFIX if prefix is True else prefix
                topic, payload = discovery(self._base, slug, camera, prefix)
                self._keep(topic, json.dumps(payload))
            for key, value in (
                ("availability", "online"),
                ("alarm", "OFF"),
                ("health", "ok"),
                ("mute", "OFF"),
            ):
                self._keep(f"{self._base}/{slug}/{key}", value)
        return slug

    def _tell_health(self, own: str, message: Message) -> None:
        ill = self._health.setdefault(message["camera"], [])
        if message["health"] in ill:
            ill.remove(message["health"])
        if message["type"] == "health_start":
            ill.append(message["health"])
        self._keep(f"{own}/health", ill[-1] if ill else "ok")

    def _tell_event(self, own: str, message: Message, number: str) -> None:
        """Once, and it waits where there is no connection."""
        content = {"id": f"{own.rpartition('/')[2]}-{self._run}-{number}", **message}
        sent = self._client.publish(f"{own}/event", json.dumps(content), int(self._options.qos))
        if sent.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise PipelineError(f"{MOST_WAITING} events wait for the broker; newer ones are lost")

    def _tell_mute(self, slug: str, camera: str) -> None:
        topic, value = f"{self._base}/{slug}/mute", "ON" if self._mutes.is_muted(camera) else "OFF"
        if self._retained.get(topic) != value:
            self._keep(topic, value)

    def _keep(self, topic: str, value: str | bytes) -> None:
        """A state: the newest alone counts, and it is told again with each connection."""
        with self._lock:
            self._retained[topic] = value
            if self._client.is_connected():
                self._client.publish(topic, value, retain=True)

    def _connected(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._away(str(reason))
            return
        client.subscribe(f"{self._base}/+/mute/set", 1)
        with self._lock:
            for topic, value in self._retained.items():
                client.publish(topic, value, retain=True)
        if self._told_away:
            self._say("connected")
        self._told_away = False

    def _not_connected(self, client: paho.Client, _: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this where it handles it
        untrusted = getattr(error, "verify_message", "")
        why = f"its certificate is not trusted: {untrusted}" if untrusted else getattr(error, "strerror", "")
        self._away(str(why or error))

    def _disconnected(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._away("the connection was lost")

    def _away(self, reason: str) -> None:
        if not self._told_away:
            self._say(f"{self._options.host}: {reason}; trying again")
        self._told_away = True

    def _asked(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        """A mute, in minutes or by the switch. One that the broker has kept is not meant for now."""
        slug, text = message.topic.split("/")[-3], message.payload.decode(errors="replace").strip()
        with self._lock:
            camera = self._names.get(slug)
        if camera is None or message.retain:
            return
        if text.upper() in ("ON", "OFF"):
            length = self._mute_s if text.upper() == "ON" else 0.0
        elif re.fullmatch(r"\d{1,5}(\.\d+)?", text):
            length = 60 * float(text)
        else:
            self._say(f"{message.topic}: ON, OFF or minutes, not {text[:20]!r}")
            return
        self._mutes.mute(camera, length)
        self._say(
            f"{camera}: muted for {length / 60:g} minutes" if length else f"{camera}: not muted any more"
        )
        self._tell_mute(slug, camera)


def _is_out(message: paho.MQTTMessageInfo) -> bool:
    """Whether the broker has it; paho raises where it could not be sent at once."""
    try:
        return message.is_published()
    except (RuntimeError, ValueError):
        return False


def _load_certificate(load: Callable[[str, str], None], cert: str, key: str) -> None:
    try:
        load(cert, key)
    except OSError as error:  # ssl's own among them
        raise ConfigError(f"cert: {cert}, {key}: no certificate and its key ({error.strerror})") from error
