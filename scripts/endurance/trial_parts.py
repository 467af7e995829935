"""What takes part in the trial: cameras, broker and web server that can be killed, a small disk, `watch`."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from trial_pictures import FPS, HEIGHT, MASK, WIDTH, Shown

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"  # which has GStreamer's bindings
MOSQUITTO = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
DISK = 64 << 20  # bytes of the disk that fills up
THRESHOLD = 0.9  # usual snippets score 0.8 at most, unusual ones 0.96 and more
LOOK = 5.0  # seconds from one look at memory to the next


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Part:
    """A program that listens at a port, and that can be killed and started again."""

    def __init__(self, port: int, command: Sequence[object], log: Path):
        self.port, self._command, self._log = port, [str(word) for word in command], log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{self._command[0]} does not start; see {self._log}")
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


def camera(shown: Shown, begun: float, out: Path) -> Part:
    port, plan = free_port(), shown.pictures.with_suffix(".plan")
    command = [SYSTEM_PYTHON, HERE / "rtsp_camera.py", port, shown.pictures, plan, WIDTH, HEIGHT, FPS, begun]
    return Part(port, command, out / f"{shown.name}.log")


def broker(out: Path) -> Part:
    program = next(filter(None, map(shutil.which, MOSQUITTO)), None)
    if program is None:
        raise SystemExit("mosquitto is not here (Debian: apt install mosquitto)")
    port, folder = free_port(), out / "broker"
    folder.mkdir()
    folder.chmod(0o777)  # where root starts it, it becomes another user
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence true"]
    lines += [f"persistence_location {folder.absolute()}/", "autosave_on_changes true", "autosave_interval 1"]
    (out / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    return Part(port, [program, "-c", out / "mosquitto.conf"], out / "mosquitto.log")


def web(out: Path) -> Part:
    port = free_port()
    return Part(port, [sys.executable, HERE / "trial_web.py", port, out / "posted.jsonl"], out / "web.log")


class Listener:
    """Hears the broker's events, each as it comes; the broker keeps them while it is away."""

    def __init__(self, port: int):
        self.heard: list[dict[str, Any]] = []
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, "trial", clean_session=False)
        client.reconnect_delay_set(1, 1)
        client.on_message = lambda c, u, message: self.heard.append(json.loads(message.payload))
        client.on_connect = lambda *_: client.subscribe("ssrl/+/event", 1)
        client.connect("127.0.0.1", port)
        client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Disk:
    """A folder on a disk of its own, where one may be mounted; else one that never fills up."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
        self.fills_up = subprocess.run(command, capture_output=True).returncode == 0

    def fill(self) -> None:
        with (self.folder / "other").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def empty(self) -> None:
        (self.folder / "other").unlink(missing_ok=True)

    def close(self, keep: Path) -> None:
        """Copies what is there, and lets the disk go."""
        shutil.copytree(self.folder, keep, dirs_exist_ok=True)
        if self.fills_up:
            subprocess.run(["umount", str(self.folder)], check=True)


class Look(NamedTuple):
    """What `watch` and the processes that it started take."""

    at: float  # seconds since 1970
    mib: float
    threads: int
    files: int
    processes: int


class Watched:
    """A `watch` of the trial, its lines as they come, and what it takes."""

    def __init__(self, config: Path, checkpoint: Path, out: Path, *options: object):
        self.lines: list[tuple[float, dict[str, Any]]] = []  # when each came, seconds since 1970
        self.looks: list[Look] = []
        self._said = (out / f"{config.stem}.err").open("wb")
        command = [sys.executable, "-m", "ssrl_pipeline", "watch", "-c", config, "--checkpoint", checkpoint]
        self.process = subprocess.Popen(
            [str(word) for word in (*command, *options)], stdout=subprocess.PIPE, stderr=self._said
        )
        self._threads = [threading.Thread(target=one) for one in (self._read, self._look)]
        for thread in self._threads:
            thread.start()

    def until_scores(self, cameras: int) -> None:
        end = time.monotonic() + 180
        while len({line["camera"] for _, line in list(self.lines) if line["type"] == "score"}) < cameras:
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"watch does not score; see {self._said.name}")
            time.sleep(0.2)

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(120)
        for thread in self._threads:
            thread.join()
        self._said.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((time.time(), json.loads(line)))

    def _look(self) -> None:
        while self.process.poll() is None:
            if look := look_at(self.process.pid):
                self.looks.append(look)
            time.sleep(LOOK)


def look_at(pid: int) -> Look | None:
    """None where it has just ended."""
    pids = [pid, *children(pid)]
    try:
        pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in pids)
        files = sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in pids)
        threads = sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in pids)
    except OSError:
        return None
    return Look(time.time(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20, threads, files, len(pids))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found + [below for one in found for below in children(one)]


def write_config(
    path: Path, ports: dict[str, int], broker: int | None = None, web: int | None = None
) -> Path:
    """A file of cameras; with receivers where they are there."""
    cameras = {
        name: {"source": f"rtsp://127.0.0.1:{port}/cam", "masks": [MASK], "threshold": THRESHOLD}
        for name, port in ports.items()
    }
    tree: dict[str, Any] = {"cameras": cameras}
    if broker and web:
        url = f"http://127.0.0.1:{web}"
        tree["receivers"] = {
            "broker": {"type": "mqtt", "host": "127.0.0.1", "port": broker},
            "hook": {"type": "webhook", "url": f"{url}/hook"},
            "frigate": {"type": "frigate", "url": url, "state": str(path.parent / "state")},
        }
    path.write_text(json.dumps(tree, indent=2) + "\n")  # which is YAML, too
    return path


@contextmanager
def started(*parts: Part) -> Iterator[None]:
    try:
        for part in parts:
            part.start()
        yield
    finally:
        for part in parts:
            part.kill()
