"""Receivers from their options: faults are said with the receiver and the key, and without secrets."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from helpers.web import Web, served

from ssrl_pipeline.alarms import open_receiver
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.errors import ConfigError

MQTT = {"type": "mqtt", "host": "h"}
HOOK = {"type": "webhook", "url": "https://h/secret"}
FRIGATE = {"type": "frigate", "url": "http://h:5000"}


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        ({}, "no type; there are program, webhook, mqtt, frigate"),
        ({"type": "telegram"}, "'telegram'"),
        ({"type": "mqtt"}, "host"),
        ({**MQTT, "pasword": "secret"}, "did you mean 'password'"),
        ({**MQTT, "password": 1234}, "phone.password: not a text"),
        ({**MQTT, "password": "secret"}, "there is a password and no user"),
        ({**MQTT, "port": "x"}, "phone.port: 'x'"),
        ({**MQTT, "port": 70000}, "port: 70000"),
        ({**MQTT, "qos": 0}, "qos: 0"),
        ({**MQTT, "topic": "a/#"}, "topic: 'a/#'"),
        ({**MQTT, "tls": True, "ca": "nowhere.pem"}, "ca: nowhere.pem: no such file"),
        ({**MQTT, "tls": True, "cert": "nowhere.pem"}, "cert and key"),
        ({**MQTT, "ca": "ca.pem"}, "without it, nothing is encrypted"),
        ({**MQTT, "cooldown": "soon"}, "cooldown is a duration"),
        ({**MQTT, "score": "-1"}, "score is a duration"),
        ({"type": "webhook"}, "url"),
        ({**HOOK, "url": "ftp://u:secret@h"}, "url: ftp://***@h"),
        ({**HOOK, "body": {"a": "{camra}"}}, "did you mean {camera}"),
        ({**HOOK, "headers": {"X": 1}}, "headers.X: not a text"),
        ({**HOOK, "picture": "form"}, "form needs a body"),
        ({**HOOK, "picture": "mail"}, "'mail' is not one of body, form"),
        ({"type": "program", "command": ""}, "command"),
        ({"type": "program", "command": "'"}, "command"),
        ({"type": "program", "command": "/no/such/program x"}, "/no/such/program: no such program"),
        ({**HOOK, "types": ["event_strat"]}, "types: 'event_strat' is none; there are event_start"),
        ({**FRIGATE, "user": "admin"}, "user and password"),
        ({**FRIGATE, "names": {"gate": 1}}, "names.gate"),
    ],
)
def test_faults(options: Mapping[str, Any], mentions: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_receiver("phone", options)
    text = str(error.value)
    assert "phone" in text and mentions in text and "\n" not in text
    assert "secret" not in text and "1234" not in text


def test_what_a_receiver_is_not_for_is_left_out() -> None:
    with served(Web()) as web:
        options = {
            "type": "webhook",
            "url": web.url,
            "cameras": ["gate"],
            "types": ["event_start", "health_start"],
        }
        mutes = Mutes()
        receiver = open_receiver("hook", options, mutes)
        for kind in ("score", "event_start", "event_end", "health_start"):
            for camera in ("gate", "yard"):
                receiver.tell({"type": kind, "camera": camera})
        mutes.mute("gate", 60)
        receiver.tell({"type": "event_start", "camera": "gate", "event": 2})
        receiver.close(10)
    told = [json.loads(request.body) for request in web.got]
    expected = [{"type": kind, "camera": "gate"} for kind in ("event_start", "health_start")]
    assert told == expected
