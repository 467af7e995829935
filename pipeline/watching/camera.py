"""One source, read by a thread of its own into snippets, with word of all that goes wrong on the way.

A live source is read as fast as it sends. One snippet at most waits to be taken: when the next
is complete first, the older is dropped whole and counted. A recording waits instead. What a
lost stream left of a snippet is dropped too, so that none spans a gap. Where frames are chosen by a rate, a
snippet is complete when the next begins: it holds all frames up to there, as in a video that is scored.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.console import hide_secrets
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events import ASSUMED_FPS
from ssrl_pipeline.extractors import SNIPPET_FRAMES, FrameChoice, Pending
from ssrl_pipeline.extractors.decoding import Keep, Limits, Recordings, Video, open_live, open_video
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.times import FrameTimes
from ssrl_pipeline.watching.sources import LiveClock, Source, rate_of

TELLING = 2.0  # seconds of a live stream after which its rate is told, where a snippet takes longer
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds from one attempt to open a lost stream to the next
RECORDED_WAITING = 2  # snippets of a recording that are read ahead
MEMORY = 2 << 30  # bytes that the decoder of a stream may take
NEWS_WAITING = 64  # items of any kind that wait; then the thread does


class Snippet(NamedTuple):
    images: np.ndarray  # RGB, uint8 [16, H, W, 3]
    frame: int  # the number of the first, of all that were read of this source
    frames: int  # 16 or, at the end, fewer; with those between and behind them that were not chosen
    times: FrameTimes  # seconds since the source's first frame; of a recording, positions in it
    clock: float  # when the last was read, time.monotonic()

    @property
    def time_s(self) -> float:
        """When the first is shown."""
        return float(self.times.starts(1)[0])


class Dropped(NamedTuple):
    """Frames that were read and are not scored."""

    frame: int
    frames: int
    time_s: float  # of the first, as of a snippet
    reason: str


class Connected(NamedTuple):
    fps: float  # by the times of the first frames; 0 where one alone came
    width: int
    height: int
    live: bool
    frame: int  # the number of the first that follows
    zero: float  # time.monotonic() where time_s is 0
    gap_s: float | None  # since the last frame; None: there was none
    hardware: str = ""  # what decodes it, where the processor does not


class Lost(NamedTuple):
    reason: str
    frames: int  # read so far
    time_s: float  # of the last


class Ended(NamedTuple):
    frames: int  # read in all
    error: str | None  # None: a recording came to its end
    note: str = ""  # what was noticed on the way


Item = Snippet | Dropped | Connected | Lost | Ended
Started = Callable[[Callable[[], None]], None]
Opener = Callable[[Source, float, Started], Video]


def open_source(
    source: Source,
    timeout: float,
    started: Started,
    threads: int = 1,
    keep: Keep | None = None,
    hwaccel: str = "none",
    rate: float | None = None,
) -> Video:
    """Opens what is watched; frames are lent.

    Args:
        source: what is opened.
        timeout: seconds without a frame after which a stream is given up.
        started: told early what ends the reading from another thread.
        threads: that decode it. The decoder's default is one a core, for each camera.
        keep: of its packets, for clips.
        hwaccel: what decodes a stream.
        rate: frames a second whose pixels are wanted; None: of all.

    Raises:
        VideoError: it cannot be opened.
    """
    if source.kind == "file":
        limits = Limits(threads=threads)
        return open_video(Path(source.address), limits, started, lend=True, keep=keep, rate=rate)
    kind = "camera" if source.kind == "device" else "stream"
    limits = Limits(timeout, MEMORY, threads)
    return open_live(source.address, kind, limits, started, True, keep, hwaccel, rate)


class Camera:
    """Reads a source once :meth:`start` is called, until it ends or :meth:`stop` is.

    Args:
        ready: is notified of every item; shared by all cameras.
        settings: when a stream is lost, and the rate to assume, whatever the source says.
        drop_last: leave out a recording's last snippet where it is not complete.
        opener: opens the source; see :func:`open_source`.
        pending: where a snippet fills up.
        chosen_fps: frames a second that are described, as :class:`FrameChoice` chooses them; None: all.
        keep: what `opener` keeps for :attr:`recordings`.
    """

    def __init__(
        self,
        source: Source,
        ready: threading.Condition,
        settings: WatchSettings,
        drop_last: bool = False,
        opener: Opener = open_source,
        pending: Callable[[], Pending] = Pending,
        chosen_fps: float | None = None,
        keep: Keep | None = None,
    ):
        self.recordings = Recordings(keep)
        self.source, self.frames, self._chosen_fps = source, 0, chosen_fps
        self._ready, self._drop_last = ready, drop_last
        self._timeout, self._fps = settings.timeout, settings.fps
        self._opener, self._pending = opener, pending
        self._items: deque[Item] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=source.name, daemon=True)
        self._video: Video | None = None  # of a file, once it is open
        self._zero: float | None = None  # time.monotonic() of the first frame
        self._last = 0.0  # of the last
        self._rate = ASSUMED_FPS  # of the snippet before
        self._lock = threading.Lock()
        self._end_reading: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Raises VideoError where the source is a file that is no video; streams are tried again."""
        if self.source.kind == "file":
            self._video = self._open()
        self._thread.start()

    def stop(self) -> None:
        """Tells the thread to end; see :meth:`join`."""
        self._stopped.set()
        with self._lock:
            self._end_reading()
        self.recordings.close()
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

    def _open(self) -> Video:
        return self._opener(self.source, self._timeout, self._started)

    def _started(self, end_reading: Callable[[], None]) -> None:
        with self._lock:
            self._end_reading = end_reading
            if self._stopped.is_set():
                end_reading()

    def _run(self) -> None:
        try:
            if self._video:
                self._read_recording(self._video)
            else:
                self._read_stream()
        except Exception as error:  # told, for a thread that dies in silence is a camera unwatched
            self._put(Ended(self.frames, f"{type(error).__name__}: {self._shown(error)}"))

    def _shown(self, error: Exception) -> str:
        """What an error says, without the address's secrets."""
        text = str(error)
        if self.source.kind == "stream":
            text = text.replace(self.source.address, self.source.shown)
        return hide_secrets(text)

    def _read_stream(self) -> None:
        wait, told, lost_at = FIRST_WAIT, False, None
        while not self._stopped.is_set():
            reason, before = "no more frames", self.frames
            try:
                video = self._open()
                if self._is_recording(video):
                    self._read_recording(video)
                    return
                with self.recordings.reading(video, self.frames):
                    self._read(video, lost_at, live=True)
            except (VideoError, OSError) as error:  # too many open files, or no memory for a process
                reason = self._shown(error) + ("" if self.frames > before else self.source.hint)
            if self._stopped.is_set():
                return
            read = self.frames - before
            if read or not told:
                self._put(Lost(reason, self.frames, self._last - (self._zero or self._last)))
                told = True
            lost_at = self._last if self._zero is not None else None
            wait = FIRST_WAIT if read >= SNIPPET_FRAMES else wait
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _is_recording(self, video: Video) -> bool:
        """A file on a server, which would begin anew with every attempt, and not a live stream."""
        return self.source.address.startswith("http") and video.info.reported_frames > 0

    def _read_recording(self, video: Video) -> None:
        error, note = None, ""
        try:
            with self.recordings.reading(video, self.frames):
                self._read(video, None, live=False)
                note = video.damage()
        except VideoError as failure:
            error = self._shown(failure).removeprefix(f"{self.source.shown}: ")
        self._put(Ended(self.frames, error, note))

    def _read(self, video: Video, lost_at: float | None, live: bool) -> None:
        """Snippets until there is no further frame. Raises VideoError where that is not the end."""
        pending, clock, told = self._pending(), LiveClock(), False
        choice = FrameChoice(self._chosen_fps)
        shown: list[tuple[float, float]] = []  # of each frame of the snippet: our time, the source's
        begun, described = None, None  # the snippet's pictures, once they are all there
        try:
            for image in video.frames:
                if self._stopped.is_set():
                    return
                own = video.time if live or not self._fps else self.frames / self._fps
                is_chosen = choice.take(own)
                if is_chosen and described is not None:
                    self._put_snippet(described, self._times(video, shown), live)
                    described, shown = None, []
                self._last = time.monotonic()
                begun = self._last if begun is None else begun
                self._zero = self._last if self._zero is None else self._zero
                shown.append((clock.time(self._last, own) - self._zero if live else own, own))
                if is_chosen:
                    pending.next(image.shape)[:] = image
                self.frames += 1
                if not told and (pending.frames == SNIPPET_FRAMES or self._last - begun >= TELLING):
                    self._connect(video, shown, live, lost_at)
                    told = True
                if pending.frames < SNIPPET_FRAMES:
                    continue
                described = pending.take()
                if self._chosen_fps is None:  # no frame that is not chosen can follow
                    self._put_snippet(described, self._times(video, shown), live)
                    described, shown = None, []
        finally:
            if shown and not told:
                self._connect(video, shown, live, lost_at)
            if described is not None:
                self._put_snippet(described, self._times(video, shown), live)
            elif shown and (live or self._drop_last):
                self._drop(
                    len(shown), shown[0][0], "the stream was lost" if live else "too few for a snippet"
                )
            elif shown:
                self._put_snippet(pending.take(), self._times(video, shown), live)

    def _connect(
        self, video: Video, shown: list[tuple[float, float]], live: bool, lost_at: float | None
    ) -> None:
        assert self._zero is not None
        begun = self._zero + shown[0][0] if live else self._zero
        gap = None if lost_at is None else begun - lost_at
        fps = self._times(video, shown).fps if len(shown) > 1 or not live else 0.0
        size = video.info.width, video.info.height
        first = self.frames - len(shown)
        self._put(Connected(fps, *size, live, first, self._zero, gap, video.hardware))

    def _times(self, video: Video, shown: list[tuple[float, float]]) -> FrameTimes:
        """The times of a snippet, and the rate by the source's own."""
        times, own = np.array(shown).T
        self._rate = self._fps or rate_of(own, video.info.fps) or self._rate
        return FrameTimes(self._rate, times)

    def _put_snippet(self, images: np.ndarray, times: FrameTimes, live: bool) -> None:
        assert times.stamps is not None
        frames = len(times.stamps)
        self._put(Snippet(images, self.frames - frames, frames, times, self._last), live)

    def _drop(self, frames: int, time_s: float, reason: str) -> None:
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
