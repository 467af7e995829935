"""Clips and stills of a camera, asked for by the numbers of its frames.

The decoding process of a stream that was lost stays a while, for what its last frames were is often known
only then.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssrl_pipeline.extractors.decoding.video import Keep, Video

LINGER = 30.0  # seconds that a process stays behind its last frame
POLL = 0.05

Answer = dict[str, Any]
Told = Callable[[Answer], object]


class Recordings:
    """Of one camera.

    What is asked is answered in another thread, which the receiver of the answer must not hold up; see
    :mod:`ssrl_pipeline.extractors.decoding.recording.recorder`. Numbers of frames are those of the camera.

    Args:
        keep: what is kept of the stream; None: nothing, and all that is asked is answered with an error.
    """

    def __init__(self, keep: Keep | None):
        self.keep = keep
        self._lock = threading.Lock()
        self._videos: list[tuple[int, Video]] = []  # the number of the first frame; the newest is last
        self._timers: list[threading.Timer] = []

    @contextmanager
    def reading(self, video: Video, first: int) -> Iterator[None]:
        """While a video is read; it stays behind that, if anything is kept."""
        if self.keep is None:
            with video:
                yield
            return
        with self._lock:
            self._videos.append((first, video))
        try:
            yield
        finally:
            timer = threading.Timer(LINGER, self._drop, (video,))
            timer.daemon = True
            with self._lock:
                self._timers = [one for one in self._timers if one.is_alive()] + [timer]
                timer.start()

    def clip(self, key: str, frame: int, before: float, longest: float, path: Path, told: Told) -> None:
        """Begins a clip, to be ended by :meth:`until`.

        Args:
            key: that names it, as no other.
            frame: from which on, and `before` seconds before it.
            longest: seconds after which it ends by itself.
            path: of the file; of a codec that browsers do not play it is Matroska, and ends in .mkv.
            told: what became of it.
        """
        message = {"ask": "clip", "before": before, "longest": longest, "path": str(path.absolute())}
        self._ask(key, frame, message, told)

    def until(self, key: str, end: int, after: float) -> None:
        """Where a clip ends: so many seconds after the frame before `end`."""
        self._ask(key, end, {"ask": "until", "after": after}, None, of=end - 1)

    def still(self, key: str, frame: int, path: Path, box: tuple[float, ...] | None, told: Told) -> None:
        """A frame as a JPEG.

        Args:
            box: left, top, right and bottom of what is marked in it, in shares of its width and height.
        """
        self._ask(key, frame, {"ask": "still", "path": str(path.absolute()), "box": box}, told)

    def end(self) -> None:
        """Ends all clips where they are."""
        for video in self._current():
            video.ask("end", {"ask": "end"}, lambda answer: None)

    def wait(self, end: float) -> None:
        """Waits until all is answered, or until `end`, of time.monotonic()."""
        while any(video.waits for video in self._current()) and time.monotonic() < end:
            time.sleep(POLL)

    def close(self) -> None:
        with self._lock:
            videos, self._videos = self._videos, []
            for timer in self._timers:
                timer.cancel()
        for _, video in videos:
            video.close()

    def _current(self) -> list[Video]:
        with self._lock:
            return [video for _, video in self._videos]

    def _drop(self, video: Video) -> None:
        with self._lock:
            self._videos = [one for one in self._videos if one[1] is not video]
        video.close()

    def _ask(self, key: str, frame: int, message: Answer, told: Told | None, of: int | None = None) -> None:
        """`of`: the frame that says which connection it is about; None: `frame`."""
        of = frame if of is None else of
        with self._lock:
            found = next((one for one in reversed(self._videos) if one[0] <= of), None)
        if found is None:
            if told:
                told({"error": "nothing is kept of it"})
            return
        first, video = found

        def renumbered(answer: Answer) -> None:
            assert told
            told(answer | {name: first + answer[name] for name in ("first", "last") if name in answer})

        video.ask(key, message | {"frame": frame - first}, renumbered if told else None)
