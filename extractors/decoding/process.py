"""A decoding process seen from outside: started, asked, listened to with patience, stopped, ended."""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ssrl_pipeline.errors import how_it_ended

_START = (
    "import sys; sys.path[:] = sys.argv[1:]\n"
    "from ssrl_pipeline.extractors.decoding.worker import main; main()"
)
GONE = "its decoder has ended"
_TICK = 0.25  # seconds between two looks at a worker that is waited for
_LONGEST = 1 << 16  # bytes of an answer, and of a line on stderr
_MOST_COMPLAINTS = 1000  # different ones; a broken file may have any number
_COMPLAINT = re.compile(r"\[([^\[\]@]+) @ (?:0x)?[0-9a-fA-F]+\] *(.*)")  # of libav: part @ address


class WorkerFailed(Exception):
    """The worker hung, crashed or ended; the message continues "the decoder ..."."""


class WorkerProcess:
    """One worker. What it writes is read by threads, so that this works on all systems.

    A worker that decodes ahead of its consumer, and is asked for nothing, is stopped
    altogether (SIGSTOP, where there is such a thing): the decoder's threads would go on.
    Nothing but memory and time depends on it.

    Args:
        task: the first line that it gets, as :mod:`ssrl_pipeline.extractors.decoding.worker` says.
        descriptor: of shared memory, that it is to have too; -1 for none.
        ahead: blocks of frames after which it is stopped until they are :meth:`given_back`.
    """

    def __init__(self, task: dict[str, Any], descriptor: int = -1, ahead: int = 1):
        self._ahead, self._held, self._gone = ahead, 0, False
        self._lock = threading.Lock()
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._asked: dict[str, Callable[[dict[str, Any]], object]] = {}  # key -> who waits for the answer
        self._last_words: deque[str] = deque(maxlen=20)
        self._complaints: dict[str, None] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *(entry for entry in sys.path if isinstance(entry, str))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=() if descriptor < 0 else (descriptor,),
        )
        self._owner = os.getpid()
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._overhear, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.send(task)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: dict[str, Any] | None) -> None:
        """A line for the worker; None is an empty one. A worker that is gone does not mind."""
        assert self._process.stdin
        line = b"\n" if message is None else json.dumps(message).encode() + b"\n"
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line)

    def ask(self, key: str, message: dict[str, Any], told: Callable[[dict[str, Any]], object] | None) -> None:
        """Sends what has an answer of its own, beside the frames, or none.

        Args:
            key: that no other question has; the answer says it as `asked`.
            told: takes the answer, soon, in a thread of ours; {"error": ...} where the worker is gone.
        """
        with self._lock:
            gone = self._gone
            if not gone:
                if told:
                    self._asked[key] = told
                self.send({**message, "key": key})
                self._signal("SIGCONT")
        if gone and told:
            told({"error": GONE})

    @property
    def waits(self) -> bool:
        """Whether something was asked and is not answered yet."""
        return bool(self._asked)

    def complaints(self) -> list[str]:
        """Errors that libav reported in the worker so far, each once; all of them when it is closed."""
        return list(self._complaints)

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            WorkerFailed: none came within so many seconds of waiting, or the worker is gone; it is ended.
        """
        waited = 0.0
        while True:
            try:  # Not by the clock: the time for which this process itself was stopped does not count.
                answer = self._answers.get(timeout=_TICK)
            except queue.Empty:
                waited += _TICK
                if waited >= seconds:
                    self.close()
                    raise WorkerFailed(f"gave no answer for {seconds:.3g} seconds") from None
                with self._lock:
                    self._signal("SIGCONT")
                continue
            if answer is None:
                raise WorkerFailed(self._how_it_ended())
            return answer

    def given_back(self) -> None:
        """A block has been read, its slot is free."""
        with self._lock:
            self._held -= 1
            self.send(None)
            self._signal("SIGCONT")

    def close(self) -> None:
        """Ends the worker and frees all that it took; may be called again, and from any thread."""
        if os.getpid() != self._owner:
            return  # a fork has no say
        self._process.kill()  # it has nothing to save, and a decoder may hang while it tidies up
        self._process.wait()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def _listen(self) -> None:
        assert self._process.stdout
        rest = b""
        with contextlib.suppress(ValueError):  # what is no JSON ends the conversation
            while len(rest) < _LONGEST and (data := os.read(self._process.stdout.fileno(), _LONGEST)):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._heard(json.loads(line))
        self._answers.put(None)
        with self._lock:
            self._gone = True
            asked, self._asked = self._asked, {}
        for told in asked.values():
            told({"error": GONE})

    def _heard(self, answer: dict[str, Any]) -> None:
        if "asked" in answer:
            with self._lock:
                told = self._asked.pop(answer["asked"], None)
                self._stop_if_ahead()
            if told:
                told(answer)
            return
        if "times" in answer:
            with self._lock:
                self._held += 1
                self._stop_if_ahead()
        self._answers.put(answer)

    def _stop_if_ahead(self) -> None:
        """Not while it has something to answer, which would then have to wait for the consumer."""
        if self._held >= self._ahead and not self._asked:
            self._signal("SIGSTOP")

    def _overhear(self) -> None:
        assert self._process.stderr
        rest = b""
        while data := os.read(self._process.stderr.fileno(), _LONGEST):
            *lines, rest = (rest + data).splitlines(keepends=True)
            if rest.endswith(b"\n") or len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._overheard(line)
        self._overheard(rest)

    def _overheard(self, line: bytes) -> None:
        text = "".join(c if c.isprintable() else " " for c in line[:300].decode(errors="replace")).strip()
        if text:
            self._last_words.append(text)
        if (found := _COMPLAINT.match(text)) and len(self._complaints) < _MOST_COMPLAINTS:
            self._complaints[": ".join(found.groups())] = None

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):  # Windows has neither
            self._process.send_signal(getattr(signal, name))

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        code = self._process.poll()
        self.close()
        if code is None:
            return "answered with what is no answer"
        words = self._last_words[-1] if self._last_words else ""
        return f"crashed: its process {how_it_ended(code)}" + (f" ({words})" if words else "")
