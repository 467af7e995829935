"""libav's frames as pixels: RGB of one size, turned and mirrored as they are to be shown."""

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ssrl_pipeline.extractors.decoding.shared_frames import NO_PIXELS

_SWAPPED = {  # which swscale 9 makes 8 bits of as if their bytes stood in the other order
    f"{order}{bits}be": f"{order}{bits}le" for order in ("rgb", "bgr") for bits in (555, 565)
}
# From 17 on, PyAV converts colours with one thread a core where it is not told.
_SCALING = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
_TURNS = {90: (0, -1, 1, 0), -90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}


class Pixels:
    """Frames of all formats as RGB of one size, the first frame's.

    Args:
        one_size: a frame of another size is a ValueError; else it is scaled to the first's.

    Attributes:
        choose: says by its time whether a frame is wanted.
    """

    def __init__(self, one_size: bool = False):
        self._one_size = one_size
        self.choose: Callable[[float], bool] = lambda time: True
        self._rgb, self._swapped = VideoReformatter(), VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._sizes: dict[tuple[int, int], None] = {}

    def notes(self) -> list[str]:
        """What was noticed, after the last frame."""
        first, *others = [f"{width}x{height}" for width, height in self._sizes] or [""]
        return [f"frames of {', '.join(others)} among those of {first}, scaled to these"] if others else []

    def of(self, frame: Any, time: float = 0.0) -> np.ndarray:
        """RGB, uint8 [H, W, 3]: a view of what swscale wrote, turned as it is to be shown; or NO_PIXELS."""
        if not self.choose(time):
            return NO_PIXELS
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
