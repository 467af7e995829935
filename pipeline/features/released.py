"""Features in the layout that RTFM and SSRL released, read where they lie.

    X_i3d.npy            [T, 10, F]   crops; X is the video's bare name
    X_patch23_i3d.npy    [T,  6, F]   patches, likewise 35 [T, 15, F] and 47 [T, 28, F]

in any folders below one. The UCF-Crime training files are segment means and have
their axes the other way round, [P, 32, F]. A file is read as such where its first
axis is the number of patches or crops and its second is 32; of snippets, [T, P, F],
the second axis is the number of patches. Where both readings fit, neither is taken.

A file for each crop, X__0.npy to X__4.npy or X__9.npy, as XD-Violence's authors and UR-DMU released them,
is of :mod:`ssrl_pipeline.features.crop_files`.

Dimensions: T snippets or segments, P crops or patches, F feature size.
"""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.disk import one_name
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extractors import SNIPPET_FRAMES
from ssrl_pipeline.features.crop_files import crops_shape, find_crops, map_crops, map_features
from ssrl_pipeline.features.meta import VideoMeta
from ssrl_pipeline.features.recipe import Recipe
from ssrl_pipeline.features.segments import NOTES, SEGMENTS, read_notes
from ssrl_pipeline.scales import scale_of, view_of
from ssrl_pipeline.times import FrameTimes

_NAME = re.compile(r"(?P<video>.+?)(?:_patch(?P<rows>\d)(?P<columns>\d))?_i3d\.npy")


class _View(NamedTuple):
    array: np.ndarray  # [T, P, F]
    segmented: bool


class ReleasedFeatures:
    """Released files below a folder, with the reading methods of a feature store.

    Raises:
        StoreError: there are none, a name is there twice, or the first file fits no layout.
    """

    def __init__(self, root: Path):
        self.root = root
        self._files, self._crops = _find(root), find_crops(root)
        if both := sorted(self._files["clip"].keys() & self._crops.keys()):
            raise StoreError(
                f"{self._files['clip'][both[0]]} and {both[0]}__0.npy: crops of one video in two layouts; "
                "set data.features to a folder that holds one"
            )
        if not self._files["clip"] and not self._crops:
            raise StoreError(
                f"{root}: no released features here (no file is named X_i3d.npy, or X__0.npy as of a crop)"
            )
        notes = read_notes(root / NOTES)
        self._segments = (notes.segments if notes else None) or SEGMENTS
        self.recipe = notes.recipe if notes else self._guess_recipe()

    def videos(self) -> list[str]:
        """The bare names of all videos with crop features, sorted."""
        return sorted([*self._files["clip"], *self._crops])

    def meta(self, video: str) -> VideoMeta:
        """Counts 16 frames a snippet, since nothing tells the true length; rate and size are 0, unknown.

        Raises:
            StoreError: the file of crops is missing, damaged, or of another shape.
        """
        if video in self._crops:
            snippets, first = len(self._map_crops(video)[0]), self._crops[video][0]
        else:
            snippets, first = len(self._view(video, "clip").array), self._path(video, "clip")
        status = first.stat()
        return VideoMeta(
            frames=SNIPPET_FRAMES * snippets,
            snippets=snippets,
            fps=0,
            width=0,
            height=0,
            decoder="unknown",
            source_bytes=status.st_size,
            source_mtime_ns=status.st_mtime_ns,
            source_sha256="",
        )

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        """view name -> [T, P, F], mapped from the disk and not yet in memory.

        Patches of more snippets than the crops are cut, and of fewer have their last
        one repeated, as in the published code for ShanghaiTech. There are no checksums to check.

        Raises:
            StoreError: a file is missing, damaged, or of another shape.
        """
        clip = self._view(video, "clip")
        wanted = [name for name in self.recipe["views"] if views is None or name in views]
        found = {name: self._view(video, name) for name in wanted}
        for name, view in found.items():
            if view.segmented != clip.segmented:
                raise StoreError(
                    f"{self._path(video, name)}: holds {'segments' if view.segmented else 'snippets'} "
                    f"where {self._path(video, 'clip')} holds the other"
                )
        return {name: _to_length(view.array, len(clip.array)) for name, view in found.items()}

    def times(self, video: str) -> FrameTimes:
        """Not known."""
        return FrameTimes()

    def starts(self, video: str) -> np.ndarray | None:
        """All are of 16 frames."""
        return None

    def is_segmented(self, video: str) -> bool:
        """Whether the files are means of segments, which do not tell how long the video is."""
        return video not in self._crops and self._view(video, "clip").segmented

    def _map_crops(self, video: str) -> list[np.ndarray]:
        return map_crops(self._crops[video], self.recipe["views"]["clip"], self.recipe["feature_size"])

    def _view(self, video: str, name: str) -> _View:
        if name == "clip" and video in self._crops:
            return _View(
                np.stack(self._map_crops(video), axis=1), segmented=False
            )  # [T, F] each -> [T, P, F]
        path, count, size = self._path(video, name), self.recipe["views"][name], self.recipe["feature_size"]
        array = _map(path)
        snippets, segmented = array.shape[1] == count, array.shape[:2] == (count, self._segments)
        if array.shape[2] != size or snippets == segmented:
            both = "both fit" if snippets and segmented else "neither fits"
            raise StoreError(
                f"{path}: {list(array.shape)} where [snippets, {count}, {size}] or "
                f"[{count}, {self._segments}, {size}] is expected, and {both}"
            )
        return _View(array.transpose(1, 0, 2) if segmented else array, segmented)

    def _path(self, video: str, view: str) -> Path:
        try:
            return self._files[view][video]
        except KeyError:
            raise StoreError(f"{self.root}: holds no {released_name(video, view)}") from None

    def _guess_recipe(self) -> Recipe:
        """Views from the names; the number of crops and the feature size from the first file of crops."""
        if self._files["clip"]:
            path = next(iter(self._files["clip"].values()))
            first, second, size = _map(path).shape
            if first == second == SEGMENTS:
                raise StoreError(
                    f"{path}: {[first, second, size]} has {SEGMENTS} snippets of {SEGMENTS} crops or "
                    f"{SEGMENTS} segments; `ssrl-pipeline store export` writes a {NOTES} that tells"
                )
            count = first if second == SEGMENTS else second
        else:
            count, size = crops_shape(self._crops)
        scales = sorted(scale for view in self._files if (scale := scale_of(view)))
        counts = {view_of(scale): math.prod(map(int, scale.split("x"))) for scale in scales}
        return {
            "preset": "released",
            "backbone": "unknown",
            "weights_sha256": None,
            "feature_size": size,
            "views": {"clip": count, **counts},
            "geometry": {},
        }


def released_name(video: str, view: str) -> str:
    """``Abuse001_x264`` and ``patch2x3`` -> ``Abuse001_x264_patch23_i3d.npy``.

    Raises:
        StoreError: released files have no name for the view.
    """
    if view != "clip" and not re.fullmatch(r"\dx\d", scale_of(view) or ""):
        raise StoreError(f"the released layout has no name for the view {view!r}: only clip and patchRxC")
    patch = "" if view == "clip" else "_" + view.replace("x", "")
    return f"{video}{patch}_i3d.npy"


def _find(root: Path) -> dict[str, dict[str, Path]]:
    """view name -> bare name of the video -> file, of all released files below a folder."""
    files: dict[str, dict[str, Path]] = {"clip": {}}
    for path in sorted(root.rglob("*_i3d.npy")):
        name = _NAME.fullmatch(path.name)
        if name is None or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        view = view_of(f"{name['rows']}x{name['columns']}") if name["rows"] else "clip"
        first = files.setdefault(view, {}).setdefault(one_name(name["video"]), path)
        if first != path:
            raise StoreError(
                f"{first} and {path}: one name for two files; set data.features to a folder that holds one"
            )
    return files


def _map(path: Path) -> np.ndarray:
    """[T, P, F], or a training video's [P, segments, F]."""
    return map_features(path, "three", "no released features")


def _to_length(array: np.ndarray, snippets: int) -> np.ndarray:
    """Cuts, or repeats the last snippet: [t, P, F] -> [T, P, F]."""
    if len(array) >= snippets:
        return array[:snippets]
    return np.concatenate([array, np.repeat(array[-1:], snippets - len(array), axis=0)])
