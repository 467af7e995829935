"""A video that is read beside others: a thread that listens to its decoder, and the channel of all."""

import contextlib
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from ssrl_pipeline.extractors.decoding import DECODER, Video, VideoInfo
from ssrl_pipeline.extractors.passes import Wanted
from ssrl_pipeline.extractors.rate import FrameChoice
from ssrl_pipeline.extractors.repeats import Repeats
from ssrl_pipeline.extractors.snippets import Pending, cut_snippets
from ssrl_pipeline.extractors.unchanged import Unchanged
from ssrl_pipeline.times import FrameTimes, from_stamps

ViewArrays = dict[str, np.ndarray]  # view name -> float32 [T, P, D]

GROUP_BYTES = 512 << 20  # of frames that wait or are described together, where one snippet has not more


def is_full(group: Sequence[np.ndarray], most: int) -> bool:
    """Whether snippets are enough to be described: so many, or no room for one more like the last."""
    size = sum(frames.nbytes for frames in group)
    return len(group) >= most or size + group[-1].nbytes > GROUP_BYTES


class VideoFeatures(NamedTuple):
    """What a video became, beside its features."""

    info: VideoInfo
    decoder: str
    frames: int  # decoded frames
    snippets: int
    times: FrameTimes  # of the decoded frames
    damage: str = ""  # what was noticed while it was decoded; see Video
    starts: np.ndarray | None = None  # int64 [T], the first frame of each snippet; None: every 16th
    repeats: Repeats | None = None  # of what had not changed; without counts where all was described


class Sink(Protocol):
    """A video, and what wants its features; called from one thread alone."""

    @property
    def path(self) -> Path: ...

    def write(self, features: ViewArrays) -> None:
        """Called with view name -> float32 [1, P, D], in order."""


class Opener(Protocol):
    """Opens a video, whose frames are lent; see :func:`ssrl_pipeline.extractors.decoding.open_video`."""

    def __call__(self, path: Path, *, started: Callable[[Callable[[], None]], None]) -> Video: ...


J = TypeVar("J", bound=Sink)


@dataclass(frozen=True)
class Item(Generic[J]):
    """What a thread tells: the frames of a snippet, or the end of its video."""

    reading: "Reading[J]"
    frames: np.ndarray | None = None
    wanted: Wanted | None = None  # of them
    result: VideoFeatures | Exception | None = None


class Channel(Generic[J]):
    """What threads put in comes out in order; who brings a snippet waits until there is room."""

    def __init__(self, most: int):
        self._most = most
        self._items: deque[Item[J]] = deque()
        self._snippets, self._bytes = 0, 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: "Item[J]") -> None:
        """Raises Stopped where nobody wants it any more."""
        snippet, size = (0, 0) if item.frames is None else (1, item.frames.nbytes)
        with self._changed:
            while not (self._closed or item.reading.stopped or self._has_room(snippet, size)):
                self._changed.wait()
            if self._closed or (item.reading.stopped and not item.result):
                raise Stopped
            self._items.append(item)
            self._snippets += snippet
            self._bytes += size
            self._changed.notify_all()

    def get(self, seconds: float | None) -> "Item[J] | None":
        """The next, or None where none comes in that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items, seconds):
                return None
            item = self._items.popleft()
            if item.frames is not None:
                self._snippets -= 1
                self._bytes -= item.frames.nbytes
            self._changed.notify_all()
            return item

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, snippet: int, size: int) -> bool:
        fits = self._snippets < self._most and self._bytes + size <= GROUP_BYTES
        return not snippet or not self._snippets or fits


class Stopped(Exception):
    """Nobody wants the rest of a video."""


class Reading(Generic[J]):
    """A video that a thread reads, and what the feed knows of it."""

    def __init__(
        self,
        job: J,
        opener: Opener,
        drop_last: bool,
        channel: Channel[J],
        pending: Callable[[], Pending],
        unchanged: Unchanged,
        rate: float | None = None,
    ):
        self.job, self.unchanged = job, unchanged
        self.undelivered = 0  # snippets that were taken and not written
        self.result: VideoFeatures | Exception | None = None
        self.told = False
        self.stopped = False
        self._opener, self._drop_last, self._channel, self._pending = opener, drop_last, channel, pending
        self._choice = FrameChoice(rate)
        self._lock = threading.Lock()
        self._end_worker: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"reading {job.path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it, also where its decoder hangs."""
        with self._lock:
            self.stopped = True
            self._end_worker()
        self._channel.wake()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        result: VideoFeatures | Exception
        try:
            result = self._read()
        except Exception as error:
            result = error
        with contextlib.suppress(Stopped):
            self._channel.put(Item(self, result=result))

    def _read(self) -> VideoFeatures:
        stamps, count = array("d"), 0
        with self._opener(self.job.path, started=self._started) as video:
            for frames in cut_snippets(self._choose(video, stamps), self._drop_last, self._pending()):
                begun = stamps[self._choice.starts[count]]
                self._channel.put(Item(self, frames, self.unchanged.decide(frames, begun)))
                del frames  # or its memory would be held while the next fills up
                count += 1
            times = from_stamps(np.frombuffer(stamps), video.info.fps)
            info = video.info._replace(fps=times.fps)
            starts = self._choice.snippet_starts(count)
            return VideoFeatures(info, DECODER, len(stamps), count, times, video.damage(), starts)

    def _choose(self, video: Video, stamps: "array[float]") -> Iterator[np.ndarray]:
        """The chosen frames of a video; the times of all are appended as they come."""
        for frame in video.frames:
            stamps.append(video.time)
            if self._choice.take(video.time):
                yield frame

    def _started(self, end_worker: Callable[[], None]) -> None:
        with self._lock:
            self._end_worker = end_worker
            if self.stopped:
                end_worker()
