"""A feature store on an object store, named by its URL, with the layout that a folder has.

    ssrl-pipeline extract --videos videos/ --features s3://bucket/features

There is no renaming there: a video counts as stored when its meta.json is, which is written last
and removed first. What is read is kept in a cache folder of this machine, and mapped from there.
Credentials are those that s3fs and gcsfs find by themselves; a URL may hold none.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.disk.files import clear_leftovers, whole_file, whole_folder
from ssrl_pipeline.disk.locks import locked
from ssrl_pipeline.disk.npy import HEADER_BYTES
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError
from ssrl_pipeline.extractors.decoding.video import is_utf8
from ssrl_pipeline.features.folder_store import (
    FeatureStore,
    Recipe,
    VideoWriter,
    filled,
    is_name_below,
    is_same_source,
    map_view,
    parse_store,
    require_no_secrets,
)
from ssrl_pipeline.features.meta import TIMES, VideoMeta, parse_meta, stored_times, times_format
from ssrl_pipeline.times import FrameTimes, steady

CACHE = "SSRL_PIPELINE_CACHE"  # names the cache folder
CACHE_GB = "SSRL_PIPELINE_CACHE_GB"  # how much of features it holds
_META = "meta.json"


class RemoteStore(FeatureStore):
    """Like a FeatureStore of a folder; open one with :meth:`FeatureStore.open` or `create` and a URL.

    There are no locks: two runs that extract the same video both write it, and the later one stays.
    """

    root: str

    def __init__(self, url: str, files: Any, path: str, recipe: Recipe, dtype: str):
        self.root, self.recipe, self.dtype = url, recipe, dtype
        self._files, self._base = files, path
        self._cache = Cache(cache_folder(), cache_bytes())

    @classmethod
    def open(cls, root: Path | str) -> "RemoteStore":
        """Raises StoreError: there is none, it cannot be reached, or its store.json is damaged."""
        url = str(root)
        files, path = connect(url)
        try:
            with _told(url):
                content = json.loads(files.cat_file(f"{path}/store.json"))
            return cls(url, files, path, *parse_store(content))
        except FileNotFoundError:
            raise StoreError(
                f"{url}: no feature store here (no store.json); make one with `ssrl-pipeline extract`"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"{url}/store.json: damaged ({error})") from error

    @classmethod
    def create(cls, root: Path | str, recipe: Recipe, dtype: str = "float32") -> "RemoteStore":
        """Raises StoreError: it cannot be written, or holds features of another recipe or type."""
        url = str(root)
        files, path = connect(url)
        content = json.dumps({"recipe": recipe, "dtype": dtype}, indent=2, ensure_ascii=False) + "\n"
        try:
            with _told(url):
                if not files.exists(f"{path}/store.json"):
                    files.pipe_file(f"{path}/store.json", content.encode(), mode="create")
        except FileExistsError:  # another run was quicker
            pass
        except FileNotFoundError as error:
            raise StoreError(f"{url}: cannot make a feature store here ({_line(error)})") from error
        store = cls.open(url)
        store.require_same(recipe, dtype)
        return store

    def _spellings(self) -> list[str]:
        with _told(self.root):
            paths = self._files.find(self._base)
        names = (path.removeprefix(f"{self._base}/").rpartition("/") for path in paths)
        return sorted(folder for folder, _, name in names if folder and name == _META)

    def meta(self, video: str) -> VideoMeta:
        path = f"{self._key(video)}/{_META}"
        try:
            with _told(self.root):
                content = json.loads(self._files.cat_file(path))
            return parse_meta(content)
        except FileNotFoundError:
            raise StoreError(f"{self.root}: holds no video {video!r}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"{self.root}/{video}/{_META}: damaged ({error}); extract it again") from error

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        """view name -> [T, P, D], mapped from the cache, into which it is fetched first."""
        meta, found, arrays = self.meta(video), self._listed(video), {}
        for view, count in self.recipe["views"].items():
            if views is not None and view not in views:
                continue
            name, info = f"{self.root}/{video}/{view}.npy", found.get(f"{view}.npy")
            shape, crc32 = (meta.snippets, count, self.recipe["feature_size"]), meta.crc32.get(view)
            arrays[view] = self._cached(name, info, shape, self.dtype, crc32 if check else None)
        return arrays

    def times(self, video: str) -> FrameTimes:
        """When each frame is shown, read in the cache, into which it is fetched first."""
        meta = self.meta(video)
        if not meta.times:
            return steady(meta.fps)
        name, info = f"{self.root}/{video}/{TIMES}.npy", self._listed(video).get(f"{TIMES}.npy")
        array = self._cached(name, info, *times_format(meta), meta.crc32.get(TIMES))
        return stored_times(meta, name, array)

    def is_current(self, video: str, source: Path, picture_fps: float | None = None) -> bool:
        """By the sizes of the arrays, which are not fetched for it; `read` compares their checksums."""
        try:
            meta, found = self.meta(video), self._listed(video)
        except StoreError:
            return False
        row = self.recipe["feature_size"] * np.dtype(self.dtype).itemsize
        sizes = {
            f"{view}.npy": HEADER_BYTES + meta.snippets * count * row
            for view, count in self.recipe["views"].items()
        }
        if meta.times:
            sizes[f"{TIMES}.npy"] = HEADER_BYTES + 8 * meta.frames
        if any(found.get(name, {}).get("size") != size for name, size in sizes.items()):
            return False
        return is_same_source(meta, source, picture_fps)

    @contextmanager
    def claim(self, video: str) -> Iterator[bool]:
        """Always ours: an object store keeps nobody out."""
        yield True

    @contextmanager
    def writer(self, video: str) -> Iterator[VideoWriter]:
        """Adds or replaces a video: it is written to the cache folder whole, then uploaded."""
        key, uploads = self._key(video), self._cache.folder / "uploads"
        clear_leftovers(uploads)  # of killed runs
        staged = uploads / _hash(f"{self.root}/{video}")
        with whole_folder(staged) as folder:
            with filled(folder, self.recipe, self.dtype) as writer:
                yield writer
            self._upload(folder, key)
        shutil.rmtree(staged, ignore_errors=True)

    def _upload(self, folder: Path, key: str) -> None:
        """In the order that lets nobody take half of it for a video, neither now nor after a kill."""
        with _told(self.root):
            if self._files.exists(f"{key}/{_META}"):
                self._files.rm_file(f"{key}/{_META}")
            for path in sorted(folder.glob("*.npy")):
                self._files.put_file(str(path), f"{key}/{path.name}")
            self._files.put_file(str(folder / _META), f"{key}/{_META}")

    def _listed(self, video: str) -> dict[str, dict[str, Any]]:
        """What lies in the video's place: name -> size, version and the like."""
        key = self._key(video)
        with _told(self.root):
            found = self._files.find(key, maxdepth=1, detail=True)
        return {path.rpartition("/")[2]: info for path, info in found.items()}

    def _cached(
        self,
        name: str,
        info: dict[str, Any] | None,
        shape: tuple[int, ...],
        dtype: str,
        crc32: str | None,
    ) -> np.ndarray:
        """One array, mapped from the cache; a copy that is damaged there is fetched once more."""
        if info is None:
            raise StoreError(f"{name}: missing; extract the video again")
        key = f"{name} {version(info)}"
        with self._cache.kept(key, lambda to: self._fetch(info, to)) as path:
            try:
                return map_view(path, name, shape, dtype, crc32)
            except StoreError:
                path.unlink(missing_ok=True)
        with self._cache.kept(key, lambda to: self._fetch(info, to)) as path:
            return map_view(path, name, shape, dtype, crc32)

    def _fetch(self, info: dict[str, Any], to: Path) -> None:
        with _told(self.root):
            self._files.get_file(info["name"], str(to))
        if to.stat().st_size != info["size"]:
            raise StoreError(f"{self.root}: {info['name']} changed while it was read; run the command again")

    def _key(self, video: str) -> str:
        if not (is_name_below(video) and is_utf8(video)):
            raise StoreError(f"{video!r} is not the name of a video in the store {self.root}")
        return f"{self._base}/{self._spelling(video)}"


class Cache:
    """A folder of fetched files, of which the longest unread go when they are too much together."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    @contextmanager
    def kept(self, key: str, fetch: Any) -> Iterator[Path]:
        """The file of a key, fetched where it is not there; it stays at least to the end of the block."""
        path = self.folder / f"{_hash(key)}.npy"
        with locked(self.folder / ".lock.d" / path.stem):
            if not path.exists():
                clear_leftovers(self.folder, path.name)
                with whole_file(path) as scratch:
                    fetch(scratch)
            os.utime(path)
            yield path
        self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        """A file that is mapped by somebody stays readable for them when it is removed."""
        held = []
        for path in self.folder.glob("*.npy"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            held.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total <= self.limit:
                return
            if path != newest:
                total -= size
                try:
                    path.unlink(missing_ok=True)
                except PermissionError:  # Windows keeps what is mapped
                    continue


def cache_folder() -> Path:
    if named := os.environ.get(CACHE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssrl-pipeline"


def cache_bytes() -> int:
    """Raises StoreError where the variable holds no number."""
    said = os.environ.get(CACHE_GB, "50")
    try:
        return int(float(said) * 1e9)
    except (ValueError, OverflowError):
        raise StoreError(f"{CACHE_GB} is a number of gigabytes, not {said!r}") from None


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, as fsspec has it, and the path in it.

    Raises:
        StoreError: the package for it is missing, or it holds credentials.
    """
    require_no_secrets(url)
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StoreError(
            f"{url}: such a store needs a package of its own: pip install 'ssrl-pipeline[remote]'"
        ) from error
    except ValueError as error:
        raise StoreError(f"{url}: {_line(error)}") from error
    return files, str(path).rstrip("/")


def exists(url: str) -> bool:
    """Raises StoreError where that cannot be known."""
    files, path = connect(url)
    with _told(url):
        return bool(files.exists(path))


def version(info: dict[str, Any]) -> str:
    """What changes with an object's content: its ETag, or all that is said of it."""
    tag = info.get("ETag") or info.get("etag")
    return f"{info.get('size')} {tag or sorted((name, str(value)) for name, value in info.items())}"


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Makes one line of the many errors that an object store's client has; what is missing stays as it is."""
    try:
        yield
    except (PipelineError, FileNotFoundError, FileExistsError):
        raise
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise
        raise StoreError(f"{url}: {_line(error)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskError(f"{url}: {_line(error)}") from error
        raise StoreError(f"{url}: cannot be reached or used ({_line(error)})") from error


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
