"""The feature store: a folder with one folder of .npy files per video, and the recipe of all.

    features/store.json                        the recipe
    features/robbery/cam1.mp4/clip.npy         [T, P, D] float16 or float32, one file per view
    features/robbery/cam1.mp4/times.npy        float64 [N], when each frame is shown, in seconds; left out
                                               where that is its number divided by the rate
    features/robbery/cam1.mp4/meta.json        frames, fps, size, snippets, decoder, source, checksums

On an object store (``s3://bucket/features``) it is :mod:`ssrl_pipeline.features.remote_store`.
Dimensions: N frames, T snippets, P crops or patches, D feature size.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, get_args

import numpy as np

from ssrl_pipeline.console.messages import without_secrets
from ssrl_pipeline.disk.files import clear_leftovers, read_json, whole_folder, write_json
from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.disk.locks import locked
from ssrl_pipeline.disk.npy import NpyWriter, map_npy, rows_crc32
from ssrl_pipeline.disk.spelling import by_name, one_name
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.meta import TIMES, VideoMeta, check_stamps, parse_meta, stored_times, times_format
from ssrl_pipeline.settings import StoredDtype
from ssrl_pipeline.times import FrameTimes, steady

Recipe = dict[str, Any]
DTYPES = get_args(StoredDtype)
_CLAIM = ".lock"
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


class VideoWriter:
    """Takes the features of one video, some snippets at a time."""

    def __init__(self, writers: Mapping[str, NpyWriter]):
        self._writers = writers
        self.meta: VideoMeta | None = None  # set before the end, else the video is not stored
        self.stamps: np.ndarray | None = None  # float64 [N] of FrameTimes, where it has any

    def append(self, features: Mapping[str, np.ndarray]) -> None:
        """view name -> [n, P, D]. Raises StoreError where a feature is no number in the store's type."""
        for name, writer in self._writers.items():
            with np.errstate(over="ignore"):
                rows = features[name].astype(writer.dtype)
            if not np.isfinite(rows).all():
                raise StoreError(
                    f"{name} features of snippet {writer.rows} are no numbers as {writer.dtype}; look for "
                    "damaged weights (`ssrl-pipeline weights verify`), or use --dtype float32"
                )
            writer.append(rows)


class FeatureStore:
    """Features of many videos, all made with one recipe.

    Open one with :meth:`open` to read, or :meth:`create` to read and add.
    """

    def __init__(self, root: Path, recipe: Recipe, dtype: str):
        self.root: Path | str = root
        self._path, self.recipe, self.dtype = root, recipe, dtype

    @classmethod
    def open(cls, root: Path | str) -> "FeatureStore":
        """Opens an existing store: a folder, or the URL of one (see :func:`location`).

        Raises:
            StoreError: there is none, or its store.json is damaged.
        """
        if isinstance(root, str):
            from ssrl_pipeline.features.remote_store import RemoteStore

            return RemoteStore.open(root)
        path = root / "store.json"
        if not path.is_file():
            raise StoreError(
                f"{root}: no feature store here (no store.json); make one with `ssrl-pipeline extract`"
            )
        try:
            return cls(root, *parse_store(read_json(path)))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise StoreError(f"{path}: damaged ({error})") from error

    @classmethod
    def create(cls, root: Path | str, recipe: Recipe, dtype: str = "float32") -> "FeatureStore":
        """Opens the store, or makes it where there is none.

        What killed extractions left in it is cleared.

        Raises:
            StoreError: the store that is there was made with another recipe or type.
        """
        if isinstance(root, str):
            from ssrl_pipeline.features.remote_store import RemoteStore

            return RemoteStore.create(root, recipe, dtype)
        if not (root / "store.json").exists():
            try:
                write_json(root / "store.json", {"recipe": recipe, "dtype": dtype})
            except OSError as error:
                raise StoreError(f"{root}: cannot make a feature store here ({error})") from error
        store = cls.open(root)
        store.require_same(recipe, dtype)
        store._clear_leftovers()
        return store

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
        return sorted(by_name(self._spellings(), self.root, StoreError))

    def _spellings(self) -> list[str]:
        """The names of all videos, as they are spelt on the disk."""
        metas = self._path.rglob("meta.json")
        names = (meta.parent.relative_to(self._path) for meta in metas)
        return sorted(n.as_posix() for n in names if not any(part.startswith(".") for part in n.parts))

    @cached_property
    def _spelt(self) -> dict[str, str]:
        """Name -> its spelling in the store, where that is another."""
        spellings = by_name(self._spellings(), self.root, StoreError)
        return {name: spelling for name, spelling in spellings.items() if name != spelling}

    def _spelling(self, video: str) -> str:
        """A video's name as it is spelt in the store, or is to be where it is new."""
        return video if video.isascii() else self._spelt.get(one_name(video), one_name(video))

    def meta(self, video: str) -> VideoMeta:
        """Raises StoreError where the video is missing or its meta.json damaged."""
        path = self._folder(video) / "meta.json"
        if not path.is_file():
            raise StoreError(f"{self.root}: holds no video {video!r}")
        try:
            return parse_meta(read_json(path))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path}: damaged ({error}); delete the folder and extract again") from error

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        """view name -> [T, P, D], mapped from the disk and not yet in memory.

        Args:
            views: those that are wanted; None: all.
            check: whether to compare checksums, for which the files are read through.
                Whoever wants some snippets of many may do without.

        Raises:
            StoreError: the video is missing, or a file is damaged or of another shape.
        """
        meta, found = self.meta(video), {}
        for name, count in self.recipe["views"].items():
            if views is not None and name not in views:
                continue
            path = self._array(video, name)
            shape = (meta.snippets, count, self.recipe["feature_size"])
            found[name] = map_view(path, path, shape, self.dtype, meta.crc32.get(name) if check else None)
        return found

    def times(self, video: str) -> FrameTimes:
        """When each frame of the video is shown; raises as :meth:`read` does."""
        meta = self.meta(video)
        if not meta.times:
            return steady(meta.fps)
        path = self._array(video, TIMES)
        return stored_times(meta, path, map_view(path, path, *times_format(meta), meta.crc32.get(TIMES)))

    def is_current(self, video: str, source: Path, picture_fps: float | None = None) -> bool:
        """Whether the video is stored, whole by its arrays' sizes, and its source has not changed since.

        The arrays are not read through for it: going on after a stop would begin with reading terabytes.

        Args:
            picture_fps: where the source is a folder of pictures, how many are shown a second.
        """
        try:
            meta = self.meta(video)
            if meta.times:
                path = self._array(video, TIMES)
                map_view(path, path, *times_format(meta), None)
            return is_same_source(meta, source, picture_fps) and bool(self.read(video, check=False))
        except StoreError:
            return False

    @contextmanager
    def claim(self, video: str) -> Iterator[bool]:
        """Whether this process alone may write the video now, of all that extract into the store."""
        try:
            folder = self._folder(video)
        except StoreError:  # a name that cannot be stored, as the writer will say
            yield True
            return
        with locked(folder.parent / f".{folder.name}{_CLAIM}") as holder:
            yield holder is None

    @contextmanager
    def writer(self, video: str) -> Iterator[VideoWriter]:
        """Adds or replaces a video, whole or, where an error is raised, not at all."""
        with (
            whole_folder(self._folder(video)) as folder,
            filled(folder, self.recipe, self.dtype) as writer,
        ):
            yield writer

    def _array(self, video: str, name: str) -> Path:
        path = self._folder(video) / f"{name}.npy"
        if path.is_symlink() and not path.resolve().is_relative_to(self._path.resolve()):
            raise StoreError(f"{path}: a link that leads out of the store; delete the folder, extract again")
        return path

    def _folder(self, video: str) -> Path:
        """The video's folder; names that would lead out of the store are refused."""
        if not is_name_below(video):
            raise StoreError(f"{video!r} is not the name of a video in the store {self.root}")
        folder = self._path / self._spelling(video)
        if not folder.resolve().is_relative_to(self._path.resolve()):
            raise StoreError(f"{folder}: a link that leads out of the store {self.root}; remove it")
        return folder

    def _clear_leftovers(self) -> None:
        for folder, folders, names in os.walk(self._path):
            clear_leftovers(Path(folder))
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.startswith(".") and name.endswith(_CLAIM):
                    with locked(Path(folder, name)):  # which goes with the lock
                        pass


def location(name: Path | str) -> Path | str:
    """What a user named: the URL of a store as it is, or the path of a folder.

    Raises:
        StoreError: a URL that holds credentials.
    """
    if isinstance(name, Path) or not re.match(r"[a-z][a-z0-9+.-]+://", name):
        return Path(name)
    require_no_secrets(name)
    return name


def require_no_secrets(url: str) -> None:
    """Raises StoreError where a store's URL has a user or a query: it is printed, and kept with runs."""
    if "@" in url or "?" in url:
        raise StoreError(
            f"{without_secrets(url)}: credentials belong in the environment, not in the URL of a store"
        )


def is_store(root: Path | str) -> bool:
    """Whether a store lies there, damaged or not. Raises StoreError where that cannot be known."""
    if isinstance(root, str):
        from ssrl_pipeline.features.remote_store import exists

        return exists(f"{root}/store.json")
    return (root / "store.json").exists()


@contextmanager
def filled(folder: Path, recipe: Recipe, dtype: str) -> Iterator[VideoWriter]:
    """Writes the files of one video into a folder that is there: the arrays, and meta.json last."""
    with ExitStack() as stack:
        writers = {}
        for name, count in recipe["views"].items():
            writers[name] = NpyWriter(folder / f"{name}.npy", (count, recipe["feature_size"]), dtype)
            stack.callback(writers[name].close)
        writer = VideoWriter(writers)
        yield writer
        assert writer.meta is not None
        if writer.stamps is not None:
            check_stamps(writer.stamps, writer.meta.frames)
            writers[TIMES] = NpyWriter(folder / f"{TIMES}.npy", (), np.float64)
            stack.callback(writers[TIMES].close)
            writers[TIMES].append(writer.stamps)
    crc32 = {name: one.crc32 for name, one in writers.items()}
    write_json(folder / "meta.json", asdict(replace(writer.meta, crc32=crc32, times=TIMES in writers)))


def map_view(path: Path, name: object, shape: tuple[int, ...], dtype: str, crc32: str | None) -> np.ndarray:
    """One view of a video, mapped from the disk.

    Args:
        crc32: of its rows; None: they are not read, and not checked.

    Raises:
        StoreError: what the user knows as `name` is missing, damaged, or of another shape or type.
    """
    try:
        array = map_npy(path)
        if crc32 and rows_crc32(path) != crc32:
            raise ValueError("its checksum is another: what it holds has changed since it was written")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{name}: missing or damaged ({error}); delete the folder and extract again"
        ) from error
    if array.shape != shape or array.dtype != dtype:
        raise StoreError(
            f"{name}: {array.dtype} {list(array.shape)} where {dtype} {list(shape)} "
            "is expected; delete the folder and extract again"
        )
    return array


def parse_store(content: Any) -> tuple[Recipe, str]:
    """What a store.json holds: recipe and type. Raises ValueError, KeyError or the like where it is none."""
    recipe, dtype = content["recipe"], content["dtype"]
    if dtype not in DTYPES:
        raise ValueError("unknown dtype")
    check_recipe(recipe)
    return recipe, dtype


def is_same_source(meta: VideoMeta, source: Path, picture_fps: float | None = None) -> bool:
    """Whether the video that was stored has not changed since."""
    if picture_fps and picture_fps != meta.fps and source.is_dir():
        return False
    try:
        return SourceFile(source).is_still(meta.source)
    except OSError:
        return False


def is_name_below(name: str, windows: bool = os.name == "nt") -> bool:
    """Whether a name from a file stays below the folder that it is put behind, and is no device."""
    path = PureWindowsPath(name) if windows else PurePosixPath(name)
    parts, drive = path.parts, PureWindowsPath(name).drive
    unfit = path.anchor or drive or ".." in parts or "\0" in name
    devices = windows and (min(name, default=" ") < " " or any(_DEVICE.fullmatch(part) for part in parts))
    return bool(parts) and not unfit and not devices


def check_recipe(recipe: Any) -> None:
    """Raises ValueError, KeyError or the like where views or the feature size are not what they should be."""
    for name, count in recipe["views"].items():
        if not re.fullmatch(r"\w+", name) or name == TIMES or type(count) is not int or count < 1:
            raise ValueError(f"view {name!r} of {count!r}")
    if type(recipe["feature_size"]) is not int or recipe["feature_size"] < 1:
        raise ValueError(f"feature size {recipe['feature_size']!r}")


def require_same_recipe(first: Recipe, second: Recipe, first_name: str, second_name: str) -> None:
    """Raises StoreError, with both recipes named, where features of the two must not meet."""
    if first != second:
        keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        raise StoreError(
            f"recipes differ in {', '.join(keys)}: "
            f"{first_name} is {describe_recipe(first)}, {second_name} is {describe_recipe(second)}"
        )


def describe_recipe(recipe: Recipe) -> str:
    """``[fast, i3d, weights 8544391a, 1024 features, clip 1 + patch2x3 6, bfloat16]``."""
    views = " + ".join(f"{name} {count}" for name, count in recipe.get("views", {}).items())
    weights = str(recipe.get("weights_sha256"))[:8]
    patches = f", {recipe['patches']} patches" if "patches" in recipe else ""
    precision = f", {recipe['precision']}" if "precision" in recipe else ""
    return (
        f"[{recipe.get('preset')}, {recipe.get('backbone')}, weights {weights}, "
        f"{recipe.get('feature_size')} features, {views}{patches}{precision}]"
    )
