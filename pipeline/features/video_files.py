"""The files of one video in a store, whatever it lies on: written into a folder, and mapped from there.

    clip.npy         [T, P, D] float16 or float32, one file per view
    times.npy        float64 [N], when each frame is shown, in seconds; left out where that is its number
                     divided by the rate
    starts.npy       int64 [T], the first frame of each snippet; left out where that is every 16th
    meta.json        frames, fps, size, snippets, decoder, source, checksums

Dimensions: N frames, T snippets, P crops or patches, D feature size.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.disk import NpyWriter, map_npy, rows_crc32, write_json
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.meta import STARTS, TIMES, VideoMeta, check_stamps
from ssrl_pipeline.features.recipe import Recipe
from ssrl_pipeline.scales import view_size

META = "meta.json"
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


class ArrayFormat(NamedTuple):
    """What an array should be."""

    shape: tuple[int, ...]
    dtype: str
    crc32: str | None = None  # of its rows; None: they are not read, and not checked


class FeatureWriter:
    """Takes the features of one video, some snippets at a time."""

    def __init__(self, writers: Mapping[str, NpyWriter]):
        self._writers = writers
        self.meta: VideoMeta | None = None  # set before the end, else the video is not stored
        self.stamps: np.ndarray | None = None  # float64 [N] of FrameTimes, where it has any
        self.starts: np.ndarray | None = None  # int64 [T], where they are not every 16th frame

    def append(self, features: Mapping[str, np.ndarray]) -> None:
        """view name -> [n, P, D]. Raises StoreError where a feature is not finite in the store's type."""
        for name, writer in self._writers.items():
            with np.errstate(over="ignore"):
                rows = features[name].astype(writer.dtype)
            if not np.isfinite(rows).all():
                raise StoreError(
                    f"{name} features of snippet {writer.rows} are not finite as {writer.dtype}; look for "
                    "damaged weights (`ssrl-pipeline weights verify`), or use --dtype float32"
                )
            writer.append(rows)


@contextmanager
def filled(folder: Path, recipe: Recipe, dtype: str) -> Iterator[FeatureWriter]:
    """Writes the files of one video into a folder that is there: the arrays, and meta.json last."""
    with ExitStack() as stack:
        writers = {}
        for name, count in recipe["views"].items():
            writers[name] = NpyWriter(folder / f"{name}.npy", (count, view_size(recipe, name)), dtype)
            stack.callback(writers[name].close)
        writer = FeatureWriter(writers)
        yield writer
        assert writer.meta is not None
        if writer.stamps is not None:
            check_stamps(writer.stamps, writer.meta.frames)
        beside = {TIMES: writer.stamps, STARTS: writer.starts}
        for name, numbers in beside.items():
            if numbers is not None:
                writers[name] = NpyWriter(folder / f"{name}.npy", (), numbers.dtype)
                stack.callback(writers[name].close)
                writers[name].append(numbers)
    crc32 = {name: one.crc32 for name, one in writers.items()}
    meta = replace(writer.meta, crc32=crc32, times=TIMES in writers, starts=STARTS in writers)
    write_json(folder / META, asdict(meta))


def map_array(path: Path, name: object, wanted: ArrayFormat) -> np.ndarray:
    """One array of a video, mapped from the disk.

    Raises:
        StoreError: what the user knows as `name` is missing, damaged, or of another shape or type.
    """
    try:
        array = map_npy(path)
        if wanted.crc32 and rows_crc32(path) != wanted.crc32:
            raise ValueError("its checksum is another: what it holds has changed since it was written")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{name}: missing or damaged ({error}); delete the folder and extract again"
        ) from error
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        raise StoreError(
            f"{name}: {array.dtype} {list(array.shape)} where {wanted.dtype} {list(wanted.shape)} "
            "is expected; delete the folder and extract again"
        )
    return array


def is_name_below(name: str, windows: bool = os.name == "nt") -> bool:
    """Whether a name from a file stays below the folder that it is put behind, and is no device."""
    path = PureWindowsPath(name) if windows else PurePosixPath(name)
    parts, drive = path.parts, PureWindowsPath(name).drive
    unfit = path.anchor or drive or ".." in parts or "\0" in name
    devices = windows and (min(name, default=" ") < " " or any(_DEVICE.fullmatch(part) for part in parts))
    return bool(parts) and not unfit and not devices
