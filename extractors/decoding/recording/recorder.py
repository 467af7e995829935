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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors.decoding.pixels import Pixels
from ssrl_pipeline.extractors.decoding.recording.clip import SETTLING, Clip, as_packet
from ssrl_pipeline.extractors.decoding.recording.packets import PacketRing

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
        self._clips: dict[str, Clip] = {}
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
            clip = Clip(key, Path(asked["path"]), self._stream, asked["longest"], self.ring.lock)
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
                decoded = context.decode(kept and as_packet(kept, self._stream.time_base))
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
