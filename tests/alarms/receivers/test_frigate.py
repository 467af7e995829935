"""Events in Frigate: a server that answers as Frigate's documented API does, and refuses all else.

Facts: frigate/api/event.py, defs/request/events_body.py and auth.py of Frigate 0.16 to 0.18.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.web import Request, Web, served

from ssrl_pipeline.alarms.receivers.frigate import OPTIONS, Frigate, make
from ssrl_pipeline.alarms.receivers.limits import Mutes
from ssrl_pipeline.alarms.receivers.unended import Unended
from ssrl_pipeline.alarms.receivers.web import Server
from ssrl_pipeline.errors import PipelineError

BODIES: dict[str, dict[str, tuple[type, ...]]] = {  # pydantic's EventsCreateBody and EventsEndBody
    "create": {
        "sub_label": (str, type(None)),
        "score": (float, int, type(None)),
        "duration": (int, type(None)),
        "include_recording": (bool, type(None)),
        "draw": (dict, type(None)),
        "pre_capture": (int, type(None)),
    },
    "end": {"end_time": (float, int, type(None))},
}


class FakeFrigate(Web):
    """Port 8971, which asks for a login, or 5000, which does not."""

    def __init__(self, internal: bool = False) -> None:
        super().__init__()
        self.internal, self.tokens, self.logins = internal, set[str](), 0
        self.events: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if self.codes:
            return self.codes.pop(0), {}, b""
        code, answer = self.route(request, json.loads(request.body))
        headers = {"Content-Type": "application/json"}
        if request.path == "/api/login" and code == 200:
            token = f"token{self.logins}"
            self.tokens.add(token)
            headers["Set-Cookie"] = f"frigate_token={token}; HttpOnly; Path=/; SameSite=lax"
        return code, headers, json.dumps(answer).encode()

    def route(self, request: Request, body: dict[str, Any]) -> tuple[int, Any]:
        if request.path == "/api/login":
            self.logins += 1
            good = request.method == "POST" and body == {"user": "admin", "password": "secret"}
            return (200, {}) if good else (401, {"message": "Login failed"})
        cookie = request.headers.get("Cookie", "").removeprefix("frigate_token=")
        if not self.internal and cookie not in self.tokens:
            return 401, {}
        create = re.fullmatch(r"/api/events/([^/]+)/([^/]+)/create", request.path)
        end = re.fullmatch(r"/api/events/([^/]+)/end", request.path)
        fields = BODIES["create" if create else "end"]
        if any(not isinstance(value, fields.get(key, ())) for key, value in body.items()):
            return 422, {"detail": body}
        if create and request.method == "POST":
            if create[1] not in ("front", "back%20yard"):
                return 404, {"success": False, "message": f"{create[1]} is not a valid camera."}
            name = f"1700000000.5-{len(self.events)}"
            self.events[name] = {"camera": create[1], "label": create[2], **body}
            return 200, {"success": True, "message": "Successfully created event.", "event_id": name}
        if end and request.method == "PUT" and end[1] in self.events:
            self.events[end[1]] |= body
            return 200, {"success": True, "message": "Event successfully ended."}
        return 404, {"success": False, "message": "no such thing"}


@pytest.fixture
def frigate() -> Iterator[FakeFrigate]:
    with served(FakeFrigate()) as web:
        assert isinstance(web, FakeFrigate)
        yield web


def line(kind: str, camera: str = "gate", event: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": kind, "camera": camera, "event": event, "peak_score": 0.9, **more}


def receiver(web: FakeFrigate, login: tuple[str, str] | None = ("admin", "secret")) -> Frigate:
    names = {"gate": "front", "yard": "back yard"}
    return Frigate(Server(web.url, waits=(0, 0)), "anomaly", names, login)


def test_events_begin_and_end_with_ours(frigate: FakeFrigate) -> None:
    target = receiver(frigate)
    target.deliver(line("event_start", words=["running", "arm wrestling"]))
    target.deliver(line("event_start", "yard", 7, words=["x" * 200]))
    target.deliver(line("event_end", end_time="2026-05-01T12:00:00.500Z"))
    target.deliver(line("event_end", event=99))  # whose start was not told
    first, second = frigate.events.values()
    assert first == {
        "camera": "front",
        "label": "anomaly",
        "sub_label": "running; arm wrestling",
        "score": 0.9,
        "duration": None,
        "include_recording": True,
        "end_time": 1777636800.5,
    }
    assert second["camera"] == "back%20yard" and len(second["sub_label"]) == 100
    assert "end_time" not in second
    target.close(1)
    assert second["end_time"] is None  # now
    assert frigate.logins == 1


def test_it_logs_in_again_when_the_token_has_run_out(frigate: FakeFrigate) -> None:
    target = receiver(frigate)
    target.deliver(line("event_start"))
    frigate.tokens.clear()
    target.deliver(line("event_end"))
    assert frigate.logins == 2 and "end_time" in frigate.events["1700000000.5-0"]


def test_the_internal_port_needs_no_login() -> None:
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        receiver(web, None).deliver(line("event_start"))
        assert len(web.events) == 1 and web.logins == 0


def test_failures_are_told_and_an_event_is_created_once(frigate: FakeFrigate) -> None:
    for login in (None, ("admin", "wrong")):
        with pytest.raises(PipelineError, match="401") as error:
            receiver(frigate, login).deliver(line("event_start"))
        assert "wrong" not in str(error.value)
    target = receiver(frigate)
    with pytest.raises(PipelineError, match="Frigate knows no camera 'attic'"):
        target.deliver(line("event_start", "attic"))
    frigate.codes = [502, 503]
    target.deliver(line("event_start"))
    assert len(frigate.events) == 1
    with served(Web()) as other, pytest.raises(PipelineError, match="is that Frigate"):
        Frigate(Server(other.url)).deliver(line("event_start"))


def test_a_proxys_timeout_is_not_asked_for_again(frigate: FakeFrigate) -> None:
    frigate.codes = [504]
    with pytest.raises(PipelineError, match="answered 504; attempts: 1"):
        receiver(frigate).deliver(line("event_start"))


def test_an_answer_that_does_not_come_is_not_asked_for_again(
    frigate: FakeFrigate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the event may be there."""
    monkeypatch.setattr("ssrl_pipeline.alarms.receivers.web.LIMIT", 0.2)
    target = receiver(frigate)
    target.deliver(line("event_start"))
    answer, given_up = frigate.answer, threading.Event()

    def slowly(request: Request) -> Any:
        answered = answer(request)
        if request.path.endswith("/create"):
            given_up.wait(5)
        return answered

    monkeypatch.setattr(frigate, "answer", slowly)
    with pytest.raises(PipelineError, match="attempts: 1"):
        target.deliver(line("event_start", event=2))
    given_up.set()
    assert len(frigate.events) == 2


def in_folder(web: FakeFrigate, folder: Path, said: list[str] | None = None) -> tuple[Frigate, Unended]:
    unended = Unended(folder, web.url, (said if said is not None else []).append)
    target = Frigate(Server(web.url, waits=()), "anomaly", {"gate": "front"}, None, unended)
    return target, unended


def die(unended: Unended) -> None:
    """What a killed process leaves: its file, and a lock that is free."""
    unended._held.close()


def test_the_next_run_ends_what_a_killed_one_left_and_nothing_of_one_that_lives(tmp_path: Path) -> None:
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        (killed, dead), (other, _) = in_folder(web, tmp_path), in_folder(web, tmp_path)
        killed.deliver({"type": "connected", "camera": "gate"})
        killed.deliver(line("event_start"))
        killed.deliver(line("event_start", event=2))
        killed.deliver(line("event_end", event=2))
        other.deliver(line("event_start", event=3))
        die(dead)
        (noted,) = [path for path in tmp_path.glob("*.json") if "-0" in path.read_text("utf-8")]
        os.utime(noted, (1700000000, 1700000000))  # when it was last known to live
        ends = lambda: [event.get("end_time", "open") for event in web.events.values()]  # noqa: E731
        assert ends() == ["open", None, "open"]
        target, _ = in_folder(web, tmp_path)
        assert ends() == ["open", None, "open"]  # a check of its options asks Frigate for nothing
        target.deliver({"type": "connected", "camera": "gate"})
        assert ends() == [1700000000, None, "open"]
        other.deliver(line("event_end", event=3))
        assert ends() == [1700000000, None, None]
        target.close(1)
        other.close(1)
        assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_ended_at_once_is_left_to_the_next_run_and_an_event_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        first, _ = in_folder(web, tmp_path)
        first.deliver(line("event_start"))
        web.codes = [503]
        with pytest.raises(PipelineError, match="503"):
            first.close(1)
        second, dead = in_folder(web, tmp_path)
        web.codes = [503]
        with pytest.raises(PipelineError, match="503"):
            second.deliver(line("event_start", event=1))
        assert len(web.events) == 2
        die(dead)
        web.events.pop("1700000000.5-0")  # which Frigate has forgotten meanwhile
        third, _ = in_folder(web, tmp_path)
        with pytest.raises(PipelineError, match="404"):
            third.deliver({"type": "connected", "camera": "gate"})
        assert "end_time" in web.events["1700000000.5-1"]
        third.close(1)
        assert list(tmp_path.iterdir()) == []


def test_closing_does_not_wait_for_a_frigate_that_is_away(tmp_path: Path) -> None:
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        target = Frigate(Server(web.url, waits=(60.0,)), "anomaly", {"gate": "front"}, None)
        target.deliver(line("event_start"))
        web.codes = [503] * 20
        begun = time.monotonic()
        with pytest.raises(PipelineError, match="attempts: 1"):
            target.close(1)
        assert time.monotonic() - begun < 30  # the second attempt would come after a minute


def test_where_nothing_can_be_noted_events_are_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        target, _ = in_folder(web, tmp_path / "file", said)
        target.deliver(line("event_start"))
        target.deliver(line("event_end"))
        assert len(web.events) == 1 and len(said) == 1 and "will not be ended" in said[0]


def test_open_events_are_noted_in_the_users_folder_of_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with served(FakeFrigate(internal=True)) as web:
        assert isinstance(web, FakeFrigate)
        target = make(OPTIONS(url=web.url, names={"gate": "front"}), Mutes(), print).target
        target.deliver(line("event_start"))
        noted = list((tmp_path / "ssrl-pipeline").glob("*.json"))
        assert [json.loads(path.read_text("utf-8")) for path in noted] == [["1700000000.5-0"]]
        target.close(1)
        assert not noted[0].exists()
