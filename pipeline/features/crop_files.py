"""Features with a file for each crop of a video, as XD-Violence's authors and UR-DMU released them.

    X__0.npy ... X__4.npy or X__9.npy    [T, F] each; X is the video's bare name

XD-Violence's optical flow, in folders Flow and FlowTest beside RGB and RGBTest, has the same names: it is
left out where there is anything else.

Dimensions: T snippets, P crops, F feature size.
"""

import re
from pathlib import Path

import numpy as np

from ssrl_pipeline.disk import map_npy, one_name
from ssrl_pipeline.errors import StoreError

_NAME = re.compile(r"(?P<video>.+?)(?:_i3d)?__(?P<crop>[0-9])\.npy")
_FLOW = ("flow", "flowtest")

AXES = {"two": 2, "three": 3}
Crops = dict[int, Path]  # number of a crop -> its file


def find_crops(root: Path) -> dict[str, Crops]:
    """Bare name of each video -> its crops' files, of all such files below a folder.

    Raises:
        StoreError: two files have one name.
    """
    paths = [path for path in sorted(root.rglob("*__[0-9].npy")) if not _is_hidden(path, root)]
    found: dict[str, Crops] = {}
    for path in [path for path in paths if not _is_flow(path, root)] or paths:
        if name := _NAME.fullmatch(path.name):
            crops = found.setdefault(one_name(name["video"]), {})
            first = crops.setdefault(int(name["crop"]), path)
            if first != path:
                raise StoreError(
                    f"{first} and {path}: one name for two files; "
                    "set data.features to a folder that holds one"
                )
    return found


def crops_shape(videos: dict[str, Crops]) -> tuple[int, int]:
    """P and F, by the highest number of a crop and the first file. Raises StoreError: it is damaged."""
    first = next(iter(videos.values()))
    return 1 + max(map(max, videos.values())), _map(first[min(first)]).shape[1]


def map_crops(crops: Crops, count: int, size: int) -> list[np.ndarray]:
    """The crops in order, [T, F] each, mapped from the disk.

    Args:
        count: how many there should be, P.
        size: F.

    Raises:
        StoreError: a crop is missing or damaged, or has another shape than the first.
    """
    if missing := sorted(set(range(count)) - set(crops)):
        path = crops[min(crops)]
        raise StoreError(
            f"{path.with_name(re.sub('[0-9].npy$', f'{missing[0]}.npy', path.name))}: no such file, where "
            f"a video has {count} crops"
        )
    if surplus := sorted(set(crops) - set(range(count))):
        raise StoreError(f"{crops[surplus[0]]}: a crop too many, where a video has {count}")
    arrays = [_map(crops[number]) for number in range(count)]
    for number, array in enumerate(arrays):
        if array.shape != (len(arrays[0]), size):
            raise StoreError(
                f"{crops[number]}: {list(array.shape)} where {[len(arrays[0]), size]} is expected, "
                "as of the other crops"
            )
    return arrays


def _map(path: Path) -> np.ndarray:
    """[T, F]."""
    return map_features(path, "two", "not the features of a crop")


def map_features(path: Path, axes: str, fault: str) -> np.ndarray:
    """An array that others released, mapped from the disk.

    Args:
        path: of an .npy file.
        axes: how many it has, as a word of :data:`AXES`.
        fault: what is said of one that is damaged or something else.

    Raises:
        StoreError: it is.
    """
    try:
        array = map_npy(path)
        if array.ndim != AXES[axes] or not array.size or array.dtype.kind != "f":
            raise ValueError(f"not one array of floating-point numbers with {axes} axes")
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged, or {fault} ({error})") from error
    return array


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_flow(path: Path, root: Path) -> bool:
    return any(part.lower() in _FLOW for part in path.relative_to(root).parts[:-1])
