"""H.264 in an MP4 that every browser plays, written by PyAV: for the demo's videos and for overlay.mp4.

    with VideoWriter(Path("out.mp4"), width, height, fps) as writer:
        for frame in frames:
            writer.write(frame)

yuv420p in the limited range, with the index in front. The encoder (libx264, which PyAV's
wheels bring along) runs in one thread and does the same on every processor, so equal frames
give equal files.
"""

import math
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.errors import PipelineError

ENCODER = "libx264"
# Without frames that refer to later ones (bf): behind those an MP4 ends too early where times are uneven.
OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "x264-params": "cpu-independent=1"}
TICKS = 90_000  # a second
KEYFRAMES = 2.0  # seconds between two at most, for seeking
HD = 720  # rows from which colours are BT.709's, below BT.601's: what readers expect that look at no tags
BT709, BT601, LIMITED = 1, 6, 1  # as H.264 numbers colours and ranges


def require_encoder() -> None:
    """Raises PipelineError, with the way out, where the installed PyAV cannot write H.264."""
    if ENCODER not in av.codecs_available:
        raise PipelineError(
            f"the installed PyAV {av.__version__} was built without {ENCODER}, which writes H.264; "
            "its wheels have it: pip install --force-reinstall --only-binary av av"
        )


class VideoWriter:
    """A context manager that writes one video, frame by frame; the file appears whole or not at all.

    Args:
        path: of the MP4.
        width, height: of the frames, in pixels. Where one is odd, the last column or row is
            repeated: yuv420p has even sizes only.
        fps: frames a second; where frames come with their times, about that many.

    Raises:
        PipelineError: see :func:`require_encoder`.
        DiskError: there is no room for the file.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float):
        require_encoder()
        self.path, self.width, self.height = path, width, height
        # A player refuses rates that no one has: 29.97 is 30000/1001.
        self.rate = Fraction(fps).limit_denominator(1001)
        self._stack = ExitStack()
        self._reformatter = VideoReformatter()
        self._conversion: dict[str, Any] = {
            "format": "yuv420p",
            "dst_colorspace": "ITU709" if height >= HD else "ITU601",
            "dst_color_range": "MPEG",
        }
        if int(av.__version__.partition(".")[0]) >= 17:  # where else it takes a thread a core
            self._conversion["threads"] = 1
        self._count, self._last = 0, -1

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            scratch = stack.enter_context(whole_file(self.path))
            options = {"movflags": "+faststart"}
            self._container: Any = stack.enter_context(
                av.open(str(scratch), "w", format="mp4", options=options)
            )
            self._stream = self._add_stream()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:  # the file is put in its place, or cleared away after an error
            if error is not None:
                raise error
            self._container.mux(self._stream.encode(None))

    def _add_stream(self) -> Any:
        stream: Any = self._container.add_stream(ENCODER, rate=self.rate, options=OPTIONS)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1
        context.gop_size = max(1, round(KEYFRAMES * self.rate))
        # Said, since players guess differently where nothing is.
        colours = BT709 if self.height >= HD else BT601
        context.colorspace = context.color_primaries = context.color_trc = colours
        context.color_range = LIMITED
        return stream

    def write(self, frame: np.ndarray, time_s: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: RGB, uint8 [height, width, 3].
            time_s: at which it is shown, in seconds from the start; None: the frames before it / fps.
                A frame that is not later than the one before it is shown a tick after that.

        Raises:
            ValueError: the frame is of another shape, or its time is negative or not finite.
        """
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"a frame of {frame.dtype} {frame.shape}, not of {self.height} x {self.width}")
        if time_s is not None and not 0 <= time_s < math.inf:
            raise ValueError(f"a frame at {time_s} s")
        ticks = round((self._count / self.rate if time_s is None else time_s) * TICKS)
        self._count, self._last = self._count + 1, max(ticks, self._last + 1)
        if self.width % 2 or self.height % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), "edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"), **self._conversion
        )
        picture.pts, picture.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(picture))
