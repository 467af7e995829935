"""What runs in a decoding process; :mod:`ssrl_pipeline.extractors.decoding.process` starts it.

It reads lines of JSON and answers with lines of JSON, so that nothing a broken
decoder leaves behind is ever run by the other side. A first line says what
there is to do. For frames:

    {"open": "module:function", "arguments": [...], "memory": ..., "limit": bytes, "most": frames of a block}
    -> {"info": [fps, width, height, reported frames], "beside": codecs of sound, "codec": the video's,
        "hardware": what decodes it, or ""}
       or {"error": "..."}
    an empty line when the memory has its size, and one for each free slot of the ring
    -> {"times": [seconds, ...], "empty": [which have no pixels, ...]} for each block, the slots in turn;
       then {"notes": [...]} or {"error": "..."}

With {"rate": frames a second}, only those that :class:`FrameChoice` chooses have pixels.

With {"keep": ["module:class", seconds, bytes]}, packets are kept, and it is asked for clips and stills of
them, also after the last frame; see :mod:`ssrl_pipeline.extractors.decoding.recording.recorder`.

For headers, {"limit": bytes}, then {"path": ..., "guess": bool} again and again, each answered
by {"info": ...} or {"error": ...}. {"memory": true} says that the limit was met.
The process ends when its input does.
"""

import ctypes
import importlib
import itertools
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding.shared_frames import SLOTS, Layout, map_blocks
from ssrl_pipeline.extractors.rate import FrameChoice

if sys.platform == "linux":
    import resource

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def main() -> None:
    """Does what the first line of the input says, and ends with the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process decides
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy would start one a core, for nothing
    inbox = _Inbox(_keep(0))
    answer = _Answer(_keep(1))
    _wake_with_parent()
    task = inbox.get()
    _limit_memory(task["limit"])
    try:
        if "open" in task:
            _decode(task, inbox, answer)
        else:
            _probe(inbox, answer)
    except MemoryError:
        answer(memory=True)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # without tidying up, where a decoder that failed may hang
    inbox.wait_for_end()


def _decode(task: dict[str, Any], inbox: "_Inbox", answer: Callable[..., None]) -> None:
    slot, recorder = 0, None
    times, empty = list[float](), list[int]()  # of the block that fills up
    try:
        opened = _named(task["open"])(*task["arguments"])
        if "keep" in task:
            name, *limits = task["keep"]
            recorder = _named(name)(answer, *limits)
            opened.record(recorder)
            inbox.listener = recorder.request
        if "rate" in task and opened.pixels:
            opened.pixels.choose = FrameChoice(task["rate"]).take
        first = next(opened.frames, None)
        if first is None:
            raise VideoError("no frames in it")
        shape = first[0].shape
        info = [opened.info.fps, shape[1], shape[0], opened.info.reported_frames]
        answer(info=info, beside=opened.beside, codec=opened.codec, hardware=opened.hardware)
        inbox.get()
        layout = Layout(shape[0], shape[1], task["most"])
        blocks = map_blocks(task["memory"], layout)
        for count, (frame, time) in enumerate(itertools.chain([first], opened.frames)):
            if frame.size and frame.shape != shape:
                raise VideoError(
                    f"frame {count} is {frame.shape[1]}x{frame.shape[0]}, those before are "
                    f"{shape[1]}x{shape[0]} (re-encode the video to one size)"
                )
            if not times:
                inbox.get()
            if frame.size:
                blocks[slot, len(times)] = frame
            else:
                empty.append(len(times))
            times.append(time)
            if len(times) == layout.block_frames:
                answer(times=times, empty=empty)
                slot, times, empty = (slot + 1) % SLOTS, [], []
        if times:
            answer(times=times, empty=empty)
        if recorder:
            recorder.end()
        answer(notes=opened.notes())
    except VideoError as error:
        if times:
            answer(times=times, empty=empty)
        if recorder:
            recorder.end()
        answer(error=str(error))


def _named(name: str) -> Any:
    """What "module:name" stands for."""
    module, _, member = name.partition(":")
    return getattr(importlib.import_module(module), member)


def _probe(inbox: "_Inbox", answer: Callable[..., None]) -> None:
    # A worker that decodes by another decoder does not load PyAV.
    from ssrl_pipeline.extractors.decoding.decoder import FASTEST, guess_frames, read_header

    while True:
        task = inbox.get()
        path = Path(task["path"])
        try:
            info = read_header(path)
            if task["guess"] and (info.reported_frames <= 0 or info.fps > FASTEST):
                info = info._replace(reported_frames=-guess_frames(path))
            answer(info=info)
        except VideoError as error:
            answer(error=str(error))


class _Inbox:
    """The lines that come in. The process ends with them, even while a decoder hangs."""

    def __init__(self, descriptor: int):
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.listener: Callable[[Any], None] | None = None  # takes what is asked besides
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def get(self) -> Any:
        line = self._lines.get()
        return json.loads(line) if line.strip() else None

    def wait_for_end(self) -> None:
        while True:
            self._lines.get()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as file:
            for line in file:
                if self.listener and line.strip():
                    self.listener(json.loads(line))
                else:
                    self._lines.put(line)
        os._exit(0)


class _Answer:
    def __init__(self, descriptor: int):
        self._descriptor, self._lock = descriptor, threading.Lock()

    def __call__(self, **message: Any) -> None:
        with self._lock:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")


def _keep(descriptor: int) -> int:
    """Moves a standard stream where native code does not write to it or read from it."""
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return kept


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _wake_with_parent() -> None:
    """Asks Linux to wake this process when its parent ends.

    It may be stopped then, and has to see that its input has ended. To wake is harmless,
    and so it is where the signal comes early, with the end of the thread that started it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
