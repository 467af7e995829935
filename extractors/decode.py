"""Videos as a stream of RGB frames: decord decodes, OpenCV where decord cannot.

Both read the frames in order and hold only the current one. A decoder that
gives up in the middle raises :class:`VideoError`; whoever reads the frames
starts again with the next of :data:`DECODERS`, so that no video is ever
stitched together from two.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError

DECODERS = ("decord", "opencv")
EXTENSIONS = {
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
}


class VideoInfo(NamedTuple):
    """What a container says of its video before any frame is decoded."""

    fps: float  # frames a second; 0 when unknown
    width: int
    height: int
    reported_frames: int  # may be wrong: the decoded frames decide


class Video(NamedTuple):
    info: VideoInfo
    decoder: str
    frames: Iterator[np.ndarray]  # RGB, uint8 [H, W, 3]


def open_video(path: Path, decoder: str = "decord") -> Video:
    """Opens a video with one decoder of :data:`DECODERS`.

    Raises:
        VideoError: the file is missing, empty, or not a video that this decoder
            reads; while iterating, the decoder stopped before the end.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    opener = {"decord": _open_decord, "opencv": _open_opencv}[decoder]
    return opener(path)


def _open_decord(path: Path) -> Video:
    import decord

    try:
        with _silent_stderr():
            reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
            height, width = reader[0].shape[:2]
            reader.seek(0)
    except (RuntimeError, IndexError, decord.DECORDError) as error:
        raise VideoError(f"{path}: not a video that decord can open") from error
    info = VideoInfo(float(reader.get_avg_fps()), width, height, len(reader))

    def frames() -> Iterator[np.ndarray]:
        count = 0
        while True:
            try:
                frame = reader.next().asnumpy()
            except StopIteration:
                return
            except (RuntimeError, decord.DECORDError) as error:
                raise _cut_short(path, count, info.reported_frames) from error
            yield frame
            count += 1

    return Video(info, "decord", frames())


def _open_opencv(path: Path) -> Video:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # libav's AV_LOG_QUIET
    import cv2

    with _silent_stderr():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise VideoError(f"{path}: not a video (neither decord nor OpenCV can open it)")
    info = VideoInfo(
        fps=float(capture.get(cv2.CAP_PROP_FPS)),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        reported_frames=int(capture.get(cv2.CAP_PROP_FRAME_COUNT)),
    )

    def frames() -> Iterator[np.ndarray]:
        count = 0
        try:
            while True:
                read, frame = capture.read()
                if not read:
                    break
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                count += 1
        finally:
            capture.release()
        # OpenCV does not tell the end from an error; containers' counts may be off by a little.
        if count == 0 or count < 0.99 * info.reported_frames - 1:
            raise _cut_short(path, count, info.reported_frames)

    return Video(info, "opencv", frames())


def _cut_short(path: Path, count: int, reported: int) -> VideoError:
    return VideoError(
        f"{path}: truncated or damaged, decoding stopped after {count} of {reported} frames "
        "(cut or re-encode the file to use the part that is whole)"
    )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps what native code prints of a broken file from the user's terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(sink)
        os.close(saved)
