"""What the page knows of cameras and events, line by line; and what of it never reaches a browser."""

import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.live_video import CPU, LIGHT, describe_light

from ssrl_pipeline.events import EventRule
from ssrl_pipeline.pages.live.board import EVENTS, POINTS, Board
from ssrl_pipeline.pages.live.names import shown_name, without_addresses
from ssrl_pipeline.pages.live.pictures import Pictures
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import Source, parse_sources

ANALYSIS = Analysis(LIGHT, CPU, describe_light, EventRule(threshold=0.6))
ADDRESS = "rtsp://guard:secret@cam.example:554/stream?pw=secret"


class Watched:
    """A board and what it told."""

    def __init__(self, *sources: str):
        self.told: list[dict[str, Any]] = []
        self.renewed = 0
        self.board = Board(self.told.append, self._renew)
        self.board.change(plans(*sources))

    def _renew(self) -> None:
        self.renewed += 1

    def tell(self, kind: str, camera: str = "gate", **more: Any) -> dict[str, Any]:
        self.board.tell({"type": kind, "camera": camera, **more})
        return self.told[-1]

    @property
    def camera(self) -> Mapping[str, Any]:
        return self.board.state()["cameras"][0]


def plans(*sources: str) -> list[Plan]:
    return [Plan(source, ANALYSIS) for source in parse_sources(sources)]


def score(number: int) -> dict[str, Any]:
    return {"frame": 16 * number, "frames": 16, "time": None, "time_s": number * 0.64, "score": number / 1000}


def event(number: int, kind: str = "event_start", **more: Any) -> dict[str, Any]:
    times = {"start_s": 1.0, "start_time": "2026-11-26T14:03:11.000Z", "peak_score": 0.9}
    return {"event": number, "start": 16, "peak": 20, **times, "alarm": True, "words": ["running"], **more}


@pytest.fixture
def watched() -> Watched:
    return Watched(f"gate={ADDRESS}")


def test_a_camera_is_waited_for_then_live_then_lost_then_over(watched: Watched) -> None:
    first = watched.camera
    assert (first["id"], first["name"], first["state"], first["threshold"]) == ("c1", "gate", "waiting", 0.6)
    watched.tell("lost", reason=f"{ADDRESS}: 401 Unauthorized", frame=0)
    assert (watched.camera["state"], watched.camera["note"]) == ("lost", "the source: 401 Unauthorized")
    assert watched.tell("connected", fps=25)["state"] == "live" and watched.camera["note"] == ""
    assert watched.tell("health_start", health="black")["health"] == ["black"]
    watched.tell("health_start", health="black")
    assert watched.tell("health_end", health="black")["health"] == []
    watched.tell("dropped", frames=32)
    assert watched.tell("dropped", frames=16)["dropped"] == 48
    watched.tell("end", frames=100, error=None)
    assert watched.camera["state"] == "ended"
    assert watched.tell("end", frames=1, error="broken")["state"] == "failed"


def test_scores_are_a_curve_that_does_not_grow(watched: Watched) -> None:
    for number in range(POINTS + 10):
        watched.tell("score", **score(number))
    points = watched.camera["points"]
    assert len(points) == POINTS and points[-1] == ((POINTS + 9) * 0.64, (POINTS + 9) / 1000)
    last = {"score": (POINTS + 9) / 1000, "time": None, "time_s": pytest.approx((POINTS + 9) * 0.64)}
    assert watched.told[-1] == {"type": "score", "camera": "c1", **last}
    assert watched.camera["state"] == "live"


def test_events_begin_and_end_and_the_oldest_are_forgotten(watched: Watched) -> None:
    begun = watched.tell("event_start", **event(1, id="e1", still="/secret/path/e1.jpg", clip=None))
    assert (begun["id"], begun["open"], begun["still"], begun["clip"]) == ("e1", True, True, False)
    ended = watched.tell(
        "event_end", **event(1, id="e1", still="/secret/path/e1.jpg", clip="/secret/path/e1.mp4", end_s=4.0)
    )
    assert (ended["open"], ended["clip"], ended["end_s"], ended["words"]) == (False, True, 4.0, ["running"])
    assert ended["made"] == begun["made"]
    assert [one["id"] for one in watched.board.state()["events"]] == ["e1"]
    without = watched.tell("event_start", **event(2, alarm=False))
    assert (without["id"], without["still"], without["alarm"]) == ("c1-2", False, False)
    for number in range(3, EVENTS + 3):
        watched.tell("event_start", **event(number))
    ids = [one["id"] for one in watched.board.state()["events"]]
    assert len(ids) == EVENTS and "e1" not in ids and ids[-1] == f"c1-{EVENTS + 2}"


def test_an_archive_is_remembered_with_names_that_can_be_shown(watched: Watched) -> None:
    row = {name: None for name in ("start_s", "end_s", "peak_score", "words", "verdict", "clip")}
    rows = [
        {**row, "id": f"r{n}", "camera": camera, "made": float(n), "state": state, "still": "x.jpg"}
        for n, (camera, state) in enumerate(
            [("gate", "done"), (ADDRESS, "interrupted"), ("/videos/yard.mp4", "open")]
        )
    ]
    watched.board.remember(rows)
    found = watched.board.state()["events"]
    assert [one["camera"] for one in found] == ["gate", "camera", "yard.mp4"]
    assert [one["open"] for one in found] == [False, False, True]
    assert all(one["still"] and not one["clip"] for one in found)
    assert watched.board.older(rows) == found


def test_other_cameras_come_and_go(watched: Watched) -> None:
    watched.tell("score", **score(1))
    watched.board.change(plans("yard=rtsp://b.example/x", f"gate={ADDRESS}"))
    assert [one["id"] for one in watched.board.state()["cameras"]] == ["c2", "c1"]
    assert watched.board.state()["cameras"][1]["points"]
    watched.board.change(plans("gate=rtsp://other.example/x"))
    assert (watched.camera["id"], watched.camera["points"], watched.camera["state"]) == ("c1", [], "waiting")
    assert watched.renewed == 3
    count = len(watched.told)
    watched.board.tell({"type": "score", "camera": "nobody", **score(2)})
    assert len(watched.told) == count


def test_no_answer_has_an_address_or_a_secret() -> None:
    watched = Watched(ADDRESS)
    name = parse_sources([ADDRESS])[0].name
    watched.tell("lost", name, reason=f"cam.example:554 refused guard:secret ({ADDRESS})", frame=0)
    watched.tell("event_start", name, **event(1, id="e", still="/var/secret.jpg"))
    watched.tell("end", name, error=f"{name} broke off", frames=0)
    sent = json.dumps([watched.board.state(), *watched.told])
    assert watched.camera["name"] == "camera 1"
    assert not any(part in sent for part in ("secret", "guard", "cam.example", "rtsp", "554", "/var"))


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [
        ("gate", 1, "gate"),
        ("camera 0", 1, "camera 0"),
        ("rtsp://***@host/x", 3, "camera 3"),
        ("http:/host/x", 2, "camera 2"),
        ("videos/2024/yard.mp4", 1, "yard.mp4"),
    ],
)
def test_names(name: str, number: int, shown: str) -> None:
    assert shown_name(name, number) == shown


def test_messages_lose_addresses_that_nobody_named() -> None:
    assert without_addresses("moved to http://10.0.0.1/x, see there", []) == "moved to the source see there"
    assert without_addresses("camera 0: no frames", ["0"]) == "camera 0: no frames"


def test_pictures_are_small_and_taken_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looked = [100.0], [False]
    monkeypatch.setattr("ssrl_pipeline.pages.live.pictures.time.monotonic", lambda: now[0])
    told: list[tuple[str, int]] = []
    pictures = Pictures(lambda: looked[0], lambda camera, number: told.append((camera, number)))
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[:, 960:] = 200, 30, 30
    assert pictures.jpeg("gate") is None
    pictures.see("gate", frame)
    frame[:] = 0  # its memory is used again
    coded = pictures.jpeg("gate")
    assert coded is not None and pictures.jpeg("gate") == coded
    picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3)
    np.testing.assert_allclose(picture[180, [100, 500], ::-1], [[0, 0, 0], [200, 30, 30]], atol=6)
    for seconds, looks, number in ((1.5, False, 1), (9, False, 2), (1.5, True, 3), (0.5, True, 3)):
        now[0] += seconds
        looked[0] = looks
        pictures.see("gate", frame[:100, :120])
        assert told[-1] == ("gate", number)
    pictures.see("yard", frame)
    assert told[-1] == ("yard", 1)


def test_a_source_that_is_named_like_another_kind_keeps_its_name() -> None:
    board = Watched("gate=rtsp://cam.example/x").board
    board.change([Plan(Source("gate", "0", "device"), ANALYSIS)])
    assert board.state()["cameras"][0]["name"] == "gate"
