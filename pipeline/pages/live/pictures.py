"""The latest picture of each camera, made small where it is read, and a JPEG when somebody asks for it.

Dimensions: frames are RGB, uint8 [H, W, 3].
"""

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

WIDTH = 640  # pixels at most
OFTEN, SELDOM = 1.0, 10.0  # seconds from one picture to the next, while somebody looks and while nobody does
QUALITY = 80


class Pictures:
    """Keeps one of each camera.

    Args:
        looked_at: whether somebody looks.
        tell: takes a camera's name and its picture's number, from 1.
    """

    def __init__(self, looked_at: Callable[[], bool], tell: Callable[[str, int], object]):
        self._looked_at, self._tell = looked_at, tell
        self._lock = threading.Lock()
        self._taken: dict[str, float] = {}
        self._latest: dict[str, tuple[int, np.ndarray | bytes]] = {}

    def see(self, camera: str, frame: np.ndarray) -> None:
        """Takes a frame, if it is time for one; up to 4 ms of 4K, in the thread that scores."""
        now = time.monotonic()
        pace = OFTEN if self._looked_at() else SELDOM
        if now - self._taken.get(camera, float("-inf")) < pace:
            return
        self._taken[camera] = now
        small = _small(frame)
        with self._lock:
            number = self._latest[camera][0] + 1 if camera in self._latest else 1
            self._latest[camera] = number, small
        self._tell(camera, number)

    def jpeg(self, camera: str) -> bytes | None:
        """The latest; None where there is none yet."""
        with self._lock:
            number, found = self._latest.get(camera, (0, b""))
        if isinstance(found, bytes):
            return found or None
        _, coded = cv2.imencode(
            ".jpg", cv2.cvtColor(found, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        with self._lock:
            if self._latest[camera][0] == number:
                self._latest[camera] = number, coded.tobytes()
        return coded.tobytes()


def _small(frame: np.ndarray) -> np.ndarray:
    """A copy, as the frame's memory is used again."""
    height, width = frame.shape[:2]
    if width <= WIDTH:
        return frame.copy()
    size = WIDTH, max(1, round(height * WIDTH / width))
    small: np.ndarray = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return small
