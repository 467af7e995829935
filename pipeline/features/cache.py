"""Fetched files on this machine's disk, for stores that lie elsewhere."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssrl_pipeline.disk import clear_leftovers, locked, whole_file
from ssrl_pipeline.errors import StoreError

CACHE = "SSRL_PIPELINE_CACHE"  # names the cache folder
CACHE_GB = "SSRL_PIPELINE_CACHE_GB"  # how much of features it holds


class Cache:
    """A folder of fetched files, of which the longest unread go when they are too much together."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    @contextmanager
    def kept(self, key: str, fetch: Callable[[Path], object]) -> Iterator[Path]:
        """The file of a key, fetched where it is not there; it stays at least to the end of the block."""
        path = self.folder / f"{hashed(key)}.npy"
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


def hashed(text: str) -> str:
    """A file's name for a text of any length and characters."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]
