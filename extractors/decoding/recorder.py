"""Clips and stills of a video while it is decoded, made of the stream's own packets.

Runs in the decoding process, in threads of its own: neither a slow disk nor a full one holds the decoding
up. Packets wait in memory for the disk, up to a limit; what is beyond it is the end of that clip.

What is asked, each with a `key` that the answer names (`asked`):

    {"ask": "clip", "frame": first of the event, "before": seconds, "longest": seconds, "path": ...}
    {"ask": "until", "frame": behind the event's last, "after": seconds}  of the clip with that key
    {"ask": "still", "frame": ..., "path": ..., "box": [left, top, right, bottom] in shares, or null}
    {"ask": "end"}  ends all clips where they are

A clip's answer comes when it lies whole on the disk: {"path", "first" and "last" frame, "frames",
"seconds", "codec", "note"}, or {"error"}. It begins with a key frame. No packet is encoded again, so a clip
is an MP4 only where browsers play the codec, and Matroska else.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors.decoding.decoder import Pixels
from ssrl_pipeline.extractors.decoding.packets import Kept, PacketRing, label

IN_MP4 = {"h264", "hevc", "av1", "vp9"}
PLAIN = {"yuv420p", "yuvj420p", "nv12", "cuda", "qsv", "vaapi", "videotoolbox"}  # H.264 that browsers play
TAGS = {"hevc": "hvc1"}  # without which Safari plays none
WAITING = 64 << 20  # bytes of a clip that wait for the disk
SETTLING = 2.0  # seconds that a clip's last frame gets to come out of the decoder
SLOW = "the disk is too slow"
TICK = 0.2
QUALITY = 90  # of a still
MARK = (213, 94, 0)  # Okabe and Ito's vermilion


class Recorder:
    """Takes a stream's packets and frames, and what is asked.

    Args:
        answer: called with `asked` and what came of it, from several threads.
        seconds, size: what is kept; see :class:`PacketRing`.
    """

    def __init__(self, answer: Callable[..., None], seconds: float, size: int):
        self.ring = PacketRing(seconds, size)
        self._answer = answer
        self._stream: Any = None
        self._clips: dict[str, _Clip] = {}
        self._ended = False
        self._changed = threading.Condition(self.ring.lock)

    def begin(self, stream: Any) -> None:
        """Before the first packet is decoded; frames then tell which packet they were."""
        self._stream = stream
        stream.codec_context.flags |= av.codec.context.Flags.copy_opaque
        threading.Thread(target=self._run, daemon=True).start()

    def packet(self, packet: Any) -> None:
        """Before it is decoded."""
        with self._changed:
            if kept := self.ring.add(packet):
                for clip in self._clips.values():
                    clip.add(kept)
            if self._clips:
                self._changed.notify_all()

    def frame(self, frame: Any, number: int) -> None:
        """What has been decoded."""
        with self._changed:
            if frame.opaque:
                (serial,) = frame.opaque
                self.ring.name(serial, number)
                for clip in self._clips.values():
                    clip.name(serial, number)

    def end(self) -> None:
        """No packet follows."""
        with self._changed:
            self._ended = True
            for clip in self._clips.values():
                clip.close()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._clips, SETTLING)

    def request(self, asked: dict[str, Any]) -> None:
        """What stands above; returns at once."""
        with self._changed:
            try:
                self._take(asked)
            except Exception as error:  # a mistake of ours ends no stream
                self._answer(asked=asked.get("key"), error=f"{type(error).__name__}: {error}")
            self._changed.notify_all()

    def _take(self, asked: dict[str, Any]) -> None:
        kind, key = asked["ask"], asked["key"]
        if kind == "clip":
            packets = self.ring.since(asked["frame"], asked["before"])
            if not packets:
                self._answer(asked=key, error="no key frame of it is kept; the camera sends too few")
                return
            clip = _Clip(key, Path(asked["path"]), self._stream, asked["longest"], self.ring.lock)
            for kept in packets:
                clip.add(kept)
                if (number := self.ring.number(kept.serial)) is not None:
                    clip.name(kept.serial, number)
            if self._ended:
                clip.close()
            self._clips[key] = clip
        elif kind == "until" and key in self._clips:
            seconds = self.ring.seconds(asked["frame"] - 1)
            if seconds is None:
                self._clips[key].close()
            else:
                self._clips[key].until(seconds + asked["after"])
        elif kind == "still":
            threading.Thread(target=self._still, args=(asked,), daemon=True).start()
        elif kind == "end":
            for clip in self._clips.values():
                clip.close()
            self._answer(asked=key)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(TICK)
                clips = list(self._clips.values())
            for clip in clips:
                if answer := clip.advance(self._ended):
                    with self._changed:
                        del self._clips[clip.key]
                        self._answer(asked=clip.key, **answer)
                        self._changed.notify_all()

    def _still(self, asked: dict[str, Any]) -> None:
        try:
            picture = self._picture(asked["frame"])
            if picture is None:
                self._answer(asked=asked["key"], error=f"frame {asked['frame']} is not kept any more")
                return
            if asked["box"]:
                mark(picture, asked["box"])
            with whole_file(Path(asked["path"])) as scratch:
                picture.save(scratch, format="JPEG", quality=QUALITY)
            self._answer(asked=asked["key"])
        except (OSError, ValueError, PipelineError) as error:
            self._answer(asked=asked["key"], error=str(error))

    def _picture(self, number: int) -> Image.Image | None:
        """Of a frame, decoded once more from the key frame before it."""
        packets = self.ring.since(number)
        if not packets:
            return None
        context: Any = av.CodecContext.create(self._stream.codec_context.codec.name, "r")
        of = self._stream.codec_context
        context.extradata, context.thread_count = of.extradata, 1
        context.width, context.height = of.width, of.height
        if of.pix_fmt and not of.is_hwaccel:
            context.pix_fmt = of.pix_fmt
        context.flags |= av.codec.context.Flags.copy_opaque
        for kept in [*packets, None]:
            try:
                decoded = context.decode(kept and _packet(kept, self._stream.time_base))
            except av.error.InvalidDataError:
                continue
            for frame in decoded:
                if frame.opaque and self.ring.number(*frame.opaque) == number:
                    return Image.fromarray(Pixels().of(frame))
        return None


def mark(picture: Image.Image, box: list[float]) -> None:
    """Draws an outline into a picture, of a box in shares of its width and height."""
    thick = max(2, picture.height // 160)
    left, top, right, bottom = (share * side for share, side in zip(box, 2 * picture.size, strict=True))
    outline = (left, top, max(left, right - 1), max(top, bottom - 1))
    ImageDraw.Draw(picture).rectangle(outline, outline=MARK, width=thick)


def _packet(kept: Kept, time_base: Fraction) -> Any:
    packet = av.Packet(kept.data)
    packet.pts, packet.dts, packet.duration = kept.pts, kept.dts, kept.duration
    packet.time_base, packet.is_keyframe, packet.opaque = time_base, kept.key, label(kept.serial)
    return packet


class _Clip:
    """One clip: what is asked and what comes takes the recorder's lock; it is written without it."""

    def __init__(self, key: str, path: Path, stream: Any, longest: float, lock: threading.RLock):
        self.key, self._stream, self._longest, self._lock = key, stream, longest, lock
        self._codec = stream.codec_context.name
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
        self._file: _File | None = None
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
            self._file = self._file or _File(self._path, self._stream, self._first)
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

    def _told(self, file: "_File") -> dict[str, Any]:
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


class _File:
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
            if is_mp4 and (tag := TAGS.get(stream.codec_context.name)):
                self._stream.codec_context.codec_tag = tag
            self._stack = stack.pop_all()

    @property
    def seconds(self) -> float:
        """That it lasts."""
        return float(
            (self.last.pts - self._first.pts + (self.last.duration or self._length)) * self._time_base
        )

    def add(self, kept: Kept) -> None:
        packet = _packet(kept, self._time_base)
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
