"""What a feature store knows of a video beside its features: meta.json, and when its frames are shown.

Dimensions: N frames, T snippets.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssrl_pipeline.disk import Identity
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extractors import Repeats, require_starts
from ssrl_pipeline.times import FrameTimes, require_increasing

TIMES, STARTS = "times", "starts"  # the files beside those of the views
_CRC = "[0-9a-f]{8}"
_MOST_FRAMES = 1024  # of a snippet: far more than any preset's, far less than what fills the memory
_MOST_CHOSEN_OF = 1 << 20  # of a snippet whose frames are chosen by a rate


@dataclass(frozen=True)
class VideoMeta:
    """What the store knows of a video beside its features."""

    frames: int  # as decoded, also those that no snippet was made of
    snippets: int
    fps: float  # while there is no pause; 0 where unknown
    width: int
    height: int
    decoder: str
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    damage: str = ""  # what the decoder complained of; "" where of nothing, or where it is not known
    crc32: dict[str, str] = field(default_factory=dict)  # file -> of its rows; empty where none was taken
    times: bool = False  # whether times.npy has when each frame is shown; else frame / fps is exact
    starts: bool = False  # whether starts.npy has the first frame of each snippet; else it is every 16th
    repeats: dict[str, Any] = field(default_factory=dict)  # of :class:`Repeats`; empty where there is no rule

    @property
    def source(self) -> Identity:
        """What identifies the video's file as it was."""
        return Identity(self.source_bytes, self.source_mtime_ns, self.source_sha256)


def parse_meta(content: Any) -> VideoMeta:
    """What a meta.json holds. Raises ValueError or TypeError where it is none."""
    meta = VideoMeta(**content)
    _check_meta(meta)
    return meta


def stored_times(meta: VideoMeta, name: object, stamps: np.ndarray) -> FrameTimes:
    """What a times.npy holds, in memory. Raises StoreError where it is damaged."""
    stamps = np.array(stamps)
    try:
        require_increasing(stamps)
    except ValueError as error:
        raise StoreError(f"{name}: damaged ({error}); delete the folder and extract again") from error
    return FrameTimes(meta.fps, stamps)


def stored_starts(meta: VideoMeta, name: object, starts: np.ndarray) -> np.ndarray:
    """What a starts.npy holds, in memory. Raises StoreError where it is damaged."""
    starts = np.array(starts)
    try:
        require_starts(starts, meta.snippets, meta.frames)
    except ValueError as error:
        raise StoreError(f"{name}: damaged ({error}); delete the folder and extract again") from error
    return starts


def check_stamps(stamps: np.ndarray, frames: int) -> None:
    """Raises StoreError where these are not the times of so many frames."""
    try:
        if stamps.shape != (frames,) or stamps.dtype != np.float64:
            raise ValueError(f"{stamps.dtype} {list(stamps.shape)} for {frames} frames")
        require_increasing(stamps)
    except ValueError as error:
        raise StoreError(f"the decoder gave times that cannot be ({error})") from error


def _check_meta(meta: VideoMeta) -> None:
    """Raises ValueError: a length that is none would end in an error far away, or in all of the memory."""
    for name in ("frames", "snippets", "width", "height", "source_bytes"):
        value = getattr(meta, name)
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} {value!r}")
    most = _MOST_CHOSEN_OF if meta.starts else _MOST_FRAMES
    if not meta.snippets or not 0 < meta.frames <= most * meta.snippets:
        raise ValueError(f"{meta.frames} frames in {meta.snippets} snippets")
    if type(meta.fps) not in (int, float) or not 0 <= meta.fps < math.inf:
        raise ValueError(f"fps {meta.fps!r}")
    if type(meta.times) is not bool or (meta.times and not meta.fps):
        raise ValueError(f"times {meta.times!r} at fps {meta.fps!r}")
    if type(meta.starts) is not bool:
        raise ValueError(f"starts {meta.starts!r}")
    Repeats.from_json(meta.repeats)
    if type(meta.damage) is not str:
        raise ValueError(f"damage {meta.damage!r}")
    if type(meta.crc32) is not dict or not all(re.fullmatch(_CRC, str(crc)) for crc in meta.crc32.values()):
        raise ValueError(f"crc32 {meta.crc32!r}")
