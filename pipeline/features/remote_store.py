"""The files of a feature store on an object store, named by its URL, with the layout that a folder has.

    ssrl-pipeline extract --videos videos/ --features s3://bucket/features

There is no renaming there: a video counts as stored when its meta.json is, which is written last
and removed first. What is read is kept in a cache folder of this machine, and mapped from there.
There are no locks: two runs that extract the same video both write it, and the later one stays.
Credentials are those that s3fs and gcsfs find by themselves; a URL may hold none.
"""

import errno
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.disk import HEADER_BYTES, clear_leftovers, is_utf8, whole_folder
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError, first_line
from ssrl_pipeline.features.cache import Cache, cache_bytes, cache_folder, hashed
from ssrl_pipeline.features.meta import VideoMeta, parse_meta
from ssrl_pipeline.features.video_files import META, ArrayFormat, map_array


class RemoteFiles:
    """A folder of an object store: :class:`StoreFiles`."""

    def __init__(self, root: str):
        self.root = root
        self._objects, self._base = connect(root)
        self._cache = Cache(cache_folder(), cache_bytes())

    def exists(self) -> bool:
        """Whether a store is there, damaged or not. Raises StoreError where that cannot be known."""
        with _told(self.root):
            return bool(self._objects.exists(f"{self._base}/store.json"))

    def head(self) -> Any:
        with _told(self.root):
            return json.loads(self._objects.cat_file(f"{self._base}/store.json"))

    def put_head(self, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        try:
            with _told(self.root):
                if not self._objects.exists(f"{self._base}/store.json"):
                    self._objects.pipe_file(f"{self._base}/store.json", text.encode(), mode="create")
        except FileExistsError:  # another run was quicker
            pass

    def clear_leftovers(self) -> None:
        """There are none: see :meth:`replaced`."""

    def videos(self) -> list[str]:
        with _told(self.root):
            paths = self._objects.find(self._base)
        names = (path.removeprefix(f"{self._base}/").rpartition("/") for path in paths)
        return sorted(folder for folder, _, name in names if folder and name == META)

    def meta(self, video: str) -> VideoMeta | None:
        path = f"{self._key(video)}/{META}"
        try:
            with _told(self.root):
                content = json.loads(self._objects.cat_file(path))
            return parse_meta(content)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"{self.root}/{video}/{META}: damaged ({error}); extract it again") from error

    def name_of(self, video: str, array: str) -> str:
        return f"{self.root}/{video}/{array}.npy"

    def arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> dict[str, np.ndarray]:
        """They are mapped from the cache, into which they are fetched first."""
        found = self._listed(video)
        return {
            name: self._cached(self.name_of(video, name), found.get(f"{name}.npy"), one)
            for name, one in wanted.items()
        }

    def has_arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> bool:
        """They are not fetched for it."""
        found = self._listed(video)
        sizes = {
            f"{name}.npy": HEADER_BYTES + math.prod(one.shape) * np.dtype(one.dtype).itemsize
            for name, one in wanted.items()
        }
        return all(found.get(name, {}).get("size") == size for name, size in sizes.items())

    def claim(self, video: str) -> nullcontext[bool]:
        return nullcontext(True)

    @contextmanager
    def replaced(self, video: str) -> Iterator[Path]:
        """A folder in the cache, which is uploaded when it is whole."""
        key, uploads = self._key(video), self._cache.folder / "uploads"
        clear_leftovers(uploads)  # of killed runs
        staged = uploads / hashed(f"{self.root}/{video}")
        with whole_folder(staged) as folder:
            yield folder
            self._upload(folder, key)
        shutil.rmtree(staged, ignore_errors=True)

    def _upload(self, folder: Path, key: str) -> None:
        """In the order that lets nobody take half of it for a video, neither now nor after a kill."""
        with _told(self.root):
            if self._objects.exists(f"{key}/{META}"):
                self._objects.rm_file(f"{key}/{META}")
            for path in sorted(folder.glob("*.npy")):
                self._objects.put_file(str(path), f"{key}/{path.name}")
            self._objects.put_file(str(folder / META), f"{key}/{META}")

    def _listed(self, video: str) -> dict[str, dict[str, Any]]:
        """What lies in the video's place: name -> size, version and the like."""
        key = self._key(video)
        with _told(self.root):
            found = self._objects.find(key, maxdepth=1, detail=True)
        return {path.rpartition("/")[2]: info for path, info in found.items()}

    def _cached(self, name: str, info: dict[str, Any] | None, wanted: ArrayFormat) -> np.ndarray:
        """One array, mapped from the cache; a copy that is damaged there is fetched once more."""
        if info is None:
            raise StoreError(f"{name}: missing; extract the video again")
        key = f"{name} {version(info)}"
        with self._cache.kept(key, lambda to: self._fetch(info, to)) as path:
            try:
                return map_array(path, name, wanted)
            except StoreError:
                path.unlink(missing_ok=True)
        with self._cache.kept(key, lambda to: self._fetch(info, to)) as path:
            return map_array(path, name, wanted)

    def _fetch(self, info: dict[str, Any], to: Path) -> None:
        with _told(self.root):
            self._objects.get_file(info["name"], str(to))
        if to.stat().st_size != info["size"]:
            raise StoreError(f"{self.root}: {info['name']} changed while it was read; run the command again")

    def _key(self, video: str) -> str:
        if not is_utf8(video):
            raise StoreError(f"{video!r} is not the name of a video in the store {self.root}")
        return f"{self._base}/{video}"


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, as fsspec has it, and the path in it.

    Raises:
        StoreError: the package for it is missing.
    """
    try:
        import fsspec  # comes with an extra

        objects, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StoreError(
            f"{url}: such a store needs a package of its own: pip install 'ssrl-pipeline[remote]'"
        ) from error
    except ValueError as error:
        raise StoreError(f"{url}: {first_line(error)}") from error
    return objects, str(path).rstrip("/")


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
        raise StoreError(f"{url}: {first_line(error)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskError(f"{url}: {first_line(error)}") from error
        raise StoreError(f"{url}: cannot be reached or used ({first_line(error)})") from error
