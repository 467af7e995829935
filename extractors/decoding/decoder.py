"""The decoder itself, libav through PyAV: a file, a stream or a camera in, RGB frames in order out.

What reads a stranger's file can crash, hang or eat the memory, so the package calls this
in a worker only; see :mod:`ssrl_pipeline.extractors.decoding.video`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import av
import numpy as np

from ssrl_pipeline.disk import is_utf8, picture_files
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding.containers import misses_bytes
from ssrl_pipeline.extractors.decoding.hardware import acceleration
from ssrl_pipeline.extractors.decoding.pixels import Pixels
from ssrl_pipeline.extractors.decoding.reasons import because, cut_short, no_answer, not_a_video, reason
from ssrl_pipeline.extractors.decoding.stamps import Stamps
from ssrl_pipeline.extractors.decoding.video import DESCRIPTORS, VideoInfo

FASTEST = 240.0  # frames a second that a header is believed: those of telephones
GUESSED_BY = 32 << 20  # bytes: about a minute of a camera, read in a fraction of a second
_MAY_LEAP = 0x200  # libav's AVFMT_TS_DISCONT
_COVER = 0x400  # libav's AV_DISPOSITION_ATTACHED_PIC
_CAMERAS = {"linux": "video4linux2", "darwin": "avfoundation", "win32": "dshow"}  # libav's devices
_UNTIMED = ("mjpeg", "mpjpeg", "jpeg_pipe", "image2pipe")  # whose frames libav numbers, 25 a second
_WITHOUT_CLOCK = (*_UNTIMED, "h264", "hevc", "m4v", "mpegvideo")  # that a packet should be timed by ours


class Opened(NamedTuple):
    info: VideoInfo
    frames: Iterator[tuple[np.ndarray, float]]  # RGB, uint8 [H, W, 3], and when it is shown, in seconds
    notes: Callable[[], list[str]] = list  # after the last frame: what was noticed
    beside: tuple[str, ...] = ()  # codecs of sound and subtitles, whose complaints do not matter
    codec: str = ""  # of the video, by libav's name for what decodes it
    record: Callable[[Any], None] = lambda recorder: None  # before the first frame; see recording/recorder.py
    hardware: str = ""  # what decodes, where it is not the processor
    pixels: Pixels | None = None  # makes those of the frames


def open_file(name: str, threads: int = 0) -> Opened:
    """A video file.

    Packets that cannot be decoded are left out, as players do it; libav complains of them. Frames of
    another size than the first are scaled to it, and turned and mirrored as the container says.

    Args:
        name: the file's path.
        threads: that decode; 0: one a core.

    Raises:
        VideoError: not a video; while iterating, it ended before its container says.
    """
    path = Path(name)
    try:
        with opened_name(path) as place:
            container = _open(place)
        stream = _video(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise not_a_video(path, error) from error
    info = _info(container, stream)
    frames = _Frames(container, stream, threads)
    length = _length(container, stream)

    def checked() -> Iterator[tuple[np.ndarray, float]]:
        try:
            yield from frames
        except (av.FFmpegError, ValueError) as error:
            raise cut_short(path, frames.stamps.frames, info.reported_frames) from error
        _check_end(path, frames, info, length)

    beside, codec = _beside(container), stream.codec_context.name
    return Opened(info, checked(), frames.notes, beside, codec, frames.record, pixels=frames.pixels)


def open_pictures(name: str, fps: float) -> Opened:
    """A folder of pictures, which are the frames of a video in the natural order of their names.

    Args:
        name: the folder's path.
        fps: frames a second.

    Raises:
        VideoError: there are none; while iterating, one cannot be read.
    """
    files, pixels = picture_files(Path(name)), Pixels()
    if not files:
        raise VideoError(f"{name}: no pictures in it")

    def frames() -> Iterator[tuple[np.ndarray, float]]:
        for number, path in enumerate(files):
            try:  # not by its name, which may look like a pattern
                with path.open("rb") as file, _open(file) as container:
                    yield pixels.of(next(container.decode(_video(container))), number / fps), number / fps
            except (av.FFmpegError, OSError, ValueError, StopIteration) as error:
                raise VideoError(f"{path}: not a picture that libav can read{because(error)}") from error

    return Opened(VideoInfo(fps, 0, 0, len(files)), frames(), pixels.notes, pixels=pixels)


def open_stream(address: str, threads: int = 1, seconds: float = 10.0, hwaccel: str = "none") -> Opened:
    """A stream on the network, or a file on a server.

    Args:
        address: its URL.
        threads: that decode.
        seconds: without an answer or a frame after which it is given up.
        hwaccel: what is to decode; see :func:`acceleration`.

    Raises:
        VideoError: the reason alone, without the address, which may hold a password; also while iterating.
    """
    options = {"rtsp_flags": "prefer_tcp"} if address.startswith("rtsp") else {}
    hardware, accel = acceleration(hwaccel)
    begun = monotonic()
    try:
        container = _open(address, options=options, seconds=seconds, hwaccel=accel)
        if container.format.name in _WITHOUT_CLOCK and not container.duration:
            container.close()  # libav would count 25 a second: a packet gets the time at which it came
            options |= {"use_wallclock_as_timestamps": "1"}
            container = _open(address, options=options, seconds=seconds, hwaccel=accel)
        stream = _video(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        # An RTSP server that does not answer is "invalid data", too.
        timed_out = monotonic() - begun >= seconds
        raise VideoError(no_answer(seconds) if timed_out else reason(error, seconds)) from error
    return _opened_live(container, stream, threads, seconds, hardware)


def open_camera(number: str, threads: int = 1, seconds: float = 10.0, hwaccel: str = "none") -> Opened:
    """A camera of this machine, by its number or, on Linux, its device; else as :func:`open_stream`."""
    system = _CAMERAS.get(sys.platform)
    if system is None:
        raise VideoError(f"cameras of {sys.platform} are not read; give the address of a stream")
    device = f"/dev/video{number}" if number.isdecimal() else number
    name = {"video4linux2": device, "avfoundation": f"{number}:none"}.get(system)
    hardware, accel = acceleration(hwaccel)
    try:
        if name is None:
            found = [device for device in av.enumerate_input_devices(system) if "video" in device.media_types]
            name = f"video={found[int(number)].name}"
        if system == "video4linux2" and not Path(name).exists():
            raise VideoError(f"there is no {name}")
        container = _open(name, system, seconds=seconds, hwaccel=accel)
        stream = _video(container)
    except IndexError as error:
        raise VideoError(f"there is no camera {number}") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(reason(error, seconds)) from error
    return _opened_live(container, stream, threads, seconds, hardware)


def read_header(path: Path) -> VideoInfo:
    """What the container says, without decoding more than libav needs to know its streams.

    Raises:
        VideoError: not a video.
    """
    try:
        with opened_name(path) as name, _open(name) as container:
            return _info(container, _video(container))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise not_a_video(path, error) from error


def guess_frames(path: Path) -> int:
    """How many frames a file has that does not say it: its packets, counted without decoding them.

    Of a file longer than :data:`GUESSED_BY`, those of the beginning, and as many more as its size allows.

    Raises:
        VideoError: not a video.
    """
    count, read_bytes, whole = 0, 0, True
    try:
        with opened_name(path) as name, _open(name) as container:
            for packet in container.demux(_video(container)):
                count, read_bytes = count + (packet.size > 0), read_bytes + packet.size
                if read_bytes >= GUESSED_BY:
                    whole = False
                    break
    except (av.FFmpegError, OSError, ValueError) as error:
        if not count:
            raise not_a_video(path, error) from error
    return count if whole else round(count * path.stat().st_size / read_bytes)


class _Frames:
    """The frames of a container's video, each as RGB with its time."""

    def __init__(self, container: Any, stream: Any, threads: int, one_size: bool = False):
        stream.thread_type, stream.thread_count = "AUTO", threads
        self.container, self.stream = container, stream
        start = container.start_time
        self._untimed = not one_size and container.format.name in _UNTIMED
        may_leap = bool(_bits(container.format.flags) & _MAY_LEAP)
        self.stamps = Stamps(_rate(stream), None if start is None else start / av.time_base, may_leap)
        self._recorder: Any = None
        self.end = 0.0  # of the packets, in seconds from the beginning; where nothing counts frames, of all
        self._all, self.pixels = not stream.frames, Pixels(one_size)

    def record(self, recorder: Any) -> None:
        """Shows a :class:`Recorder` all packets and frames from now on."""
        recorder.begin(self.stream)
        self._recorder = recorder

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        start = (self.container.start_time or 0) / av.time_base
        if not self._all and self.stream.start_time is not None:
            start = float(self.stream.start_time * self.stream.time_base)
        for packet in self.container.demux(*([] if self._all else [self.stream])):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.end = max(self.end, end - start)
            if packet.stream_index != self.stream.index or _is_empty(packet):
                continue
            if self._recorder:
                self._recorder.packet(packet)
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in decoded:
                stamp = None if self._untimed or frame.time is None else float(frame.time)
                time = self.stamps.time(stamp)
                if self._recorder:
                    self._recorder.frame(frame, self.stamps.frames - 1)
                yield self.pixels.of(frame, time), time

    def notes(self) -> list[str]:
        said = self.pixels.notes()
        return [*said, note] if (note := self.stamps.note()) else said


def _beside(container: Any) -> tuple[str, ...]:
    contexts = [one.codec_context for one in container.streams if one.type != "video"]
    return tuple(sorted({context.name for context in contexts if context}))


def _bits(flags: Any) -> int:
    """Flags, which are an enumeration in some versions of PyAV."""
    return int(getattr(flags, "value", flags))


def _is_empty(packet: Any) -> bool:
    """The frame before it stays, as in Theora and AVI; the decoder would take it for the end."""
    return not packet.size and not (packet.pts is None and packet.dts is None)


def _open(
    name: Any,
    form: str | None = None,
    options: dict[str, str] | None = None,
    seconds: float | None = None,
    hwaccel: Any = None,
) -> Any:
    av.logging.restore_default_callback()  # errors are written to stderr, which is read
    av.logging.set_libav_level(av.logging.ERROR)
    timeout = None if seconds is None else (seconds, seconds)
    return av.open(
        name,
        format=form,
        options=options or {},
        metadata_errors="replace",
        timeout=timeout,
        **({"hwaccel": hwaccel} if hwaccel else {}),
    )


def _video(container: Any) -> Any:
    """Raises ValueError where there is none."""
    stream = container.streams.best("video")
    if stream is None or _bits(getattr(stream, "disposition", 0)) & _COVER:
        raise ValueError("no video in it")
    if not stream.codec_context:
        raise ValueError("its codec is not known")
    return stream


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _info(container: Any, stream: Any) -> VideoInfo:
    fps, frames = _rate(stream), stream.frames
    likely = round(_length(container, stream) * fps)
    if frames and stream.duration:  # the index of an MP4 counts frames, too, that its edit list hides
        frames = min(frames, likely)
    return VideoInfo(fps, stream.width, stream.height, frames or likely)


def _length(container: Any, stream: Any) -> float:
    """Seconds that the video lasts, or all that is in the container; 0 where unknown."""
    if stream.duration:  # of an MP4, what its edit list shows
        return float(stream.duration * stream.time_base)
    length = container.duration / av.time_base if container.duration else 0.0
    if container.format.name.startswith("matroska"):  # its duration counts from zero
        length -= (container.start_time or 0) / av.time_base
    return max(0.0, length)


def _opened_live(container: Any, stream: Any, threads: int, seconds: float, hardware: str) -> Opened:
    hardware = hardware if stream.codec_context.is_hwaccel else ""
    frames = _Frames(container, stream, threads, one_size=True)

    def told() -> Iterator[tuple[np.ndarray, float]]:
        try:
            yield from frames
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(reason(error, seconds)) from error

    info, codec = _info(container, stream), stream.codec_context.name
    return Opened(info, told(), frames.notes, (), codec, frames.record, hardware, frames.pixels)


@contextmanager
def opened_name(path: Path) -> Iterator[str]:
    """What libav opens: absolute, for it takes `concat:a.mp4` for something else than a file.

    Names are UTF-8 to libav; a file whose name is not is opened by its descriptor.
    """
    if is_utf8(str(path)):
        yield str(path.absolute())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield f"{DESCRIPTORS}/{descriptor}"
    finally:
        os.close(descriptor)


def _check_end(path: Path, frames: _Frames, header: VideoInfo, length: float) -> None:
    """Raises VideoError where the end came too early.

    That is where the frames are fewer than the container promises and what was read does not
    reach its end either (the promise is a guess where the rate varies, and where sound goes on
    after the last frame), or where the container shows that bytes are missing.
    """
    count, promised = frames.stamps.frames, header.reported_frames
    usual = 1 / header.fps if header.fps else 0.0
    fewer = count < 0.99 * promised - 2  # clearly: containers are off by a little, as FLV by its B-frames
    early = fewer and frames.end < 0.99 * length - 2 * usual
    if count == 0 or early or (promised <= 0 and misses_bytes(path)):
        raise cut_short(path, count, promised)
