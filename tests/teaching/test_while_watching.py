"""A verdict given while `watch` runs: the next alarm of the kind does not come, and nothing else changes."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.commands import run_main
from helpers.live_video import Live

pytestmark = pytest.mark.usefixtures("quick_network")

SNIPPET = 16
PERIOD = 6  # snippets from one light to the next, which lasts two
LENGTH = 40 * PERIOD  # of the stream
CLIPS = ("-o", "alarms.before=1", "-o", "alarms.after=1")
QUICK = ("--weights", "random", "--engine", "eager", "--preset", "live", "-o", "extract.motion=false")
RULE = ("-o", "events.threshold=0.9", "-o", "events.gap=0")


def write_video(path: Path, snippets: int, lit: Sequence[int] = (), seed: int = 0) -> Path:
    """A place that does not change but for noise; its lower half is bright in lit snippets."""
    place = np.random.default_rng(0).integers(20, 60, (120, 160, 3), np.uint8)
    noise = np.random.default_rng(seed).integers(0, 12, (SNIPPET, 120, 160, 3), np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", SNIPPET
        for i in range(SNIPPET * snippets):
            picture = place + noise[i % SNIPPET]
            if i // SNIPPET in lit:
                picture[60:] += 150
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return path


class Watching:
    """The command as it runs; its lines and what it says to people."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        for stream, take in ((process.stdout, self._line), (process.stderr, self.said.append)):
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()

    def _line(self, text: str) -> None:
        self.lines.append(json.loads(text))

    def _read(self, stream: Any, take: Callable[[str], object]) -> None:
        for text in stream:
            take(text)
            self._news.put(None)

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            try:
                self._news.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError("".join(self.said) + str(self.lines[-30:])) from None
        return found

    def of(self, camera: str, kind: str, after: int = -1) -> list[dict[str, Any]]:
        """Lines of a camera; of events that begin after a frame."""
        found = [line for line in list(self.lines) if line["camera"] == camera and line["type"] == kind]
        return [line for line in found if line.get("start", line.get("frame", 0)) > after]


@contextmanager
def watching(*arguments: object) -> Iterator[Watching]:
    command = [sys.executable, "-m", "ssrl_pipeline", "watch", *map(str, arguments), "--device", "cpu"]
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Watching(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory of the stream without any light, and the folder of the features that it is of."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for seed, name in enumerate("abc"):
        write_video(Path("videos", f"{name}.mp4"), 8, seed=seed + 1)
    rows = ["video,label,split", "a.mp4,normal,train", "b.mp4,normal,train", "c.mp4,normal,val"]
    Path("labels.csv").write_text("\n".join(rows) + "\n")
    assert run_main("extract", "--videos", "videos", *QUICK) == 0
    assert run_main("train", "--model", "memory", "--name", "run") == 0
    return Path("runs/run/best.pt")


@pytest.mark.slow
def test_the_next_alarm_of_the_kind_does_not_come(remembered: Path, tmp_path: Path) -> None:
    lit = [number for number in range(LENGTH) if number % PERIOD in (2, 3)]
    stream = write_video(tmp_path / "stream.mp4", LENGTH, lit)
    shutil.copy(remembered, "gate.pt")
    with Live(stream) as live:
        cameras = (("gate", "gate.pt"), ("yard", remembered))
        rows = [f"  {name}: {{source: {live.url}, checkpoint: {of}}}" for name, of in cameras]
        Path("cameras.yaml").write_text("\n".join(["cameras:", *rows]))
        with watching("-c", "cameras.yaml", "--events", "events", *CLIPS, *RULE) as watch:
            (first, *_) = watch.until(lambda: watch.of("gate", "event_end"))
            clip = Path(first["clip"]).relative_to(Path("events").absolute())

            Path("gate.pt").write_bytes(b"no checkpoint")
            watch.until(lambda: any("gate.pt as it was" in text for text in watch.said))

            assert run_main("extract", "--videos", "events", *QUICK) == 0
            middle = str(1 + (first["end_s"] - first["start_s"]) / 2)
            assert run_main("feedback", "add", clip, "--at", middle, "--normal") == 0
            assert run_main("learn", remembered, "--out", "gate.pt") == 0
            before = len(watch.said)
            watch.until(lambda: any("watching with gate.pt" in text for text in watch.said[before:]))
            (taken,) = [line["frame"] for line in watch.of("gate", "score")[-1:]]
            watch.until(lambda: len(watch.of("yard", "event_start", taken + PERIOD * SNIPPET)) >= 3)

    assert watch.of("gate", "event_start", taken + PERIOD * SNIPPET) == []
    for camera in ("gate", "yard"):
        assert len(watch.of(camera, "connected")) == 1 and watch.of(camera, "lost") == []
    assert sum("no checkpoint" in text or "gate.pt as it was" in text for text in watch.said) == 1
    assert "Traceback" not in "".join(watch.said)
