"""The decoders themselves, decord and OpenCV: a file in, RGB frames in order out, in this process.

What reads a stranger's file can crash, hang or eat the memory, so the package
calls these in a worker only; see :mod:`ssrl_pipeline.extractors.decode`.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.truncation import misses_bytes

_REPEATED = 1  # frames that decord may put in the place of others; 0 would mean any number


class VideoInfo(NamedTuple):
    """What a container says of its video before any frame is decoded."""

    fps: float  # frames a second; 0 when unknown
    width: int
    height: int
    reported_frames: int  # may be wrong: the decoded frames decide


class Opened(NamedTuple):
    info: VideoInfo
    frames: Iterator[np.ndarray]  # RGB, uint8 [H, W, 3]


def open_decord(path: Path) -> Opened:
    """decord, which is fast.

    decord builds its own list of the frames that are in the file. Where the
    container shows that bytes are missing, what OpenCV reads of its header is
    compared with the frames that came. Where decord would repeat frames in the
    place of such as it cannot find, as in some MPEG streams, it stops.

    Raises:
        VideoError: not a video that decord reads; while iterating, it stopped before the end.
    """
    decord = _import_decord()
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), fault_tol=_REPEATED)
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
                raise _cut_short(path, count, info.reported_frames) from error
            yield frame
            count += 1
        if misses_bytes(path):
            promised = read_header(path).reported_frames
            if promised <= 0 or _fewer(count, promised):
                raise _cut_short(path, count, promised)

    return Opened(info, frames())


def open_opencv(path: Path) -> Opened:
    """OpenCV, which reads some files that decord cannot.

    It does not tell the end from an error. The end came too early where the
    frames are fewer than the container promises and their time is shorter too
    (at a variable frame rate the promised number is only a guess), or where the
    container shows that bytes are missing.

    Raises:
        VideoError: not a video that OpenCV reads; while iterating, it stopped before the end.
    """
    import cv2

    capture = _capture(path)
    info = _header(capture)

    def frames() -> Iterator[np.ndarray]:
        count, seconds = 0, 0.0
        try:
            while True:
                read, frame = capture.read()
                if not read:
                    break
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                count += 1
        finally:
            capture.release()
        promised = info.reported_frames
        early = _fewer(count, promised) and (seconds <= 0 or _fewer(int(seconds * info.fps) + 1, promised))
        if count == 0 or early or (promised <= 0 and misses_bytes(path)):
            raise _cut_short(path, count, promised)

    return Opened(info, frames())


def read_header(path: Path) -> VideoInfo:
    """What the container says, without decoding: OpenCV reads the header alone, decord goes through the file.

    Raises:
        VideoError: not a video that OpenCV reads.
    """
    capture = _capture(path)
    try:
        return _header(capture)
    finally:
        capture.release()


def _capture(path: Path) -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # libav's AV_LOG_QUIET
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
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


def _fewer(count: int, promised: int) -> bool:
    """Clearly fewer: what containers say may be off by a little."""
    return count < 0.99 * promised - 1


def _cut_short(path: Path, count: int, promised: int) -> VideoError:
    of = f" of {promised}" if promised > 0 else ""
    return VideoError(
        f"{path}: truncated or damaged, decoding stopped after {count}{of} frames "
        "(cut or re-encode the file to use the part that is whole)"
    )
