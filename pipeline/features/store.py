"""The feature store: one folder of .npy files per video, and the recipe of all.

    features/store.json                        the recipe
    features/robbery/cam1.mp4/                 see :mod:`ssrl_pipeline.features.video_files`

What holds the files is a folder of this machine (:mod:`ssrl_pipeline.features.folder_store`) or of an object
store (:mod:`ssrl_pipeline.features.remote_store`), which :mod:`ssrl_pipeline.features.opening` chooses.
Dimensions: N frames, T snippets, P crops or patches, D feature size.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssrl_pipeline.disk import SourceFile, by_name, one_name
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.meta import STARTS, TIMES, VideoMeta, stored_starts, stored_times
from ssrl_pipeline.features.recipe import Recipe, require_same_recipe
from ssrl_pipeline.features.video_files import ArrayFormat, FeatureWriter, filled, is_name_below
from ssrl_pipeline.scales import view_size
from ssrl_pipeline.times import FrameTimes, steady


class StoreFiles(Protocol):
    """Where a store's files lie. Videos go by their names as they are spelt there."""

    @property
    def root(self) -> Path | str:
        """What a user calls the store: a folder, or the URL of one."""

    def head(self) -> Any:
        """The content of store.json. Raises FileNotFoundError, or ValueError and the like: it is damaged."""

    def put_head(self, content: dict[str, Any]) -> None:
        """Writes store.json where there is none. Raises OSError or StoreError: nothing can be written."""

    def clear_leftovers(self) -> None:
        """Removes what killed extractions left."""

    def videos(self) -> list[str]:
        """All that have a meta.json, sorted."""

    def meta(self, video: str) -> VideoMeta | None:
        """What its meta.json says; None where there is none. Raises StoreError: it is damaged."""

    def name_of(self, video: str, array: str) -> object:
        """What a user knows an array's file as."""

    def arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> dict[str, np.ndarray]:
        """Name -> array, mapped. Raises StoreError: one is missing, damaged or of another format."""

    def has_arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> bool:
        """Whether all are there, by their sizes: they are not read through for it."""

    def claim(self, video: str) -> AbstractContextManager[bool]:
        """Whether this process alone may write the video now; StoreError where its name cannot be stored."""

    def replaced(self, video: str) -> AbstractContextManager[Path]:
        """A folder to fill, which becomes the video's, whole or, where an error is raised, not at all."""


class FeatureStore:
    """Features of many videos, all made with one recipe, to read and to add to.

    :func:`ssrl_pipeline.features.opening.open_store` gives one.
    """

    def __init__(self, files: StoreFiles, recipe: Recipe, dtype: str):
        self._files, self.recipe, self.dtype = files, recipe, dtype

    @property
    def root(self) -> Path | str:
        """A folder, or the URL of one."""
        return self._files.root

    def require_same(self, recipe: Recipe, dtype: str) -> None:
        """Raises StoreError where the store was made with another recipe or type."""
        require_same_recipe(self.recipe, recipe, f"the store {self.root}", "this extraction")
        if self.dtype != dtype:
            raise StoreError(f"{self.root}: the store holds {self.dtype}, not {dtype}; choose another folder")

    def videos(self) -> list[str]:
        """The names of all videos, paths below the videos' root, sorted.

        Raises:
            StoreError: two videos have one name.
        """
        return sorted(by_name(self._files.videos(), self.root, StoreError))

    @cached_property
    def _spelt(self) -> dict[str, str]:
        """Name -> its spelling in the store, where that is another."""
        spellings = by_name(self._files.videos(), self.root, StoreError)
        return {name: spelling for name, spelling in spellings.items() if name != spelling}

    def _spelling(self, video: str) -> str:
        """A video's name as it is spelt in the store, or is to be where it is new.

        Names that would lead out of the store are refused.
        """
        if not is_name_below(video):
            raise StoreError(f"{video!r} is not the name of a video in the store {self.root}")
        return video if video.isascii() else self._spelt.get(one_name(video), one_name(video))

    def meta(self, video: str) -> VideoMeta:
        """Raises StoreError where the video is missing or its meta.json damaged."""
        meta = self._files.meta(self._spelling(video))
        if meta is None:
            raise StoreError(f"{self.root}: holds no video {video!r}")
        return meta

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        """As :meth:`ssrl_pipeline.features.reading.Features.read` says.

        Raises:
            StoreError: the video is missing, or a file is damaged or of another shape.
        """
        formats = self._formats(self.meta(video), check)
        wanted = {view: formats[view] for view in self.recipe["views"] if views is None or view in views}
        return self._files.arrays(self._spelling(video), wanted)

    def times(self, video: str) -> FrameTimes:
        """When each frame of the video is shown; raises as :meth:`read` does."""
        meta, spelling = self.meta(video), self._spelling(video)
        if not meta.times:
            return steady(meta.fps)
        return stored_times(meta, self._files.name_of(spelling, TIMES), self._beside(meta, spelling, TIMES))

    def starts(self, video: str) -> np.ndarray | None:
        """The first frame of each snippet, int64 [T]; None: every 16th. Raises as :meth:`read` does."""
        meta, spelling = self.meta(video), self._spelling(video)
        if not meta.starts:
            return None
        starts = self._beside(meta, spelling, STARTS)
        return stored_starts(meta, self._files.name_of(spelling, STARTS), starts)

    def _beside(self, meta: VideoMeta, spelling: str, name: str) -> np.ndarray:
        """An array that is no view."""
        return self._files.arrays(spelling, {name: self._formats(meta)[name]})[name]

    def _formats(self, meta: VideoMeta, check: bool = True) -> dict[str, ArrayFormat]:
        """All arrays of a video, by name."""
        shapes = {
            view: (meta.snippets, count, view_size(self.recipe, view))
            for view, count in self.recipe["views"].items()
        }
        formats = {view: ArrayFormat(shape, self.dtype) for view, shape in shapes.items()}
        if meta.times:
            formats[TIMES] = ArrayFormat((meta.frames,), "float64")
        if meta.starts:
            formats[STARTS] = ArrayFormat((meta.snippets,), "int64")
        if check:
            formats = {name: one._replace(crc32=meta.crc32.get(name)) for name, one in formats.items()}
        return formats

    def is_current(self, video: str, source: Path, picture_fps: float | None = None) -> bool:
        """Whether the video is stored, whole by its arrays' sizes, and its source has not changed since.

        The arrays are not read through for it: going on after a stop would begin with reading terabytes.

        Args:
            picture_fps: where the source is a folder of pictures, how many are shown a second.
        """
        try:
            meta = self.meta(video)
            whole = self._files.has_arrays(self._spelling(video), self._formats(meta, check=False))
        except StoreError:
            return False
        return whole and is_same_source(meta, source, picture_fps)

    @contextmanager
    def claim(self, video: str) -> Iterator[bool]:
        """Whether this process alone may write the video now, of all that extract into the store.

        On an object store it always may: nobody is kept out there.
        """
        with ExitStack() as stack:
            try:
                is_ours = stack.enter_context(self._files.claim(self._spelling(video)))
            except StoreError:  # a name that cannot be stored, as the writer will say
                is_ours = True
            yield is_ours

    @contextmanager
    def writer(self, video: str) -> Iterator[FeatureWriter]:
        """Adds or replaces a video, whole or, where an error is raised, not at all."""
        with (
            self._files.replaced(self._spelling(video)) as folder,
            filled(folder, self.recipe, self.dtype) as writer,
        ):
            yield writer


def is_same_source(meta: VideoMeta, source: Path, picture_fps: float | None = None) -> bool:
    """Whether the video that was stored has not changed since."""
    if picture_fps and picture_fps != meta.fps and source.is_dir():
        return False
    try:
        return SourceFile(source).is_still(meta.source)
    except OSError:
        return False
