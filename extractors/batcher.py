"""Several videos at a time: decoded side by side, their snippets described together.

Each video is read by a thread (:mod:`ssrl_pipeline.extractors.reader`). All threads
put snippets into one channel of bounded size, from which groups are taken as they
come: so short videos fill a batch together, and one that hangs keeps nobody waiting.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic

import numpy as np

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors.passes import Wanted
from ssrl_pipeline.extractors.reader import (
    Channel,
    Item,
    J,
    Opener,
    Reading,
    VideoFeatures,
    ViewArrays,
    is_full,
)
from ssrl_pipeline.extractors.snippets import Pending
from ssrl_pipeline.extractors.unchanged import Unchanged, describe_all

Described = Callable[[], list[ViewArrays]]  # waits for what was started

_ITS_OWN = (PipelineError, OSError)  # errors that end one video
ASK_AGAIN = 0.2  # seconds until videos that others are at are asked for again


class Feed(Generic[J]):
    """Describes videos, some at a time.

    Args:
        start: begins to describe what is wanted of uint8 [16, H, W, 3] each, and gives what waits for it.
        opener: opens a video, whose frames are lent.
        drop_last: leave out a last snippet of fewer than 16 frames.
        videos: how many are decoded at the same time.
        batch: tells how many snippets are described together; it may change.
        ahead: how many groups may be under way on the device while the next is gathered.
        pending: where the snippets of one video fill up.
        unchanged: what decides for one video what is wanted.
        rate: frames a second that are described; None: all.
    """

    def __init__(
        self,
        start: Callable[[Sequence[np.ndarray], Sequence[Wanted]], Described],
        opener: Opener,
        drop_last: bool = False,
        videos: int = 1,
        batch: Callable[[], int] = lambda: 1,
        ahead: int = 0,
        pending: Callable[[], Pending] = Pending,
        unchanged: Callable[[], Unchanged] = describe_all,
        rate: float | None = None,
    ):
        self._start, self._opener, self._drop_last = start, opener, drop_last
        self._videos, self._batch, self._ahead = videos, batch, ahead
        self._pending, self._unchanged, self._rate = pending, unchanged, rate
        self._group: list[_Taken[J]] = []
        self._under_way: deque[tuple[list[_Taken[J]], Described]] = deque()
        self._finished: deque[tuple[J, VideoFeatures | Exception]] = deque()

    def run(self, jobs: Iterable[J | None]) -> Generator[tuple[J, VideoFeatures | Exception], None, None]:
        """Each job as it ends, with what its video became, or with the error that ended it.

        Args:
            jobs: taken as there is room; None says that there is nothing for now.

        Returns:
            errors are of :class:`PipelineError` and OSError: of decoding, describing and writing.
        """
        waiting, more = iter(jobs), True
        channel: Channel[J] = Channel(self._batch())
        readings: set[Reading[J]] = set()
        try:
            while more or readings:
                while more and len(readings) < self._videos:
                    try:
                        job = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    if job is None:
                        break
                    readings.add(self._read(job, channel))
                if not (more or readings):
                    break
                item = channel.get(ASK_AGAIN if more and len(readings) < self._videos else None)
                if item is not None:
                    self._take(item)
                    if item.result:  # the last of its thread
                        readings.remove(item.reading)
                if item is None or not readings:
                    self._describe_rest()
                while self._finished:
                    yield self._finished.popleft()
        finally:
            channel.close()
            for reading in readings:
                reading.stop()
            for reading in readings:
                reading.join()

    def _read(self, job: J, channel: Channel[J]) -> Reading[J]:
        reads = (self._drop_last, channel, self._pending, self._unchanged(), self._rate)
        return Reading(job, self._opener, *reads)

    def _take(self, item: Item[J]) -> None:
        reading = item.reading
        if item.result:
            reading.result = reading.result or item.result
            if isinstance(reading.result, Exception) and not isinstance(reading.result, _ITS_OWN):
                raise reading.result
            self._finish(reading)
        elif reading.result:  # what came before it failed to be written
            pass
        elif item.frames is not None and item.wanted is not None:
            self._group.append(_Taken(reading, item.frames, item.wanted))
            reading.undelivered += 1
            if is_full([taken.frames for taken in self._group], self._batch()):
                self._describe()

    def _describe_rest(self) -> None:
        self._describe()
        while self._under_way:
            self._deliver(*self._under_way.popleft())

    def _describe(self) -> None:
        group, self._group = self._group, []
        self._begin([taken for taken in group if not taken.is_dropped])
        while len(self._under_way) > self._ahead:
            self._deliver(*self._under_way.popleft())

    def _begin(self, group: "list[_Taken[J]]") -> None:
        if group:
            try:
                described = self._start([one.frames for one in group], [one.wanted for one in group])
            except PipelineError as error:
                described = partial(_raise, error)
            self._under_way.append((group, described))

    def _deliver(self, group: "list[_Taken[J]]", described: Described) -> None:
        try:
            rows = described()
        except PipelineError as error:
            if len(group) == 1:
                self._fail(group[0].reading, error)
            for taken in group if len(group) > 1 else ():  # whose fault it was
                self._begin([taken])
                self._deliver(*self._under_way.pop())
            return
        for taken, features in zip(group, rows, strict=True):
            if not taken.is_dropped:
                reading = taken.reading
                features = reading.unchanged.complete(features, taken.wanted)
                self._try(reading, partial(reading.job.write, features))
                reading.undelivered -= 1
                self._finish(reading)

    def _try(self, reading: Reading[J], action: Callable[[], None]) -> None:
        try:
            action()
        except _ITS_OWN as error:
            self._fail(reading, error)

    def _fail(self, reading: Reading[J], error: Exception) -> None:
        reading.result = error
        reading.stop()  # its end is still to come
        self._finish(reading)

    def _finish(self, reading: Reading[J]) -> None:
        """Tells the end of a video once: at its error, or when all that was decoded is delivered."""
        result = reading.result
        if result and not reading.told and (isinstance(result, Exception) or not reading.undelivered):
            reading.told = True
            if isinstance(result, VideoFeatures):
                result = result._replace(repeats=reading.unchanged.repeats)
            self._finished.append((reading.job, result))


@dataclass(frozen=True)
class _Taken(Generic[J]):
    """A snippet on its way."""

    reading: Reading[J]
    frames: np.ndarray
    wanted: Wanted

    @property
    def is_dropped(self) -> bool:
        """Whether its video has failed since."""
        return isinstance(self.reading.result, Exception)


def _raise(error: PipelineError) -> list[ViewArrays]:
    raise error
