"""Events told to programs and web addresses: what arrives, what is said of failures; nobody waits."""

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.watching.receivers import Message, Notifier, program, webhook

MESSAGE = {"type": "event_start", "camera": "gate", "start": 16, "start_time": None}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class Receiver(ThreadingHTTPServer):
    """Answers with the codes given, then 204; keeps what it is sent."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.got: list[tuple[dict[str, str], Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), json.loads(body)))
                self.send_response(receiver.codes.pop(0) if receiver.codes else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_program_gets_json_and_variables_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = (
        "import json, os, sys\n"
        "found = {k: v for k, v in os.environ.items() if k.startswith('SSRL_')}\n"
        "json.dump([json.load(sys.stdin), found, sys.argv[1:]], open(sys.argv[1], 'w'))"
    )
    program([*python(code), str(out), "$HOME; ls"])(MESSAGE)
    message, variables, arguments = json.loads(out.read_text())
    assert message == MESSAGE and arguments == [str(out), "$HOME; ls"]
    expected = {"SSRL_TYPE": "event_start", "SSRL_CAMERA": "gate", "SSRL_START": "16", "SSRL_START_TIME": ""}
    assert variables == expected


def test_a_program_that_fails_hangs_or_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="exit code 3"):
        program(python("raise SystemExit(3)"))(MESSAGE)
    with pytest.raises(PipelineError, match="nowhere cannot be run: No such file"):
        program(["nowhere"])(MESSAGE)
    begun = time.monotonic()
    with pytest.raises(PipelineError, match=r"more than 0\.5 seconds"):
        program(python("import time; time.sleep(60)"), limit=0.5)(MESSAGE)
    assert time.monotonic() - begun < 30


def test_a_webhook_gets_json_and_is_tried_again(receiver: Receiver) -> None:
    receiver.codes = [500, 503]
    deliver = webhook(f"http://us%40er:sec%3Aret@127.0.0.1:{receiver.server_port}/x?k=v#f", waits=(0, 0))
    deliver(MESSAGE)
    assert [body for _, body in receiver.got] == [MESSAGE] * 3
    headers = receiver.got[0][0]
    assert headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"us@er:sec:ret"


@pytest.mark.parametrize(
    ("codes", "attempts", "said"), [([404], 1, "404"), ([302], 1, "302"), ([500] * 9, 3, "500")]
)
def test_what_a_webhook_refuses_is_told_without_the_password(
    receiver: Receiver, codes: list[int], attempts: int, said: str
) -> None:
    receiver.codes = codes
    deliver = webhook(
        f"http://user:secret@127.0.0.1:{receiver.server_port}/secret/x?token=secret", waits=(0, 0)
    )
    with pytest.raises(PipelineError, match=said) as error:
        deliver(MESSAGE)
    assert len(receiver.got) == attempts
    assert "secret" not in str(error.value) and f"attempts: {attempts}" in str(error.value)


def test_a_webhook_that_is_not_there() -> None:
    with pytest.raises(PipelineError, match="refused"):
        webhook("http://user:secret@127.0.0.1:1/x", waits=())(MESSAGE)
    for url in ("ftp://host/x", "http://", "http://host:port/", "host"):
        with pytest.raises(ConfigError, match="webhook"):
            webhook(url)


def test_a_slow_receiver_delays_nobody_and_what_is_lost_is_said() -> None:
    go, got, said = threading.Event(), [], []  # type: ignore[var-annotated]

    def deliver(message: Message) -> None:
        assert go.wait(30)
        got.append(message["n"])

    notifier = Notifier("slow", deliver, said.append, waiting=3)
    notifier.tell({"n": 0})
    while notifier._queue.qsize():  # until the first is being delivered
        time.sleep(0.001)
    for n in range(1, 10):
        notifier.tell({"n": n})
    assert got == []
    assert said == ["slow: too slow, 3 messages wait; newer ones are lost"]
    go.set()
    notifier.close(30)
    assert got == [0, 1, 2, 3]


def test_a_failing_receiver_is_said_and_gets_the_next() -> None:
    said: list[str] = []

    def deliver(message: Message) -> None:
        if message["n"] == 0:
            raise PipelineError("no")
        if message["n"] == 1:
            raise RuntimeError("secret")

    notifier = Notifier("hook", deliver, said.append)
    for n in range(3):
        notifier.tell({"n": n})
    notifier.close(30)
    assert said == ["hook: no", "hook: RuntimeError"]


def test_closing_does_not_wait_for_ever() -> None:
    go, said = threading.Event(), []  # type: ignore[var-annotated]
    notifier = Notifier("stuck", lambda message: go.wait(30), said.append)  # type: ignore[arg-type, return-value]
    notifier.tell({"n": 0})
    notifier.close(0.1)
    go.set()
    assert len(said) == 1 and "stuck: did not take" in said[0]
