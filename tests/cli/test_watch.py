"""The command `watch` as a person meets it: exit codes, signals, a closed stdout, and no password told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from helpers.pages import ask

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import SSRL

Start = Callable[..., "subprocess.Popen[str]"]
pytestmark = pytest.mark.usefixtures("quick_network", "usual_signals")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model for random I3D weights and the live preset, whose every snippet is an event."""
    path = tmp_path_factory.mktemp("runs") / "best.pt"
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "patches": "max"}
    torch.manual_seed(0)
    save_checkpoint(path, Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    """start(arguments) -> the command, which does not outlive the test."""
    jobs: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> "subprocess.Popen[str]":
        job = subprocess.Popen(
            [sys.executable, "-m", "ssrl_pipeline", "watch", *map(str, arguments), "--device", "cpu"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
        return job

    yield run
    for job in jobs:
        with job:
            job.kill()


def test_the_command_scores_a_file_and_runs_a_program(
    checkpoint: Path,
    make_video,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from ssrl_pipeline.cli import main as cli

    path = make_video(tmp_path / "v.mp4", frames=20)
    code = "import os, sys; print(os.environ['SSRL_TYPE'], os.environ['SSRL_CAMERA'], sys.stdin.read())"
    options = [
        "--exec",
        f'{sys.executable} -c "{code}"',
        "--metrics-port",
        "0",
        "-o",
        "events.threshold=0.01",
    ]
    arguments = ["watch", f"gate={path}", "--checkpoint", str(checkpoint), "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", *arguments])
    cli.main()
    out, err = capfd.readouterr()
    kinds = ["connected", "score", "event_start", "score", "event_end", "end"]
    assert [json.loads(line)["type"] for line in out.splitlines()] == kinds
    assert "event_start gate {" in err and "event_end gate {" in err
    assert "metrics: http://127.0.0.1:" in err


def lines_until(job: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """What is said on stderr, up to a line that holds some text."""
    assert job.stderr
    said: list[str] = []
    for line in job.stderr:
        said.append(line)
        if wanted in line:
            return said
    raise AssertionError("".join(said))


def test_a_file_of_cameras_is_read_again_on_sighup_and_a_faulty_one_is_not_taken(
    checkpoint: Path, start: Start, make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    video, told = make_video(tmp_path / "v.mp4", frames=20), tmp_path / "told"
    code = f"import os; open({str(told)!r}, 'a').write(os.environ['SSRL_CAMERA'] + os.linesep)"
    first = f"""
cameras:
  gate: {{source: "rtsp://user:${{PASSWORD}}@127.0.0.1:1/x", receivers: []}}
  film: {{source: {video}, checkpoint: {checkpoint}, threshold: 0.01}}
  still: {{source: {video}, threshold: 0.01, receivers: []}}
receivers:
  notes: {{type: program, command: {json.dumps(f'{sys.executable} -c "{code}"')}}}
"""
    path = tmp_path / "cameras.yaml"
    path.write_text(first, "utf-8")
    job = start("-c", path, "--checkpoint", checkpoint)
    said = lines_until(job, "watching with")
    job.send_signal(signal.SIGHUP)  # while models are loaded; it is answered when they are
    said += lines_until(job, "was read again")
    said += lines_until(job, "gate: not there") if "gate: not there" not in "".join(said) else []
    path.write_text(first + "  bell: {type: pigeon}\nevents: {gap: 3}\n", "utf-8")
    job.send_signal(signal.SIGHUP)
    said += lines_until(job, "go on as before")
    assert "error: " in said[-2] and "line 8: receiver bell: type 'pigeon'; there are program" in said[-2]
    path.write_text(first.replace("still", "other") + "events: {gap: 3}\n", "utf-8")
    job.send_signal(signal.SIGHUP)
    said += lines_until(job, "was read again")
    assert any("all but cameras and receivers" in line for line in said)
    said += lines_until(job, "still: it is not watched any more") if "still:" not in "".join(said) else []
    end = time.monotonic() + 60
    while not told.is_file() and time.monotonic() < end:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 143, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert sum(line["type"] == "lost" and line["camera"] == "gate" for line in lines) == 1
    assert sum(line["type"] == "connected" and line["camera"] == "film" for line in lines) == 1
    assert set(told.read_text("utf-8").split()) == {"film"}
    assert "secret" not in out + err + "".join(said) and "Traceback" not in err


def test_check_says_what_each_camera_is_and_fails_where_one_is_not_there(
    checkpoint: Path, start: Start, make_video, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "v.mp4", frames=20)
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras:\n  film: {video}\n  gone: rtsp://u:secret@127.0.0.1:1/x\n", "utf-8")
    job = start("-c", path, "--checkpoint", checkpoint, "--check", "--pictures", tmp_path / "seen")
    out, err = job.communicate(timeout=180)
    assert job.returncode == 1
    film, carried = out.splitlines()
    assert film == f"film: 64x48, 10 frames a second, mpeg4, {tmp_path / 'seen' / 'film.png'}"
    assert carried.startswith("this machine carries ") and " quiet ones of 640x360" in carried
    assert (
        "error: gone: Connection refused" in err and "gone: cannot be opened" in err and "secret" not in err
    )
    assert (tmp_path / "seen" / "film.png").is_file()


def test_info_measures_a_watch_by_the_settings(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from ssrl_pipeline.cli import main as cli
    from ssrl_pipeline.watching import capacity

    measured: list[capacity.Plan] = []

    def measure(plan: capacity.Plan, settings: object) -> capacity.Capacity:
        measured.append(plan)
        return capacity.Capacity(0.5, 0.05, 25.0)

    monkeypatch.setattr(capacity, "measure_capacity", measure)
    for unchanged in ("repeat", "auto"):
        options = ("--device", "cpu", "-o", f"extract.unchanged={unchanged}", "--json")
        monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", "info", "--checkpoint", str(checkpoint), *options])
        cli.main()
        told = json.loads(capfd.readouterr().out)[f"cameras with {checkpoint}"]
        assert told.startswith("1.3 busy or 12.8 quiet ones of 640x360 at 25 described frames a second")
    still = np.zeros((16, 48, 64, 3), np.uint8)
    repeating, describing = (plan.analysis.unchanged() for plan in measured)
    assert [one.decide(still).anything for one in (repeating, repeating)] == [True, False]
    assert [one.decide(still).anything for one in (describing, describing)] == [True, True]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_is_stopped_in_order_and_tells_no_password(
    checkpoint: Path, start: Start, number: int, code: int
) -> None:
    job = start("rtsp://user:secret@127.0.0.1:1/gate?pw=secret", "--checkpoint", checkpoint)
    assert job.stdout
    first = json.loads(job.stdout.readline())
    assert (first["type"], first["camera"]) == ("lost", "rtsp://***@127.0.0.1:1/gate?***")
    job.send_signal(number)
    out, err = job.communicate(timeout=60)
    assert job.returncode == code, err
    assert "secret" not in out + err and "Traceback" not in err


def test_a_closed_stdout_ends_the_command(checkpoint: Path, start: Start, make_video, tmp_path: Path) -> None:
    job = start(make_video(tmp_path / "v.mp4", frames=100), "--checkpoint", checkpoint)
    assert job.stdout and job.stderr
    assert json.loads(job.stdout.readline())["type"] == "connected"
    job.stdout.close()
    assert job.wait(60) == 0
    err = job.stderr.read()
    job.stderr.close()
    assert "stdout was closed" in err and "Traceback" not in err and "Broken" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "mentions"),
    [
        (("nowhere.mp4",), 1, ("nowhere.mp4", "no such file")),
        (("gopher://user:secret@host/x",), 2, ("gopher://***@host/x", "rtsp")),
        (("0", "0"), 2, ("'camera 0'",)),
        (("0", "--checkpoint", "nowhere.pt"), 1, ("nowhere.pt", "no such checkpoint")),
        (("0", "--exec", "'"), 2, ("--exec",)),
        (("0", "--webhook", "ftp://u:secret@h"), 2, ("ftp://***@h", "webhook")),
        (("0", "--page", "nonsense"), 2, ("page 'nonsense'", "127.0.0.1:8000")),
        (("0", "--page", "0.0.0.0:8000"), 2, ("page 0.0.0.0:8000", "needs a token", "SSRL_PAGE_TOKEN")),
        (("-c", "page.yaml"), 2, ("page.adress", "did you mean 'address'")),
        (("-c", "where.yaml"), 2, ("where.yaml, line 4: page 'nonsense': not an address",)),
        (("-c", "where.yaml", "--page", "none"), 2, ("page 'none': not an address",)),
        (("-c", "token.yaml"), 2, ("token.yaml, line 4: page.token_file none.txt: cannot be read",)),
        (("0", "-c", "cameras.yaml"), 2, ("cameras.yaml", "not both")),
        (("-c", "faulty.yaml"), 2, ("faulty.yaml", "3 faults")),
        (("-c", "faulty.yaml", "--check"), 2, ("faulty.yaml", "2 faults")),
        (("0", "-o", "watch.delay=40"), 2, ("delay", "less than window")),
        ((), 2, ("SOURCES",)),
    ],
)
def test_mistakes_are_said_at_once(
    arguments: tuple[str, ...],
    code: int,
    mentions: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    from ssrl_pipeline.cli import main as cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cameras.yaml").write_text("cameras: {gate: rtsp://u:secret@host/x}", "utf-8")
    cameras = "cameras: {gate: 0}\npage:\n  hosts: []\n"
    (tmp_path / "where.yaml").write_text(f"{cameras}  address: nonsense\n", "utf-8")
    (tmp_path / "token.yaml").write_text(f"{cameras}  token_file: none.txt\n  address: '8000'\n", "utf-8")
    (tmp_path / "page.yaml").write_text("cameras: {gate: 0}\npage: {adress: 127.0.0.1:8000}", "utf-8")
    (tmp_path / "faulty.yaml").write_text("cameras:\n  a: gone.mp4\n  b: gopher://u:secret@host", "utf-8")
    monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", "watch", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capfd.readouterr()
    assert (stop.value.code, out) == (code, "")
    assert all(mention in err.splitlines()[-1] for mention in mentions), err
    assert "secret" not in err


def test_the_command_keeps_events(
    checkpoint: Path,
    make_video,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from ssrl_pipeline.cli import main as cli

    path, folder = make_video(tmp_path / "v.mp4", frames=20), tmp_path / "events"
    options = ["--events", str(folder), "-o", "events.threshold=0.01"]
    arguments = ["watch", f"gate={path}", "--checkpoint", str(checkpoint), "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", *arguments])
    cli.main()
    out, _ = capfd.readouterr()
    lines = {line["type"]: line for line in map(json.loads, out.splitlines())}
    start, end = lines["event_start"], lines["event_end"]
    assert start["id"] == end["id"] and start["clip"] is None and "id" not in lines["score"]
    assert Path(end["clip"]).is_file() and Path(end["still"]).is_file()
    assert Path(end["clip"]).parent.parent == folder / "gate"
    assert not (folder / ".watch.lock").exists()


IN_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


class InTerminal:
    """A `watch -c` that is the first of a terminal of its own, and what it says in a file."""

    def __init__(self, path: Path, checkpoint: Path, said: Path, nohup: bool):
        self.said, (self.master, slave) = said, os.openpty()
        command = [sys.executable, "-m", "ssrl_pipeline", "watch", "-c", path, "--checkpoint", checkpoint]

        with said.open("wb") as file:
            self.job = subprocess.Popen(
                [sys.executable, "-c", IN_TERMINAL, "nohup" * nohup, *command],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=slave,
                stdout=slave,  # which is closed with it
                stderr=file,
                start_new_session=True,
            )
        os.close(slave)

    def until(self, text: str) -> None:
        end = time.monotonic() + 60
        while text not in self.said.read_text("utf-8"):
            assert self.job.poll() is None and time.monotonic() < end, self.said.read_text("utf-8")
            time.sleep(0.05)


@pytest.mark.parametrize("nohup", [False, True])
def test_a_closed_terminal_ends_it_where_nohup_did_not_say_otherwise(
    checkpoint: Path, tmp_path: Path, nohup: bool
) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text("cameras: {gate: 'rtsp://127.0.0.1:1/x'}\n", "utf-8")
    watched = InTerminal(path, checkpoint, tmp_path / "said", nohup)
    watched.until("gate: not there")
    watched.job.send_signal(signal.SIGHUP)  # while the terminal is there
    watched.until("was read again")
    os.close(watched.master)
    if nohup:
        time.sleep(1.0)
        path.write_text("cameras: {yard: 'rtsp://127.0.0.1:1/x'}\n", "utf-8")
        watched.job.send_signal(signal.SIGHUP)
        watched.until("cameras: yard")
        watched.job.send_signal(signal.SIGTERM)
    code, said = watched.job.wait(60), (tmp_path / "said").read_text("utf-8")
    assert code == (143 if nohup else 129), said
    assert ("the terminal was closed" in said) != nohup and "Traceback" not in said
    assert said.count("was read again") == 1 + nohup


def test_without_a_file_of_cameras_sighup_ends_it_as_sigterm_does(
    start: Callable[..., "subprocess.Popen[str]"], checkpoint: Path
) -> None:
    job = start("gate=rtsp://127.0.0.1:1/x", "--checkpoint", checkpoint)
    said = lines_until(job, "gate: not there")
    job.send_signal(signal.SIGHUP)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 129 and "Traceback" not in err, err + "".join(said)


def test_a_page_is_served_until_the_command_ends(
    checkpoint: Path, start: Start, make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("SSRL_PAGE_TOKEN", "a-token-of-the-test")
    path, video = tmp_path / "cameras.yaml", make_video(tmp_path / "v.mp4", frames=20)
    cameras = f"cameras: {{gate: 'rtsp://u:secret@127.0.0.1:1/x', film: {video}}}\n"
    path.write_text(cameras + "page: {address: '127.0.0.1:0'}\nevents: {threshold: 0.01}\n", "utf-8")
    job = start("-c", path, "--checkpoint", checkpoint, "--events", tmp_path / "events")
    (said,) = [line for line in lines_until(job, "page: ") if "page: " in line]
    url = said.split()[1]
    assert said.endswith("(asks for the token)\n") and "a-token" not in said
    assert ask(url).code == 401
    names, events = [], []
    end = time.monotonic() + 60
    while not (len(names) == 2 and events and events[0]["clip"]) and time.monotonic() < end:
        request = Request(f"{url}news", headers={"Authorization": "Bearer a-token-of-the-test"})
        with urlopen(request, timeout=30) as answer:
            answer.readline()
            state = json.loads(answer.readline().decode().removeprefix("data: "))
        names, events = [camera["name"] for camera in state["cameras"]], state["events"]
        time.sleep(0.2)
    assert names == ["gate", "film"] and events[0]["camera"] == "film"
    clip = ask(url, f"/clip/{events[0]['id']}", Authorization="Bearer a-token-of-the-test")
    assert clip.code == 200 and clip.body[4:8] == b"ftyp"
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 143 and "Traceback" not in err, err
    with pytest.raises(ConnectionRefusedError):
        ask(url)


def test_a_page_whose_port_is_taken_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from ssrl_pipeline.cli import main as cli

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["watch", "0", "--page", address, "--checkpoint", "nowhere.pt"]
        monkeypatch.setattr(sys, "argv", ["ssrl-pipeline", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 1
    assert f"error: page {address}: cannot be listened to (Address already in use)" in capfd.readouterr().err
