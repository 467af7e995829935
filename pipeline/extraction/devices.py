"""Stage one on several devices of this machine: a process for each, all into one store.

    ssrl-pipeline extract --videos videos/ --devices cuda:0,cuda:1

Each process is given the next video when it has room for one, the longest first. What a process
was at when it died is tried once more, in the end and one by one, so that a video that
takes its process down is found and costs itself alone.
"""

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from ssrl_pipeline.errors import ConfigError, PipelineError, how_it_ended
from ssrl_pipeline.extraction.extract import ExtractorOptions, Plan, find_videos, make_plan, skip
from ssrl_pipeline.extraction.storing import Outcome, Progress
from ssrl_pipeline.extractors.extractor import find_device
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore

TRIES = 2  # of a video whose process dies
REST = 1.0  # seconds until a video is offered again that an extraction beside this one is at
PATIENCE = 20.0  # seconds that a process has to clear away what is not whole

log = logging.getLogger(__name__)


def parse_devices(text: str, device: str = "auto") -> list[str]:
    """`cuda:0,cuda:1`, or a number of processes, each on a GPU of its own or all on the CPU.

    Args:
        text: what the user says.
        device: with a number, which kind.

    Raises:
        ConfigError: it is neither.
        PipelineError: a device is missing.
    """
    if not text.strip().isdecimal():
        if device != "auto":
            raise ConfigError(f"--devices {text} names devices, so does --device {device}; leave one out")
        names = [name.strip() for name in text.split(",")]
    elif not int(text):
        raise ConfigError(f"--devices {text}: a number of 1 or more, or names such as cuda:0,cuda:1")
    elif find_device(device).type == "cpu":
        names = ["cpu"] * int(text)
    elif ":" in device:
        raise ConfigError(f"--device {device}: with --devices {text} each process takes a GPU of its own")
    else:
        names = [f"cuda:{index}" for index in range(int(text))]
    for name in names:
        find_device(name)
    return names


def extract_on_devices(
    root: Path,
    features: Path | str,
    options: ExtractorOptions,
    devices: Sequence[str],
    dtype: str = "float32",
    begin: Callable[[Plan], Progress] = lambda plan: Progress(),
    workers: int | None = None,
) -> tuple[FeatureStore, list[Outcome]]:
    """Like :func:`ssrl_pipeline.extraction.extract.extract`, in a process for each device.

    Args:
        root, features, dtype, begin: as there.
        options: what each process makes its extractor of.
        devices: where; the same may be there several times. They share the CPU's cores: on
            a CPU the last bits of features depend on the threads that a process has.
        workers: videos that each decodes at the same time.

    Raises:
        PipelineError: as there; the others are ended then.
    """
    videos = find_videos(root, pictures=options.picture_fps is not None)
    store = create_store(features, options.recipe(), dtype)
    todo, plan = make_plan(videos, store, options.drop_last, options.picture_fps)
    progress = begin(plan)
    devices = devices[: max(1, len(todo))]
    threads = max(1, torch.get_num_threads() // len(devices))
    task = {
        **{"videos": str(root), "features": str(features), "options": options._asdict()},
        **{"threads": threads, "workers": workers},
    }
    try:
        outcomes = skip(videos.keys() - todo.keys(), store, progress)
        company = _Company(task, todo, outcomes, progress)
        company.work(devices if todo else [])
        company.work_on_what_is_left(devices[0])
    finally:
        progress.close()
    return store, [outcomes[name] for name in videos]


class _Member:
    """A process as this one sees it."""

    def __init__(self, device: str, task: dict[str, Any], heard: "queue.SimpleQueue[_Heard]"):
        self.device = device
        self.videos: set[str] = set()  # what it is at
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ssrl_pipeline.extraction.device_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.tell({**task, "device": device})
        self._thread = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._thread.start()

    def tell(self, message: dict[str, Any]) -> None:
        """One that is gone does not mind."""
        assert self.process.stdin
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def how_it_ended(self) -> str:
        return how_it_ended(self.process.wait())

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            with contextlib.suppress(OSError):  # what could not be written
                stream.close()

    def _listen(self, heard: "queue.SimpleQueue[_Heard]") -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith("\n"):  # else it died in the middle of it
                heard.put((self, json.loads(line)))
        heard.put((self, None))


_Heard = tuple[_Member, dict[str, Any] | None]  # None: it has ended


class _Company:
    """The processes, the videos that wait for them, and what became of those that did not."""

    def __init__(
        self,
        task: dict[str, Any],
        videos: Iterable[str],
        outcomes: dict[str, Outcome],
        progress: Progress,
    ):
        self._task, self._outcomes, self._progress = task, outcomes, progress
        self._waiting = deque(videos)
        self._rests: dict[str, float] = {}  # video -> when it is offered again
        self._lost: list[str] = []  # whose process died
        self._deaths: Counter[str] = Counter()
        self._last_end = ""

    def work(self, devices: Sequence[str], workers: int | None = None) -> None:
        """Until there is nothing left to give out, or nobody to give it to."""
        heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        task = {**self._task, "workers": workers or self._task["workers"]}
        members: list[_Member] = []
        try:
            for device in devices:
                members.append(_Member(device, task, heard))
            working = len(members)
            while working:
                member, message = heard.get()
                if message is None:
                    working -= 1
                    self._bury(member)
                else:
                    self._hear(member, message)
        finally:
            for member in members:
                member.process.terminate()
            for member in members:
                member.close()

    def work_on_what_is_left(self, device: str) -> None:
        """Tries once more, one by one, what processes died of or left behind.

        Raises:
            PipelineError: the process does not come as far as a video.
        """
        while self._lost or self._waiting:
            self._waiting = deque([*self._lost, *self._waiting])
            self._lost = []
            before = len(self._outcomes), self._deaths.total()
            self.work([device], workers=1)
            if before == (len(self._outcomes), self._deaths.total()):
                raise PipelineError(f"a process on {device} {self._last_end} before it took a video")
            for name in [name for name in self._lost if self._deaths[name] >= TRIES]:
                self._lost.remove(name)
                reason = f"{name}: its process {self._last_end}, at the second try, too"
                self._conclude(Outcome(name, "failed", reason=reason))

    def _hear(self, member: _Member, message: dict[str, Any]) -> None:
        if "error" in message:
            raise PipelineError(message["error"])
        if "next" in message:
            member.tell(self._next(member))
        elif "start" in message:
            self._progress.start(message["start"])
        elif "snippet" in message:
            self._progress.snippet()
        elif "busy" in message:
            name = message["busy"]
            member.videos.remove(name)
            self._rests[name] = time.monotonic() + REST
            self._waiting.append(name)
        elif "outcome" in message:
            outcome = Outcome(**message["outcome"])
            member.videos.remove(outcome.video)
            self._conclude(outcome)

    def _next(self, member: _Member) -> dict[str, Any]:
        now = time.monotonic()
        for name in self._waiting:
            if self._rests.get(name, 0) <= now:
                self._waiting.remove(name)
                member.videos.add(name)
                return {"video": name}
        return {"wait": True} if self._waiting else {"video": None}

    def _bury(self, member: _Member) -> None:
        self._last_end = member.how_it_ended()
        if member.videos or member.process.returncode:
            at = ", ".join(sorted(member.videos)) or "no video"
            log.warning("the process on %s %s, while it was at %s", member.device, self._last_end, at)
        self._lost.extend(sorted(member.videos))
        self._deaths.update(member.videos)

    def _conclude(self, outcome: Outcome) -> None:
        self._outcomes[outcome.video] = outcome
        self._progress.finish(outcome)
