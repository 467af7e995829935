"""What Home Assistant reads of us, against a schema of what its documentation says of each key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ssrl_pipeline.alarms.receivers.home_assistant import HEALTH, discovery
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.alarms.receivers.mqtt import Mqtt, MqttOptions
from ssrl_pipeline.watching.health import BEGIN

SCHEMA = yaml.safe_load(Path(__file__).with_name("home_assistant.schema.yaml").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def faults(payload: object) -> list[str]:
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in VALIDATOR.iter_errors(payload)]


def message(base: str = "home/ssrl", slug: str = "front_door", camera: str = "Front door") -> Any:
    return json.loads(json.dumps(discovery(base, slug, camera)[1]))


@pytest.mark.parametrize("camera", ["Front door", "Tür", "a" * 200, "1"])
def test_discovery_messages_are_as_documented(camera: str) -> None:
    topic, _ = discovery("home/ssrl", "front_door", camera)
    assert topic == "homeassistant/device/home_ssrl_front_door/config"
    assert faults(message(camera=camera)) == []


def test_a_camera_is_a_device_with_what_we_know_of_it() -> None:
    payload = message()
    assert payload["device"]["name"] == "Front door" and payload["device"]["identifiers"]
    assert payload["availability_mode"] == "all"
    topics = {entry["topic"] for entry in payload["availability"]}
    assert topics == {"home/ssrl/status", "home/ssrl/front_door/availability"}
    entities = payload["components"]
    assert {key: entity["platform"] for key, entity in entities.items()} == {
        "score": "sensor",
        "alarm": "binary_sensor",
        "picture": "image",
        "health": "sensor",
        "mute": "switch",
    }
    assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
    assert set(entities["health"]["options"]) == {"ok", *BEGIN} and len(HEALTH) == len(BEGIN) + 1


def test_cameras_of_one_broker_are_devices_of_their_own() -> None:
    one, other = message(slug="gate"), message(slug="yard")
    ids = lambda m: {e["unique_id"] for e in m["components"].values()} | set(m["device"]["identifiers"])  # noqa: E731
    assert not ids(one) & ids(other)


def test_what_is_told_is_what_the_discovery_names() -> None:
    """The topics that entities read are those that are kept for them, and their states are known ones."""
    target = Mqtt(MqttOptions(host="127.0.0.1"), Mutes(), print)
    target._started = True  # without a connection, what is retained waits for one
    for line in (
        {"type": "connected", "camera": "gate"},
        {"type": "score", "camera": "gate", "score": 0.25},
        {"type": "event_start", "camera": "gate", "event": 1, "peak_score": 0.9},
        {"type": "event_end", "camera": "gate", "event": 1, "peak_score": 0.9},
        *({"type": "health_start", "camera": "gate", "health": ill, "start_time": None} for ill in BEGIN),
    ):
        target.deliver(line)
        health = target._retained["ssrl/gate/health"]
        assert health in HEALTH
    kept = target._retained
    payload = json.loads(kept["homeassistant/device/ssrl_gate/config"])
    assert faults(payload) == []
    for name, entity in payload["components"].items():
        for key in ("state_topic", "json_attributes_topic"):
            assert entity.get(key, "ssrl/status") in kept, (name, key)
    assert kept["ssrl/gate/alarm"] == "OFF" and isinstance(json.loads(kept["ssrl/gate/attributes"]), dict)
    assert 0 <= float(kept["ssrl/gate/score"]) <= 1
    assert {kept[entry["topic"]] for entry in payload["availability"]} <= {"online", "offline"}


def without(*path: str) -> Callable[[Any], None]:
    def change(payload: Any) -> None:
        for key in path[:-1]:
            payload = payload[key]
        del payload[path[-1]]

    return change


def having(value: object, *path: str) -> Callable[[Any], None]:
    def change(payload: Any) -> None:
        for key in path[:-1]:
            payload = payload[key]
        payload[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("device"),
        without("origin"),
        without("origin", "name"),
        without("device", "identifiers"),
        having([], "device", "identifiers"),
        having(1, "device", "sw_version"),
        having("ftp://x", "device", "configuration_url"),
        having("some", "availability_mode"),
        having([{"payload": "x"}], "availability"),
        having("x", "availability_topic"),  # beside availability
        having("1", "colour"),
        without("components", "score", "platform"),
        without("components", "score", "unique_id"),
        without("components", "score", "state_topic"),
        having("a/+/b", "components", "score", "state_topic"),
        having("average", "components", "score", "state_class"),
        having(-1, "components", "score", "suggested_display_precision"),
        having("chart", "components", "score", "icon"),
        without("components", "health", "options"),
        without("components", "health", "device_class"),
        having("measurement", "components", "health", "state_class"),
        having("config", "components", "health", "entity_category"),
        having("alarm", "components", "alarm", "device_class"),
        having("x", "components", "alarm", "options"),
        without("components", "picture", "image_topic"),
        having("x", "components", "picture", "url_topic"),
        without("components", "mute", "command_topic"),
        having("lamp", "components", "mute", "platform"),
    ],
)
def test_the_schema_finds_what_home_assistant_would_refuse_or_drop(change: Callable[[Any], None]) -> None:
    payload = message()
    change(payload)
    assert faults(payload) != []
