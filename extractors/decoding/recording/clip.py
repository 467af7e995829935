"""One clip of a video, written while it is decoded, of the video's own packets.

Runs in the decoding process. Packets come in the order in which they are decoded, frames in that in which
they are shown: a clip ends only where all is there that is shown before its last frame.
"""

import threading
import time
from collections import deque
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors.decoding.recording.packets import Kept, label

IN_MP4 = {"h264", "hevc", "av1", "vp9"}
PLAIN = {"yuv420p", "yuvj420p", "nv12", "cuda", "qsv", "vaapi", "videotoolbox"}  # H.264 that browsers play
TAGS = {"hevc": "hvc1"}  # without which Safari plays none
WAITING = 64 << 20  # bytes of a clip that wait for the disk
SETTLING = 2.0  # seconds that a clip's last frame gets to come out of the decoder
SLOW = "the disk is too slow"


def as_packet(kept: Kept, time_base: Fraction) -> Any:
    packet = av.Packet(kept.data)
    packet.pts, packet.dts, packet.duration = kept.pts, kept.dts, kept.duration
    packet.time_base, packet.is_keyframe, packet.opaque = time_base, kept.key, label(kept.serial)
    return packet


class Clip:
    """One clip: what is asked and what comes takes the recorder's lock; it is written without it."""

    def __init__(self, key: str, path: Path, stream: Any, longest: float, lock: threading.RLock):
        self.key, self._stream, self._longest, self._lock = key, stream, longest, lock
        self._codec = stream.codec_context.codec.canonical_name  # not the decoder's, as libdav1d
        plays = self._codec in IN_MP4 and (self._codec != "h264" or stream.codec_context.pix_fmt in PLAIN)
        self._path = path.with_suffix(".mp4" if plays else ".mkv")
        self._waiting: deque[Kept] = deque()
        self._size = 0  # bytes that wait
        self._closed, self._note = False, ""
        self._first: Kept | None = None
        self._before: Kept | None = None  # the last that came
        self._end, self._limit = float("inf"), float("inf")  # seconds, by the stream's own clock
        self._numbers: dict[int, int] = {}  # serial -> number of the frame, also of what is not written
        self._group: list[Kept] = []  # the last packets; what is shown before some of them may follow
        self._highest = -(1 << 63)  # pts, of them and all before
        self._file: ClipFile | None = None
        self._settled_by: float | None = None  # when the last frame's number is not waited for any more

    def add(self, kept: Kept) -> None:
        """The next packet."""
        if self._closed:
            return
        if self._first is None:
            self._first, self._limit = kept, kept.seconds + self._longest
        elif not kept.follows(self._before):
            self.close("the stream's clock began anew")
            return
        self._before = kept
        self._waiting.append(kept)
        self._size += len(kept.data)
        if self._size > WAITING:
            self.close(SLOW)

    def name(self, serial: int, number: int) -> None:
        if self._first and serial >= self._first.serial:
            self._numbers[serial] = number

    def until(self, seconds: float) -> None:
        self._end = seconds

    def close(self, note: str = "") -> None:
        """No packet follows those that wait."""
        self._note = self._note or note
        self._closed = True

    def advance(self, ended: bool) -> dict[str, Any] | None:
        """Writes what waits; what became of the clip, once that is known."""
        try:
            while self._settled_by is None and (kept := self._next()):
                self._write(kept)
            if self._settled_by is None and self._closed:
                self._settle()
            if self._settled_by is None:
                return None
            assert self._file
            waits = self._file.last.serial not in self._numbers and not ended
            return None if waits and time.monotonic() < self._settled_by else self._told(self._file)
        except (OSError, ValueError, PipelineError) as error:
            return {"error": self._file.give_up(error) if self._file else str(error)}

    def _next(self) -> Kept | None:
        with self._lock:
            kept = self._waiting.popleft() if self._waiting else None
            self._size -= len(kept.data) if kept else 0
        return kept

    def _write(self, kept: Kept) -> None:
        assert self._first
        if kept.pts < self._first.pts:
            return  # shown before the key frame, and made of one that is not in the clip
        if kept.pts > self._highest:
            # Packets come in another order than frames: all that is shown before this one is there now.
            self._write_group()
            if self._file and self._file.last.seconds >= min(self._end, self._limit) - 1e-6:
                if self._limit < self._end:
                    self._note = f"longer than {self._longest:g} seconds"
                self._settle()
                return
            self._highest = kept.pts
        self._group.append(kept)

    def _write_group(self) -> None:
        assert self._first
        for kept in self._group:
            self._file = self._file or ClipFile(self._path, self._stream, self._first)
            self._file.add(kept)
        self._group = []

    def _settle(self) -> None:
        """All is written; the number of the last frame may be yet to come."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        if self._note == SLOW:
            self._group = []  # what it needs may be among what was lost
        self._write_group()
        if self._file is None:
            raise ValueError(self._note or "no frame of it came")
        self._file.close()
        self._settled_by = time.monotonic() + SETTLING

    def _told(self, file: "ClipFile") -> dict[str, Any]:
        with self._lock:
            numbers = [self._numbers[serial] for serial in file.serials if serial in self._numbers]
        if not numbers:
            raise ValueError("none of its frames could be decoded")
        return {
            "path": str(self._path),
            "first": min(numbers),
            "last": max(numbers),
            "frames": len(numbers),
            "seconds": file.seconds,
            "codec": self._codec,
            "note": self._note,
        }


class ClipFile:
    """Packets as they are, in a file that appears whole, its times from 0."""

    def __init__(self, path: Path, stream: Any, first: Kept):
        self.last, self.serials = first, list[int]()  # the last that is shown
        self._first, self._time_base = first, stream.time_base
        self._dts: int | None = None
        self._length = round(1 / (stream.average_rate or 25) / stream.time_base)  # of a frame that says none
        is_mp4 = path.suffix == ".mp4"
        with ExitStack() as stack:
            scratch = stack.enter_context(whole_file(path))
            options = {"movflags": "+faststart"} if is_mp4 else {}
            form = "mp4" if is_mp4 else "matroska"
            self._container: Any = stack.enter_context(
                av.open(str(scratch), "w", format=form, options=options)
            )
            self._stream = self._container.add_stream_from_template(stream, opaque=True)
            if is_mp4 and (tag := TAGS.get(stream.codec_context.codec.canonical_name)):
                self._stream.codec_context.codec_tag = tag
            self._stack = stack.pop_all()

    @property
    def seconds(self) -> float:
        """That it lasts."""
        return float(
            (self.last.pts - self._first.pts + (self.last.duration or self._length)) * self._time_base
        )

    def add(self, kept: Kept) -> None:
        packet = as_packet(kept, self._time_base)
        dts = (kept.pts if kept.dts is None else kept.dts) - self._first.pts
        self._dts = dts if self._dts is None else max(dts, self._dts + 1)
        packet.dts, packet.pts = self._dts, max(self._dts, kept.pts - self._first.pts)
        packet.duration, packet.stream = kept.duration or self._length, self._stream
        self._container.mux_one(packet)
        self.serials.append(kept.serial)
        if kept.pts >= self.last.pts:
            self.last = kept

    def close(self) -> None:
        """It lies in its place afterwards."""
        self._stack.close()

    def give_up(self, error: Exception) -> str:
        """Clears away what there is of it; what the error says."""
        try:
            self._stack.__exit__(type(error), error, error.__traceback__)
        except (OSError, ValueError, PipelineError) as said:
            error = said
        return str(error)
