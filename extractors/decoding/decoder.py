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
from av.video.reformatter import VideoReformatter

from ssrl_pipeline.disk import is_utf8, picture_files
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding.containers import misses_bytes
from ssrl_pipeline.extractors.decoding.hardware import acceleration
from ssrl_pipeline.extractors.decoding.stamps import Stamps
from ssrl_pipeline.extractors.decoding.video import DESCRIPTORS, VideoInfo

FASTEST = 240.0  # frames a second that a header is believed: those of telephones
GUESSED_BY = 32 << 20  # bytes: about a minute of a camera, read in a fraction of a second
_MAY_LEAP = 0x200  # libav's AVFMT_TS_DISCONT
_COVER = 0x400  # libav's AV_DISPOSITION_ATTACHED_PIC
_CAMERAS = {"linux": "video4linux2", "darwin": "avfoundation", "win32": "dshow"}  # libav's devices
_UNTIMED = ("mjpeg", "mpjpeg", "jpeg_pipe", "image2pipe")  # whose frames libav numbers, 25 a second
_WITHOUT_CLOCK = (*_UNTIMED, "h264", "hevc", "m4v", "mpegvideo")  # that a packet should be timed by ours

_SWAPPED = {  # which swscale 9 makes 8 bits of as if their bytes stood in the other order
    f"{order}{bits}be": f"{order}{bits}le" for order in ("rgb", "bgr") for bits in (555, 565)
}
# From 17 on, PyAV converts colours with one thread a core where it is not told.
_SCALING = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
_TURNS = {90: (0, -1, 1, 0), -90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}


class Opened(NamedTuple):
    info: VideoInfo
    frames: Iterator[tuple[np.ndarray, float]]  # RGB, uint8 [H, W, 3], and when it is shown, in seconds
    notes: Callable[[], list[str]] = list  # after the last frame: what was noticed
    beside: tuple[str, ...] = ()  # codecs of sound and subtitles, whose complaints do not matter
    record: Callable[[Any], None] = lambda recorder: None  # before the first frame; see recorder.py
    hardware: str = ""  # what decodes, where it is not the processor


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
        with location(path) as place:
            container = _open(place)
        stream = _video(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path, error) from error
    info = _info(container, stream)
    frames = _Frames(container, stream, threads)
    length = _length(container, stream)

    def checked() -> Iterator[tuple[np.ndarray, float]]:
        try:
            yield from frames
        except (av.FFmpegError, ValueError) as error:
            raise cut_short(path, frames.stamps.frames, info.reported_frames) from error
        _check_end(path, frames, info, length)

    return Opened(info, checked(), frames.notes, _beside(container), frames.record)


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
                    yield pixels.of(next(container.decode(_video(container)))), number / fps
            except (av.FFmpegError, OSError, ValueError, StopIteration) as error:
                raise VideoError(f"{path}: not a picture that libav can read{_because(error)}") from error

    return Opened(VideoInfo(fps, 0, 0, len(files)), frames(), pixels.notes)


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
        raise VideoError(_no_answer(seconds) if timed_out else _reason(error, seconds)) from error
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
        raise VideoError(_reason(error, seconds)) from error
    return _opened_live(container, stream, threads, seconds, hardware)


def read_header(path: Path) -> VideoInfo:
    """What the container says, without decoding more than libav needs to know its streams.

    Raises:
        VideoError: not a video.
    """
    try:
        with location(path) as name, _open(name) as container:
            return _info(container, _video(container))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path, error) from error


def guess_frames(path: Path) -> int:
    """How many frames a file has that does not say it: its packets, counted without decoding them.

    Of a file longer than :data:`GUESSED_BY`, those of the beginning, and as many more as its size allows.

    Raises:
        VideoError: not a video.
    """
    count, read_bytes, whole = 0, 0, True
    try:
        with location(path) as name, _open(name) as container:
            for packet in container.demux(_video(container)):
                count, read_bytes = count + (packet.size > 0), read_bytes + packet.size
                if read_bytes >= GUESSED_BY:
                    whole = False
                    break
    except (av.FFmpegError, OSError, ValueError) as error:
        if not count:
            raise _not_a_video(path, error) from error
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
        self._all = not stream.frames
        self._pixels = Pixels(one_size)

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
                yield self._pixels.of(frame), time

    def notes(self) -> list[str]:
        said = self._pixels.notes()
        return [*said, note] if (note := self.stamps.note()) else said


class Pixels:
    """Frames of all formats as RGB of one size, the first frame's; others are scaled, or a ValueError."""

    def __init__(self, one_size: bool = False):
        self._one_size = one_size
        self._rgb, self._swapped = VideoReformatter(), VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._sizes: dict[tuple[int, int], None] = {}

    def notes(self) -> list[str]:
        first, *others = [f"{width}x{height}" for width, height in self._sizes] or [""]
        return [f"frames of {', '.join(others)} among those of {first}, scaled to these"] if others else []

    def of(self, frame: Any) -> np.ndarray:
        """RGB, uint8 [H, W, 3]: a view of what swscale wrote, turned as it is to be shown."""
        self._sizes[frame.width, frame.height] = None
        self._size = width, height = self._size or (frame.width, frame.height)
        if self._one_size and len(self._sizes) > 1:
            raise ValueError(f"the picture changed its size to {frame.width}x{frame.height}")
        matrix = _matrix(frame)
        if frame.format.name in _SWAPPED:
            frame = self._swapped.reformat(frame, format=_SWAPPED[frame.format.name], **_SCALING)
        rgb = self._rgb.reformat(frame, width, height, "rgb24", **_SCALING)
        plane = rgb.planes[0]
        pixels = np.ndarray((height, width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1))
        return _turned(pixels, matrix) if matrix else pixels


def _beside(container: Any) -> tuple[str, ...]:
    contexts = [one.codec_context for one in container.streams if one.type != "video"]
    return tuple(sorted({context.name for context in contexts if context}))


def _bits(flags: Any) -> int:
    """Flags, which are an enumeration in some versions of PyAV."""
    return int(getattr(flags, "value", flags))


def _is_empty(packet: Any) -> bool:
    """The frame before it stays, as in Theora and AVI; the decoder would take it for the end."""
    return not packet.size and not (packet.pts is None and packet.dts is None)


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """(a, b, c, d), which sends a stored pixel (x, y) to (a x + c y, b x + d y); None where there is none."""
    try:
        beside = list(frame.side_data)
    except ValueError:  # PyAV does not know one of them, as the EXIF of a JPEG: then mirrors are not told
        return _TURNS.get(frame.rotation)
    for data in beside:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(data, np.int32, 5).tolist()
            return a, b, c, d
    return None


def _turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The frame by a matrix of quarter turns and mirrors; others are taken for the nearest of these."""
    a, b, c, d = matrix
    if abs(a) >= abs(b):
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return pixels.transpose(1, 0, 2)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]


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
    if not stream.codec_context.is_hwaccel:
        hardware = ""
    frames = _Frames(container, stream, threads, one_size=True)

    def told() -> Iterator[tuple[np.ndarray, float]]:
        try:
            yield from frames
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(_reason(error, seconds)) from error

    return Opened(_info(container, stream), told(), frames.notes, record=frames.record, hardware=hardware)


def _not_a_video(path: Path, error: Exception) -> VideoError:
    return VideoError(f"{path}: not a video that libav can open{_because(error)}")


def _because(error: Exception) -> str:
    """What libav said, without the file's name; "" where it says no more than that it is no video."""
    said = "" if isinstance(error, av.error.InvalidDataError) else _said(error)
    return f" ({said[:1].lower()}{said[1:]})" if said else ""


def _no_answer(seconds: float) -> str:
    return f"no answer for {seconds:g} seconds"


def _said(error: Exception) -> str:
    """libav's words, which alone do not name the file or the address."""
    return getattr(error, "strerror", None) or ("" if isinstance(error, av.FFmpegError) else str(error))


def _reason(error: Exception, seconds: float) -> str:
    """Why a stream ended, in libav's words."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return _no_answer(seconds)
    if isinstance(error, av.error.InvalidDataError):
        return "what it sends is no video"
    return _said(error) or type(error).__name__


@contextmanager
def location(path: Path) -> Iterator[str]:
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
    early = fewer(count, promised) and frames.end < 0.99 * length - 2 * usual
    if count == 0 or early or (promised <= 0 and misses_bytes(path)):
        raise cut_short(path, count, promised)


def fewer(count: int, promised: int) -> bool:
    """Clearly fewer: what containers say may be off by a little, as FLV's time is by its B-frames."""
    return count < 0.99 * promised - 2


def cut_short(path: Path, count: int, promised: int) -> VideoError:
    of = f" of {promised}" if promised > 0 else ""
    return VideoError(
        f"{path}: truncated or damaged, decoding stopped after {count}{of} frames "
        "(cut or re-encode the file to use the part that is whole)"
    )
