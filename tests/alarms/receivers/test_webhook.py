"""Alarms posted to web addresses: what arrives, with which picture, and what is said of failures."""

import base64
import json
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from helpers.web import Web, served

from ssrl_pipeline.alarms.receivers import templates
from ssrl_pipeline.alarms.receivers.web import Server
from ssrl_pipeline.alarms.receivers.webhook import Webhook
from ssrl_pipeline.errors import ConfigError, PipelineError

MESSAGE: dict[str, Any] = {
    "type": "event_start",
    "camera": "Tür",
    "peak_score": 0.8765,
    "words": ["running", "arm wrestling"],
    "start_time": None,
}
JPEG = b"\xff\xd8 not really \r\n--x\xff\xd9"


@pytest.fixture
def web() -> Iterator[Web]:
    with served(Web()) as server:
        yield server


def hook(url: str, waits: tuple[float, ...] = (0, 0), **options: Any) -> Webhook:
    return Webhook(Server(url, waits=waits), **options)


def test_it_gets_json_and_is_tried_again(web: Web) -> None:
    web.codes = [500, 503]
    hook(f"http://us%40er:sec%3Aret@127.0.0.1:{web.server_port}/x?k=v#f").deliver(MESSAGE)
    assert [json.loads(request.body) for request in web.got] == [MESSAGE] * 3
    headers = web.got[0].headers
    assert headers["Content-Type"] == "application/json" and web.got[0].path == "/x?k=v"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"us@er:sec:ret"


@pytest.mark.parametrize(
    ("codes", "attempts", "said"), [([404], 1, "404"), ([302], 1, "302"), ([500] * 9, 3, "500")]
)
def test_what_is_refused_is_told_without_the_password(
    web: Web, codes: list[int], attempts: int, said: str
) -> None:
    web.codes = codes
    url = f"http://user:secret@127.0.0.1:{web.server_port}/secret/x?token=secret"
    with pytest.raises(PipelineError, match=said) as error:
        hook(url).deliver(MESSAGE)
    assert len(web.got) == attempts
    assert "secret" not in str(error.value) and f"attempts: {attempts}" in str(error.value)


def test_one_that_is_not_there() -> None:
    with pytest.raises(PipelineError, match="refused"):
        hook("http://user:secret@127.0.0.1:1/x", ()).deliver(MESSAGE)
    for url in ("ftp://user:secret@host/x", "http://", "http://host:port/", "host"):
        with pytest.raises(ConfigError, match="https://host/path") as error:
            hook(url)
        assert "secret" not in str(error.value)


def test_templates_of_the_body_and_of_headers(web: Web) -> None:
    title = {"Title": "{camera}\r\nX-Evil: 1", "Tags": "{health}"}
    hook(web.url, headers=title, body="{camera}: {words} {{{peak_score:.2f}}}").deliver(MESSAGE)
    request = web.got[0]
    assert request.body.decode() == "Tür: running; arm wrestling {0.88}"
    assert request.headers["Title"].encode("latin-1").decode() == "Tür X-Evil: 1"
    assert "X-Evil" not in request.headers and request.headers["Tags"] == ""
    body = {"message": "at {camera}", "extra": [{"score": "{peak_score}", "at": "{start_time}", "n": 8}]}
    hook(web.url, body=body).deliver(MESSAGE)
    expected = {"message": "at Tür", "extra": [{"score": 0.8765, "at": None, "n": 8}]}
    assert json.loads(web.got[1].body) == expected


@pytest.mark.parametrize(
    ("template", "mentions"),
    [
        ("{camra}", "did you mean {camera}"),
        ("{camera.__class__}", "not known"),
        ("{camera[0]}", "not known"),
        ("{0}", "not known"),
        ("{}", "not known"),
        ("{camera!r}", "without more"),
        ("{peak_score:{camera}}", "without more"),
        ("{peak_score:99999999f}", "without more"),
        ("{camera", "written twice"),
        ("a } b", "written twice"),
    ],
)
def test_templates_that_are_refused(template: str, mentions: str) -> None:
    with pytest.raises(ConfigError, match=r"^body: ") as error:
        templates.check({"a": ["x", {"b": template}]}, "body")
    assert mentions in str(error.value)
    assert templates.fill_text("{camera:.2f}", {"camera": "gate"}) == "gate"


def test_the_picture_as_the_body_and_in_a_form(web: Web, tmp_path: Path) -> None:
    still = tmp_path / "still.jpg"
    still.write_bytes(JPEG)
    with_still = {**MESSAGE, "still": str(still)}
    hook(web.url, picture="body", headers={"Title": "{camera}"}).deliver(with_still)
    assert (web.got[0].headers["Content-Type"], web.got[0].body) == ("image/jpeg", JPEG)
    photo = hook(web.url, picture="form", picture_field="photo", body={"chat_id": "7", "caption": "{camera}"})
    for message in (with_still, {**MESSAGE, "still": str(tmp_path / "gone.jpg")}):
        photo.deliver(message)
        request = web.got[-1]
        head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + request.body).get_payload()
        read = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)  # type: ignore[union-attr]
            for part in parts
        }
        expected = {"chat_id": b"7", "caption": "Tür".encode()}
        assert read == expected | ({"photo": JPEG} if message is with_still else {})
