"""Who is told of which camera, also while the file of cameras changes."""

from collections.abc import Mapping
from typing import Any

import pytest

from ssrl_pipeline.alarms.receivers import listeners as module
from ssrl_pipeline.alarms.receivers.listeners import Listeners


class Told:
    def __init__(self, options: Mapping[str, Any]):
        self.lines: list[tuple[str, str, int | None]] = []
        self.closed = False

    def tell(self, line: Mapping[str, Any]) -> None:
        assert not self.closed
        self.lines.append((line["type"], line["camera"], line.get("event")))

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Told]:
    """The receivers, by name."""
    found: dict[str, Told] = {}

    def open_receiver(name: str, options: Mapping[str, Any], mutes: object) -> Told:
        found[name] = Told(options)
        return found[name]

    monkeypatch.setattr(module, "open_receiver", open_receiver)
    return found


def line(kind: str, camera: str = "gate", event: int | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, "camera": camera, **({} if event is None else {"event": event}), **more}


def test_each_camera_has_its_receivers_and_what_alarms_nobody_is_not_told(opened: dict[str, Told]) -> None:
    listeners = Listeners({"--exec": {}})
    listeners.change({"phone": {}, "siren": {}}, {"gate": ["phone"], "yard": None})
    for camera in ("gate", "yard", "unknown"):
        listeners.tell(line("event_start", camera, 1))
    listeners.tell(line("event_start", "gate", 2, alarm=False))
    told = {name: [camera for _, camera, _ in one.lines] for name, one in opened.items()}
    assert told == {"--exec": ["gate", "yard"], "phone": ["gate", "yard"], "siren": ["yard"]}
    listeners.close()
    assert all(one.closed for one in opened.values())


def test_the_end_of_an_event_is_told_to_those_that_know_of_its_start(opened: dict[str, Told]) -> None:
    """It comes late: after the file was read again, when its clip is whole."""
    listeners = Listeners({})
    receivers: dict[str, dict[str, Any]] = {"phone": {}, "siren": {}, "old": {}}
    listeners.change(receivers, {"gate": ["phone", "old"], "yard": ["siren"]})
    for camera in ("gate", "yard"):
        listeners.tell(line("event_start", camera, 1))
    del receivers["old"]
    listeners.change(receivers, {"gate": ["siren"]})  # another receiver; the yard is gone
    for camera in ("gate", "yard"):
        listeners.tell(line("event_end", camera, 1))
    listeners.tell(line("end", "yard"))
    assert opened["phone"].lines == [("event_start", "gate", 1), ("event_end", "gate", 1)]
    assert opened["siren"].lines == [
        *(("event_start", "yard", 1), ("event_end", "yard", 1), ("end", "yard", None)),
    ]
    assert opened["old"].lines == [("event_start", "gate", 1)] and opened["old"].closed
    listeners.tell(line("event_start", "gate", 2))
    assert opened["siren"].lines[-1] == ("event_start", "gate", 2)
