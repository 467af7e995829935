"""The decoders themselves, decord, OpenCV and PyAV: a file in, RGB frames in order out, in this process.

What reads a stranger's file can crash, hang or eat the memory, so the package
calls these in a worker only; see :mod:`ssrl_pipeline.extractors.decode`.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.mp4_index import shown_seconds
from ssrl_pipeline.extractors.truncation import is_matroska, is_mpeg_stream, misses_bytes

DECORDS_MOST = 1 << 30  # bytes of all frames of a video that decord is given
_REPEATED = 1e-9  # share of the frames that decord may put in the place of others; 0 would mean all
DESCRIPTORS = Path("/proc/self/fd")  # where Linux shows the open files of a process
FASTEST = 240.0  # frames a second that a header is believed: those of telephones
GUESSED_BY = 32 << 20  # bytes: about a minute of a camera, read in a fraction of a second
_COVER = 0x400  # libav's AV_DISPOSITION_ATTACHED_PIC


class VideoInfo(NamedTuple):
    """What a container says of its video before any frame is decoded."""

    fps: float  # frames a second; 0 when unknown
    width: int
    height: int
    reported_frames: int  # may be wrong: the decoded frames decide


class Opened(NamedTuple):
    info: VideoInfo
    frames: Iterator[np.ndarray]  # RGB, uint8 [H, W, 3]


def open_decord(path: Path, threads: int = 0) -> Opened:
    """decord, which is fast, for videos that fit in the memory.

    It reads ahead without a limit: where its own threads are slow to start, all
    of a video's frames can be in memory at once. Longer videos are left to the
    decoders that hold a frame or two; the frames are the same.

    decord builds its own list of the frames that are in the file. Where the
    container shows that bytes are missing, what OpenCV reads of its header is
    compared with the frames that came. Where decord would repeat frames in the
    place of such as it cannot find, it stops.

    Args:
        path: of the video.
        threads: that decode; 0: one a core.

    Raises:
        VideoError: not a video that decord reads; while iterating, it stopped before the end.
    """
    if is_mpeg_stream(path):  # it leaves out the frames before the second keyframe, and repeats the last ones
        raise VideoError(f"{path}: decord loses frames of MPEG streams")
    decord = _import_decord()
    decord.logging.set_level(decord.logging.ERROR)  # written to stderr, which is read
    try:
        with location(path) as name:
            reader = decord.VideoReader(name, ctx=decord.cpu(0), num_threads=threads, fault_tol=_REPEATED)
        first = reader.next().asnumpy()
    except (
        RuntimeError,
        IndexError,
        AssertionError,
        UnicodeError,
        StopIteration,
        decord.DECORDError,
    ) as error:
        raise VideoError(f"{path}: not a video that decord can open") from error
    height, width, channels = first.shape
    if channels != 3:  # it mistakes the padding of narrow frames for a channel
        raise VideoError(f"{path}: not a video that decord can read ({width} pixels are too narrow for it)")
    info = VideoInfo(float(reader.get_avg_fps()), width, height, len(reader))
    if not math.isfinite(info.fps):  # of IVF
        raise VideoError(f"{path}: decord knows no rate of its frames")
    if info.reported_frames * first.nbytes > DECORDS_MOST:
        raise VideoError(f"{path}: {info.reported_frames} frames of {width}x{height} are too many for decord")

    def frames() -> Iterator[np.ndarray]:
        yield first
        count = 1
        while True:
            try:
                frame = reader.next().asnumpy()
            except StopIteration:
                break
            except decord.DECORDLimitReachedError as error:
                raise VideoError(
                    f"{path}: decord repeats frames in the place of others, from {count} on"
                ) from error
            except (RuntimeError, decord.DECORDError) as error:
                raise cut_short(path, count, info.reported_frames) from error
            yield frame
            count += 1
        if misses_bytes(path):
            promised = read_header(path).reported_frames
            if promised <= 0 or fewer(count, promised):
                raise cut_short(path, count, promised)

    return Opened(info, frames())


def open_opencv(path: Path, threads: int = 0) -> Opened:
    """OpenCV, which reads some files that decord cannot.

    It does not tell the end from an error, so what came is compared with what
    the container promises.

    Args:
        path: of the video.
        threads: that decode, and nearly as many more beside them; 0: one a core.

    Raises:
        VideoError: not a video that OpenCV reads; while iterating, it stopped before the end.
    """
    import cv2

    if threads:
        cv2.setNumThreads(threads)
    capture = _capture(path, threads)
    info = _header(capture)

    def frames() -> Iterator[np.ndarray]:
        count, seconds, late = 0, 0.0, 0
        try:
            while True:
                read, frame = capture.read()
                if not read:
                    break
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if count == 0 and is_matroska(path) and hasattr(cv2, "CAP_PROP_PTS"):
                    late = int(capture.get(cv2.CAP_PROP_PTS))
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                count += 1
        finally:
            capture.release()
        _check_end(path, count, seconds, info, late)

    return Opened(info, frames())


def open_pyav(path: Path, threads: int = 0) -> Opened:
    """PyAV, which is slower, and reads interlaced MPEG streams too.

    Packets that cannot be decoded are left out, as players do it; libav complains of them.

    Args:
        path: of the video.
        threads: that decode; 0: one a core.

    Raises:
        VideoError: not a video that PyAV reads; while iterating, it stopped before the end.
    """
    import av

    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    try:
        with location(path) as name:
            container: Any = av.open(name, metadata_errors="replace")
        stream = container.streams.best("video")
        if stream is None or getattr(stream, "disposition", 0) & _COVER:
            raise ValueError("no video")
        stream.thread_type, stream.thread_count = "AUTO", threads
        info = read_header(path)._replace(width=stream.width, height=stream.height)
    except (VideoError, av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: not a video that PyAV can open") from error
    # From 17 on, PyAV converts colours with one thread a core where it is not told.
    scaling = {"threads": threads} if int(av.__version__.partition(".")[0]) >= 17 else {}

    def frames() -> Iterator[np.ndarray]:
        count, begin, seconds = 0, 0.0, 0.0
        try:
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    continue
                for frame in decoded:
                    turns = round(getattr(frame, "rotation", 0) / 90)
                    begin = (frame.time or 0.0) if count == 0 else begin
                    seconds = (frame.time or 0.0) - begin
                    yield np.rot90(frame.to_ndarray(format="rgb24", **scaling), turns)
                    count += 1
        except (av.FFmpegError, ValueError) as error:
            raise cut_short(path, count, info.reported_frames) from error
        _check_end(path, count, seconds, info, int(begin * info.fps) if is_matroska(path) else 0)

    return Opened(info, frames())


def read_header(path: Path) -> VideoInfo:
    """What the container says, without decoding: OpenCV reads the header alone, decord goes through the file.

    Raises:
        VideoError: not a video that OpenCV reads.
    """
    capture = _capture(path, threads=1)
    try:
        return _header(capture)
    finally:
        capture.release()


def guess_frames(path: Path) -> int:
    """How many frames a file has that does not say it: its packets, counted without decoding them.

    Of a file longer than :data:`GUESSED_BY`, those of the beginning, and as many more as its size allows.

    Raises:
        VideoError: not a video that OpenCV reads.
    """
    import cv2

    capture = _capture(path, threads=1)
    count, read_bytes, whole = 0, 0, False
    try:
        capture.set(cv2.CAP_PROP_FORMAT, -1)  # packets in the place of frames
        while read_bytes < GUESSED_BY and not whole:
            there, packet = capture.read()
            whole = not there
            if there:
                count, read_bytes = count + 1, read_bytes + packet.size
    finally:
        capture.release()
    return count if whole else round(count * path.stat().st_size / read_bytes)


def _capture(path: Path, threads: int) -> Any:
    os.environ.pop("OPENCV_FFMPEG_LOGLEVEL", None)  # without it, libav's errors are written to stderr
    os.environ.pop("OPENCV_FFMPEG_DEBUG", None)
    import cv2

    options = [cv2.CAP_PROP_N_THREADS, threads] if threads else []
    with location(path) as name:
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise VideoError(f"{path}: not a video that OpenCV can open")
    return capture


def _header(capture: Any) -> VideoInfo:
    import cv2

    return VideoInfo(
        fps=float(capture.get(cv2.CAP_PROP_FPS)),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        reported_frames=int(capture.get(cv2.CAP_PROP_FRAME_COUNT)),
    )


def _import_decord() -> Any:
    """decord, without the CUDA libraries that it loads where PyTorch has brought them.

    They are of use to decord's CUDA builds alone, and cost a second and hundreds of MB.
    """
    hidden: dict[str, Any] = sys.modules
    if "nvidia" in hidden or "decord" in hidden:
        import decord

        return decord
    hidden["nvidia"] = None
    try:
        import decord
    except OSError:  # a CUDA build
        for name in [name for name in hidden if name.partition(".")[0] == "decord"]:
            del hidden[name]
        del hidden["nvidia"]
        import decord
    finally:
        if hidden.get("nvidia", hidden) is None:
            del hidden["nvidia"]
    return decord


@contextmanager
def location(path: Path) -> Iterator[str]:
    """What libav opens: absolute, for it takes `concat:a.mp4` for something else than a file.

    Names are UTF-8 to the decoders; a file whose name is not is opened by its descriptor.
    """
    if is_utf8(str(path)):
        yield str(path.absolute())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield f"{DESCRIPTORS}/{descriptor}"
    finally:
        os.close(descriptor)


def is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_end(path: Path, count: int, seconds: float, header: VideoInfo, late: int) -> None:
    """Raises VideoError where the end came too early.

    That is where the frames are fewer than the container promises and their time is
    shorter too (at a variable frame rate the promised number is only a guess), or where
    the container shows that bytes are missing. The promise of an MP4 counts what its
    edit list hides; that of Matroska begins at zero, `late` frames before the first.
    """
    promised = header.reported_frames - max(0, late)
    if shown := shown_seconds(path):
        promised = min(promised, round(shown * header.fps))
    early = fewer(count, promised) and (seconds <= 0 or fewer(int(seconds * header.fps) + 1, promised))
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
