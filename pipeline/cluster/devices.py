"""A stage's work on several devices of this machine: a process for each.

    ssrl-pipeline extract --videos videos/ --devices cuda:0,cuda:1

Each process is given the next video when it has room for one. What a process was at when it died is
tried again in the end, one by one, so that a video that takes its process down is found and costs
itself alone.
"""

import contextlib
import logging
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from ssrl_pipeline.cluster.device_worker import END
from ssrl_pipeline.cluster.workers import TRIES, Work
from ssrl_pipeline.console import FAILED, Outcome, Progress
from ssrl_pipeline.errors import ConfigError, PipelineError, how_it_ended
from ssrl_pipeline.extractors import find_device

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


class Devices:
    """A process for each of some devices; the same may be there several times.

    The processes share the cores of the CPU that this one has.
    """

    elsewhere = False

    def __init__(self, names: Sequence[str]):
        self._names = list(names)

    def __str__(self) -> str:
        return ", ".join(self._names)

    def require(self, check: Callable[[str], None]) -> None:
        """See :class:`ssrl_pipeline.cluster.workers.Workers`."""
        for name in self._names:
            check(name)

    def map(self, tasks: Mapping[str, Any], work: Work, progress: Progress) -> Iterator[Outcome]:
        """See :class:`ssrl_pipeline.cluster.workers.Workers`."""
        names = self._names[: len(tasks)]
        if names:
            company = _Company(tasks, work, torch.get_num_threads() // len(names), progress)
            yield from company.work(names)
            yield from company.work_on_what_is_left(names[0])


class _Member:
    """A process as this one sees it."""

    def __init__(self, device: str, start: tuple[Any, ...], heard: "queue.SimpleQueue[_Heard]"):
        self.device = device
        self.videos: set[str] = set()  # what it is at
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ssrl_pipeline.cluster.device_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.tell(start)
        self._thread = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._thread.start()

    def tell(self, message: Any) -> None:
        """One that is gone does not mind."""
        assert self.process.stdin
        data = pickle.dumps(message)
        with contextlib.suppress(OSError):
            self.process.stdin.write(data)
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
        try:
            while True:
                heard.put((self, pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError):  # it died, perhaps in the middle of a message
            pass
        finally:
            heard.put((self, None))


_Heard = tuple[_Member, tuple[Any, ...] | None]  # None: it has ended


class _Company:
    """The processes, and the videos that wait for them."""

    def __init__(self, tasks: Mapping[str, Any], work: Work, threads: int, progress: Progress):
        self._tasks, self._work, self._threads, self._progress = tasks, work, max(1, threads), progress
        self._waiting = deque(tasks)
        self._rests: dict[str, float] = {}  # video -> when it is offered again
        self._lost: list[str] = []  # whose process died
        self._deaths: Counter[str] = Counter()
        self._concluded = 0
        self._last_end = ""

    def work(self, devices: Sequence[str], alone: bool = False) -> Iterator[Outcome]:
        """Until there is nothing left to give out, or nobody to give it to.

        Args:
            devices: of a process each.
            alone: whether each has one video at a time.
        """
        heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        members: list[_Member] = []
        try:
            for device in devices:
                members.append(_Member(device, (self._work, device, self._threads, alone), heard))
            working = len(members)
            while working:
                member, message = heard.get()
                if message is None:
                    working -= 1
                    self._bury(member)
                else:
                    yield from self._hear(member, *message)
        finally:
            for member in members:
                member.process.terminate()
            for member in members:
                member.close()

    def work_on_what_is_left(self, device: str) -> Iterator[Outcome]:
        """Tries again, one by one, what processes died of or left behind.

        Raises:
            PipelineError: the process does not come as far as a video.
        """
        while self._lost or self._waiting:
            self._waiting = deque([*self._lost, *self._waiting])
            self._lost = []
            before = self._concluded, self._deaths.total()
            yield from self.work([device], alone=True)
            if before == (self._concluded, self._deaths.total()):
                raise PipelineError(f"a process on {device} {self._last_end} before it took a video")
            for name in [name for name in self._lost if self._deaths[name] >= TRIES]:
                self._lost.remove(name)
                reason = f"{name}: its process {self._last_end}, {TRIES} times"
                yield self._conclude(Outcome(name, FAILED, reason=reason))

    def _hear(self, member: _Member, kind: str, said: Any = None) -> Iterator[Outcome]:
        if kind == "error":
            raise said
        if kind == "next":
            member.tell(self._next(member))
        elif kind == "start":
            self._progress.start(said)
        elif kind == "snippet":
            self._progress.snippet()
        elif kind == "busy":
            member.videos.remove(said)
            self._rests[said] = time.monotonic() + REST
            self._waiting.append(said)
        elif kind == "finish":
            member.videos.remove(said.video)
            yield self._conclude(said)

    def _next(self, member: _Member) -> tuple[str, Any] | str | None:
        now = time.monotonic()
        for name in self._waiting:
            if self._rests.get(name, 0) <= now:
                self._waiting.remove(name)
                member.videos.add(name)
                return name, self._tasks[name]
        return None if self._waiting else END

    def _bury(self, member: _Member) -> None:
        self._last_end = member.how_it_ended()
        if member.videos or member.process.returncode:
            at = ", ".join(sorted(member.videos)) or "no video"
            log.warning("the process on %s %s, while it was at %s", member.device, self._last_end, at)
        self._lost.extend(sorted(member.videos))
        self._deaths.update(member.videos)

    def _conclude(self, outcome: Outcome) -> Outcome:
        self._concluded += 1
        self._progress.finish(outcome)
        return outcome
