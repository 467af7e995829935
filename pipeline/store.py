"""The feature store: a folder with one folder of .npy files per video, and the recipe of all.

    features/store.json                        the recipe
    features/robbery/cam1.mp4/clip.npy         [T, P, D] float16 or float32, one file per view
    features/robbery/cam1.mp4/meta.json        frames, fps, size, snippets, decoder, source

Dimensions: T snippets, P crops or patches, D feature size.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.files import file_sha256, whole_folder, write_json
from ssrl_pipeline.npy import NpyWriter

Recipe = dict[str, Any]
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class VideoMeta:
    """What the store knows of a video beside its features."""

    frames: int  # as decoded
    snippets: int
    fps: float
    width: int
    height: int
    decoder: str
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str


class VideoWriter:
    """Takes the features of one video, some snippets at a time."""

    def __init__(self, writers: Mapping[str, NpyWriter]):
        self._writers = writers
        self.meta: VideoMeta | None = None  # set before the end, else the video is not stored

    def append(self, features: Mapping[str, np.ndarray]) -> None:
        """view name -> [n, P, D]."""
        for name, writer in self._writers.items():
            writer.append(features[name])

    def restart(self) -> None:
        for writer in self._writers.values():
            writer.restart()


class FeatureStore:
    """Features of many videos, all made with one recipe.

    Open one with :meth:`open` to read, or :meth:`create` to read and add.
    """

    def __init__(self, root: Path, recipe: Recipe, dtype: str):
        self.root, self.recipe, self.dtype = root, recipe, dtype

    @classmethod
    def open(cls, root: Path) -> "FeatureStore":
        """Opens an existing store.

        Raises:
            StoreError: there is none, or its store.json is damaged.
        """
        path = root / "store.json"
        if not path.is_file():
            raise StoreError(
                f"{root}: no feature store here (no store.json); make one with `ssrl-pipeline extract`"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            recipe, dtype = content["recipe"], content["dtype"]
            if dtype not in DTYPES or not all(isinstance(p, int) for p in recipe["views"].values()):
                raise ValueError("unknown dtype or views")
            int(recipe["feature_size"])
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise StoreError(f"{path}: damaged ({error})") from error
        return cls(root, recipe, dtype)

    @classmethod
    def create(cls, root: Path, recipe: Recipe, dtype: str = "float32") -> "FeatureStore":
        """Opens the store, or makes it where there is none.

        Raises:
            StoreError: the store that is there was made with another recipe or type.
        """
        if not (root / "store.json").exists():
            try:
                write_json(root / "store.json", {"recipe": recipe, "dtype": dtype})
            except OSError as error:
                raise StoreError(f"{root}: cannot make a feature store here ({error})") from error
        store = cls.open(root)
        require_same_recipe(store.recipe, recipe, f"the store {root}", "this extraction")
        if store.dtype != dtype:
            raise StoreError(f"{root}: the store holds {store.dtype}, not {dtype}; choose another folder")
        return store

    def videos(self) -> list[str]:
        """The names of all videos, paths below the videos' root, sorted."""
        metas = self.root.rglob("meta.json")
        names = (meta.parent.relative_to(self.root) for meta in metas)
        return sorted(n.as_posix() for n in names if not any(part.startswith(".") for part in n.parts))

    def meta(self, video: str) -> VideoMeta:
        """Raises StoreError where the video is missing or its meta.json damaged."""
        path = self._folder(video) / "meta.json"
        if not path.is_file():
            raise StoreError(f"{self.root}: holds no video {video!r}")
        try:
            return VideoMeta(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path}: damaged ({error}); delete the folder and extract again") from error

    def read(self, video: str) -> dict[str, np.ndarray]:
        """view name -> [T, P, D], mapped from the disk and not yet in memory.

        Raises:
            StoreError: the video is missing, or a file is damaged or of another shape.
        """
        snippets = self.meta(video).snippets
        views = {}
        for name, count in self.recipe["views"].items():
            path = self._folder(video) / f"{name}.npy"
            shape = (snippets, count, self.recipe["feature_size"])
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                if not isinstance(array, np.ndarray):
                    raise ValueError("not one array")
            except Exception as error:  # NumPy's reader raises nearly anything on a damaged file
                raise StoreError(
                    f"{path}: missing or damaged ({error}); delete the folder and extract again"
                ) from error
            if array.shape != shape or array.dtype != self.dtype:
                raise StoreError(
                    f"{path}: {array.dtype} {list(array.shape)} where {self.dtype} {list(shape)} "
                    "is expected; delete the folder and extract again"
                )
            views[name] = array
        return views

    def is_current(self, video: str, source: Path) -> bool:
        """Whether the video is stored, whole, and its source has not changed since."""
        try:
            meta = self.meta(video)
            self.read(video)
        except StoreError:
            return False
        status = source.stat()
        if status.st_size != meta.source_bytes:
            return False
        return status.st_mtime_ns == meta.source_mtime_ns or file_sha256(source) == meta.source_sha256

    @contextmanager
    def writer(self, video: str) -> Iterator[VideoWriter]:
        """Adds or replaces a video, whole or, where an error is raised, not at all."""
        with whole_folder(self._folder(video)) as folder:
            with ExitStack() as stack:
                writers = {}
                for name, count in self.recipe["views"].items():
                    row = (count, self.recipe["feature_size"])
                    writers[name] = NpyWriter(folder / f"{name}.npy", row, self.dtype)
                    stack.callback(writers[name].close)
                writer = VideoWriter(writers)
                yield writer
            assert writer.meta is not None
            write_json(folder / "meta.json", asdict(writer.meta))

    def _folder(self, video: str) -> Path:
        """The video's folder; names that would lead out of the store are refused."""
        folder, parts = self.root / video, Path(video).parts
        if not parts or Path(video).is_absolute() or ".." in parts:
            raise StoreError(f"{video!r} is not the name of a video in the store {self.root}")
        return folder


def require_same_recipe(first: Recipe, second: Recipe, first_name: str, second_name: str) -> None:
    """Raises StoreError, with both recipes named, where features of the two must not meet."""
    if first != second:
        keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        raise StoreError(
            f"recipes differ in {', '.join(keys)}: "
            f"{first_name} is {describe_recipe(first)}, {second_name} is {describe_recipe(second)}"
        )


def describe_recipe(recipe: Recipe) -> str:
    """``fast, i3d, weights 8544391a, 1024 features, clip 1 + patch2x3 6``."""
    views = " + ".join(f"{name} {count}" for name, count in recipe.get("views", {}).items())
    weights = str(recipe.get("weights_sha256"))[:8]
    return (
        f"[{recipe.get('preset')}, {recipe.get('backbone')}, weights {weights}, "
        f"{recipe.get('feature_size')} features, {views}]"
    )
