"""One source, read by a thread of its own into snippets, with word of all that goes wrong on the way.

A live source is read as fast as it sends. One snippet at most waits to be taken: when the next
is complete first, the older is dropped whole and counted. A recording waits instead. What a
lost stream left of a snippet is dropped too, so that none spans a gap.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events import known
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, Pending
from ssrl_pipeline.watch_sources import Source

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds from one attempt to open a lost stream to the next
RECORDED_WAITING = 2  # snippets of a recording that are read ahead
NEWS_WAITING = 64  # items of any kind that wait; then the thread does


class Snippet(NamedTuple):
    images: np.ndarray  # RGB, uint8 [16, H, W, 3]
    frame: int  # the number of the first, of all that were read of this source
    frames: int  # less than 16 where the end was completed by looping
    time_s: float | None  # of the first: since the source's first frame; of a recording its position,
    # None where its rate is unknown
    clock: float  # when the last was read, time.monotonic()


class Dropped(NamedTuple):
    """Frames that were read and are not scored."""

    frame: int
    frames: int
    time_s: float | None  # of the first, as of a snippet
    reason: str


class Connected(NamedTuple):
    fps: float  # 0 where the source does not say
    width: int
    height: int
    live: bool
    frame: int  # the number of the first that follows
    zero: float  # time.monotonic() where time_s is 0
    gap_s: float | None  # since the last frame; None: there was none


class Lost(NamedTuple):
    reason: str
    frames: int  # read so far
    time_s: float  # of the last


class Ended(NamedTuple):
    frames: int  # read in all
    error: str | None  # None: a recording came to its end


Item = Snippet | Dropped | Connected | Lost | Ended
Opener = Callable[[Source, float], Any]


def open_capture(source: Source, timeout: float, threads: int = 1) -> Any:
    """A cv2.VideoCapture, or None where the source cannot be opened.

    Args:
        source: what is opened.
        timeout: seconds after which it is given up.
        threads: that decode it. OpenCV's default is one a core, for each camera.
    """
    import os

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # libav's AV_LOG_QUIET; it would print addresses
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if source.kind == "device":
        capture = cv2.VideoCapture(int(source.address))
    else:
        limit = int(1000 * timeout)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        options += [cv2.CAP_PROP_N_THREADS, threads]
        capture = cv2.VideoCapture(source.address, cv2.CAP_FFMPEG, options)
    if capture.isOpened():
        return capture
    capture.release()
    return None


class Camera:
    """Reads a source once :meth:`start` is called, until it ends or :meth:`stop` is.

    Args:
        ready: is notified of every item; shared by all cameras.
        timeout: seconds without a frame after which a stream is lost.
        fps: the rate to assume, whatever the source says.
        drop_last: leave out a recording's last snippet where it is not complete.
        opener: gives something that reads like cv2.VideoCapture, or None.
        pending: where a snippet fills up.
    """

    def __init__(
        self,
        source: Source,
        ready: threading.Condition,
        timeout: float = 10.0,
        fps: float | None = None,
        drop_last: bool = False,
        opener: Opener = open_capture,
        pending: Callable[[], Pending] = Pending,
    ):
        self.source, self.frames = source, 0
        self._ready, self._timeout, self._fps, self._drop_last = ready, timeout, fps, drop_last
        self._opener, self._pending = opener, pending
        self._items: deque[Item] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=source.name, daemon=True)
        self._capture: Any = None
        self._zero: float | None = None  # time.monotonic() of the first frame
        self._last = 0.0  # of the last

    def start(self) -> None:
        """Raises VideoError where the source is a file that is no video; streams are tried again."""
        if self.source.kind == "file":
            self._capture = self._opener(self.source, self._timeout)
            if self._capture is None:
                raise VideoError(f"{self.source.shown}: not a video that OpenCV can open")
        self._thread.start()

    def stop(self) -> None:
        """Tells the thread to end; see :meth:`join`."""
        self._stopped.set()
        with self._ready:
            self._ready.notify_all()

    def join(self, timeout: float) -> bool:
        """Waits for the thread; whether it has ended."""
        if self._thread.ident:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def waiting(self) -> bool:
        """Whether :meth:`take` gives something; `ready` is held."""
        return bool(self._items)

    def take(self) -> list[Item]:
        """What happened since, in order, up to the first snippet."""
        taken: list[Item] = []
        with self._ready:
            while self._items and not (taken and isinstance(taken[-1], Snippet)):
                taken.append(self._items.popleft())
            self._ready.notify_all()
        return taken

    def _run(self) -> None:
        try:
            if self.source.kind == "file":
                self._read_recording(self._capture)
            else:
                self._read_stream()
        except (
            Exception
        ) as error:  # said by the main thread: a thread that dies in silence is a camera unwatched
            text = str(error).replace(self.source.address, self.source.shown)
            self._put(Ended(self.frames, f"{type(error).__name__}: {text}"))

    def _read_stream(self) -> None:
        wait, told, lost_at = FIRST_WAIT, False, None
        while not self._stopped.is_set():
            reason, read = "cannot be opened", 0
            capture = self._opener(self.source, self._timeout)
            if capture is not None and self._is_recording(capture):
                self._read_recording(capture)
                return
            if capture is not None:
                reason, before = "no more frames", self.frames
                try:
                    self._read(capture, lost_at, live=True)
                finally:
                    capture.release()
                read = self.frames - before
            if self._stopped.is_set():
                return
            if read or not told:
                self._put(Lost(reason, self.frames, self._last - (self._zero or self._last)))
                told = True
            lost_at = self._last if self._zero is not None else None
            wait = FIRST_WAIT if read >= SNIPPET_FRAMES else wait
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _is_recording(self, capture: Any) -> bool:
        """A file on a server, which would begin anew with every attempt, and not a live stream."""
        import cv2

        return self.source.address.startswith("http") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def _read_recording(self, capture: Any) -> None:
        import cv2

        reported = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        try:
            self._read(capture, None, live=False)
        finally:
            capture.release()
        # OpenCV does not tell the end from an error; containers' counts may be off by a little.
        whole = self.frames and self.frames >= 0.99 * reported - 1
        error = None if whole else f"truncated or damaged, read {self.frames} of {reported} frames"
        self._put(Ended(self.frames, error))

    def _read(self, capture: Any, lost_at: float | None, live: bool) -> None:
        """Snippets until there is no further frame."""
        import cv2

        fps = self._fps or float(capture.get(cv2.CAP_PROP_FPS))
        pending, connected = self._pending(), False
        first_s: float | None = None
        while not self._stopped.is_set():
            found, image = capture.read()
            if not found:
                break
            self._last = time.monotonic()
            self._zero = self._last if self._zero is None else self._zero
            if not connected:
                gap = None if lost_at is None else self._last - lost_at
                height, width = image.shape[:2]
                self._put(Connected(fps, width, height, live, self.frames, self._zero, gap))
                connected = True
            if pending.frames and pending.shape != image.shape:
                self._drop(pending.frames, first_s, "the picture changed its size")
                pending.clear()
            if not pending.frames:
                position = self.frames / fps if known(fps) else None
                first_s = self._last - self._zero if live else position
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=pending.next(image.shape))
            self.frames += 1
            if pending.frames == SNIPPET_FRAMES:
                self._put_snippet(pending, first_s, live)
        if pending.frames and (live or self._drop_last):
            self._drop(pending.frames, first_s, "the stream was lost" if live else "too few for a snippet")
        elif pending.frames:
            self._put_snippet(pending, first_s, live)

    def _put_snippet(self, pending: Pending, first_s: float | None, live: bool) -> None:
        frames = pending.frames
        self._put(Snippet(pending.take(), self.frames - frames, frames, first_s, self._last), live)

    def _drop(self, frames: int, time_s: float | None, reason: str) -> None:
        self._put(Dropped(self.frames - frames, frames, time_s, reason))

    def _put(self, item: Item, live: bool = False) -> None:
        with self._ready:
            if isinstance(item, Snippet) and live:
                self._drop_older()
            elif isinstance(item, Snippet):
                self._ready.wait_for(lambda: self._snippets() < RECORDED_WAITING or self._stopped.is_set())
            else:
                self._ready.wait_for(lambda: len(self._items) < NEWS_WAITING or self._stopped.is_set())
            self._items.append(item)
            self._ready.notify_all()

    def _snippets(self) -> int:
        return sum(isinstance(item, Snippet) for item in self._items)

    def _drop_older(self) -> None:
        """The snippet that waits gives way to a newer one."""
        for i, old in enumerate(self._items):
            if isinstance(old, Snippet):
                frame, frames, time_s = old.frame, old.frames, old.time_s
                before = self._items[i - 1] if i else None
                if isinstance(before, Dropped) and before.frame + before.frames == frame:
                    frame, frames, time_s = before.frame, before.frames + frames, before.time_s
                    del self._items[i - 1]
                    i -= 1
                self._items[i] = Dropped(frame, frames, time_s, "the model is slower than the camera")
                return
