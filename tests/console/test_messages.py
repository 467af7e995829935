"""Messages on stderr: as text as ever, or with --log-json each line an object."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from ssrl_pipeline.cli import main as cli
from ssrl_pipeline.console import messages, terminal

QUICK = ("--preset", "live", "--weights", "random", "--device", "cpu")
Call = Callable[..., tuple[int, str, list[dict[str, Any]]]]


@pytest.fixture(autouse=True)
def text_again() -> Iterator[None]:
    yield
    messages.set_up(as_json=False)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """call(arguments) -> exit code, stdout, what the lines on stderr say."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, list[dict[str, Any]]]:
        monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", "--log-json", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, [json.loads(line) for line in err.splitlines()]

    return run


@pytest.mark.usefixtures("quick_network")
def test_every_line_of_an_extraction_is_an_object(
    call: Call, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    make_video(tmp_path / "videos" / "Straße.mp4", frames=20)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    code, out, lines = call("extract", *QUICK)
    assert code == 1 and "broken.mp4" in out
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        assert line["level"] in ("info", "warning", "error") and line["message"]
    bars = [line["progress"] for line in lines if "progress" in line]
    assert {"done": 2, "total": 2, "unit": "snippet"}.items() <= bars[-1].items()
    (failed,) = [line for line in lines if line["level"] == "warning"]
    assert failed["video"] == "broken.mp4" and failed["message"].startswith("failed: videos/broken.mp4: ")
    assert lines[-1]["level"] == "error"
    assert lines[-1]["message"] == "1 of 2 videos failed; the others are in features"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("extract", "--nope"), 2, "No such option"),
        (("nope",), 2, "No such command"),
        (("extract", "-o", "nope=1"), 2, "nope"),
        (("evaluate",), 1, "no run with a best.pt"),
    ],
)
def test_what_went_wrong_is_one_object(
    call: Call, arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, (line,) = call(*arguments)
    assert (got, out, line["level"]) == (code, "", "error")
    assert message in line["message"] and not line["message"].startswith("error")


@pytest.mark.filterwarnings("default:old:FutureWarning")
def test_libraries_bugs_and_interruptions_are_objects(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    error: list[BaseException] = [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(cli.TERMINATED)]

    def command(**options: object) -> None:
        logging.getLogger("a.library").warning("slow %s", "disk")
        logging.getLogger("a.library").info("nobody wants to know")
        warnings.warn("old", FutureWarning, stacklevel=1)
        raise error.pop(0)

    monkeypatch.setattr("ssrl_pipeline.cli.info.info.callback", command)
    code, _, (library, old, bug) = call("info")
    assert (library["logger"], library["level"], library["message"]) == ("a.library", "warning", "slow disk")
    assert old["logger"] == "py.warnings" and "FutureWarning: old" in old["message"]
    assert (code, bug["level"], bug["message"]) == (1, "error", "RuntimeError: a bug")
    assert "raise error.pop(0)" in bug["traceback"]
    code, _, lines = call("info")
    assert (code, lines[-1]["message"]) == (130, "interrupted")
    code, _, lines = call("info")
    assert (code, lines[-1]["message"]) == (143, "terminated")


@pytest.mark.parametrize(("interval", "told"), [(0.0, [0, 1, 2, 3]), (1e9, [0, 3])])
def test_bars_are_messages_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interval: float, told: list[int]
) -> None:
    monkeypatch.setattr(terminal, "INTERVAL", interval)
    messages.set_up(as_json=True)
    with terminal.progress_bar(desc="rendering", total=3, unit="video") as bar:
        for _ in range(3):
            bar.update()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert sorted({line["progress"]["done"] for line in lines}) == told
    assert len(lines) <= len(told) + 1  # the last state may be told twice
    assert lines[-1]["message"] == "rendering: 3 of 3 videos"
    assert not any("\r" in line["message"] for line in lines)


@pytest.mark.parametrize(("interval", "told"), [(0.0, [0, 1, 2, 3]), (1e9, [3])])
def test_a_bar_in_a_log_file_is_lines_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interval: float, told: list[int]
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_INTERVAL", interval)
    messages.set_up(as_json=False)
    with terminal.progress_bar(desc="rendering", total=3, unit="video") as bar:
        for _ in range(3):
            bar.update()
    err = capfd.readouterr().err
    assert "\r" not in err and err.endswith("\n")
    lines = err.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [f"rendering: {n} of 3 videos" for n in told]
    assert ["left" in line for line in lines] == [0 < n < 3 for n in told]


def test_the_last_state_in_a_log_file_is_told_once_where_less_came_than_was_expected(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    messages.set_up(as_json=False)
    with terminal.progress_bar(total=9, unit="snippet") as bar:
        bar.update()
        monkeypatch.setattr(terminal, "PLAIN_INTERVAL", 0.0)
        bar.update()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("2 of 9 snippets in ")


def test_text_is_text_and_a_bar_stays_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    messages.set_up(as_json=False)
    with terminal.progress_bar(total=2, unit="video") as bar:
        bar.update()
        messages.say("noted", path=Path("x"))
        messages.say("bad", logging.ERROR)
        logging.getLogger("a.library").error("worse")
    out, err = capfd.readouterr()
    texts = [line.split("\r")[-1] for line in err.split("\n")]
    assert [text for text in texts if "video" not in text] == ["noted", "error: bad", "worse", ""]
    assert out == "" and "50%" in err


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("rtsp://u:secret@h:554/a: lost", "rtsp://***@h:554/a: lost"),
        ("'http://h/a?token=secret', twice", "'http://h/a?***', twice"),
        ("rtsp://***@h/a?***: lost", "rtsp://***@h/a?***: lost"),
        ("https:/u:secret@h/best.pt: no such file", "https://***@h/best.pt: no such file"),
        ("my/gate=rtsp://u:secret@h: no such file", "my/gate=rtsp://***@h: no such file"),
        ("see https://h/a, C:/a@b?c and a/b@c.mp4", "see https://h/a, C:/a@b?c and a/b@c.mp4"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_addresses_in_messages_lose_their_secrets(
    capfd: pytest.CaptureFixture[str], said: str, told: str, as_json: bool
) -> None:
    messages.set_up(as_json)
    messages.say(said, reason=said)
    err = capfd.readouterr().err
    if as_json:
        line = json.loads(err)
        assert line["message"] == line["reason"] == told
    else:
        assert err == f"{told}\n"


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def collect(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("ssrl_pipeline.info.collect", collect)
    code, _, lines = call("info")
    assert code == 1 and len(lines) == 1
    assert lines[0]["message"].startswith("out of memory (") and "--device" in lines[0]["message"]
    assert "\n" not in lines[0]["message"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("user:pw@host/x: no such file", "***@host/x: no such file"),
        ("gate=admin:a?b&c@10.0.0.7:554/live", "gate=***@10.0.0.7:554/live"),
        ("rtsp://u:p@cam/1 and u:p@cam", "rtsp://***@cam/1 and ***@cam"),
        ("error: mail me@home.org, at 10:30", "error: mail me@home.org, at 10:30"),
    ],
)
def test_logins_are_hidden_also_where_the_scheme_was_forgotten(text: str, told: str) -> None:
    assert messages.hide_secrets(text) == told


def test_a_stop_that_comes_while_a_message_is_written_stays_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tqdm clears up afterwards may fail, since it was stopped half-way: its locks, above all."""

    def write(text: str, file: Any) -> None:
        try:
            raise SystemExit(143)
        finally:
            raise AssertionError("released a lock that it does not hold")

    messages.set_up(as_json=False)
    monkeypatch.setattr("tqdm.tqdm.write", write)
    with pytest.raises(SystemExit):
        messages.say("a line")


def test_a_swallowed_sigterm_is_raised_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli._terminate(15, None)
    assert stopped.value.code == 143
    try:
        raise stopped.value
    except SystemExit:
        cli._terminate(15, None)  # what clears away is not cut short
    with pytest.raises(SystemExit):
        cli._terminate(15, None)
