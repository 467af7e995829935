"""Tiny videos written by PyAV, whose frames and times are known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 6  # grey levels from one frame to the next, of 42 that differ


def made_with_av(path: Path, codec: str, noise: int = 32, **options: str) -> Path:
    """60 frames of one grey each, 4 lighter than the last, with a square of noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.gop_size = 5
        stream.options = options
        rng = np.random.default_rng(0)
        for i in range(60):
            picture = np.full((240, 320, 3), 4 * i, np.uint8)
            picture[:noise, :noise] = rng.integers(0, 256, (noise, noise, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def with_times(
    path: Path,
    times: Sequence[float],
    codec: str = "mpeg4",
    container: str | None = None,
    clock: int = 1000,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    **options: str,
) -> Path:
    """A frame for each time, of one grey, STEP lighter than the last; times are whole ticks of the clock."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, clock)
        stream.bit_rate = 4_000_000
        stream.options = options
        for i, time in enumerate(times):
            picture = np.full((size[1], size[0], 3), STEP * (i % 42), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * clock), Fraction(1, clock)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
