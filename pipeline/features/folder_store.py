"""The files of a feature store in a folder; see :mod:`ssrl_pipeline.features.store`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.disk import clear_leftovers, locked, read_json, whole_folder, write_json
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.meta import VideoMeta, parse_meta
from ssrl_pipeline.features.video_files import META, ArrayFormat, map_array

_CLAIM = ".lock"


class FolderFiles:
    """A folder on a disk of this machine, or on one that it shares: :class:`StoreFiles`."""

    def __init__(self, root: Path):
        self.root, self._head = root, root / "store.json"

    def exists(self) -> bool:
        """Whether a store is there, damaged or not."""
        return self._head.exists()

    def head(self) -> Any:
        if not self._head.is_file():
            raise FileNotFoundError(self._head)
        return read_json(self._head)

    def put_head(self, content: dict[str, Any]) -> None:
        if not self._head.exists():
            write_json(self._head, content)

    def clear_leftovers(self) -> None:
        for folder, folders, names in os.walk(self.root):
            clear_leftovers(Path(folder))
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.startswith(".") and name.endswith(_CLAIM):
                    with locked(Path(folder, name)):  # which goes with the lock
                        pass

    def videos(self) -> list[str]:
        names = (meta.parent.relative_to(self.root) for meta in self.root.rglob(META))
        return sorted(n.as_posix() for n in names if not any(part.startswith(".") for part in n.parts))

    def meta(self, video: str) -> VideoMeta | None:
        path = self._folder(video) / META
        if not path.is_file():
            return None
        try:
            return parse_meta(read_json(path))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path}: damaged ({error}); delete the folder and extract again") from error

    def name_of(self, video: str, array: str) -> Path:
        path = self._folder(video) / f"{array}.npy"
        if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(f"{path}: a link that leads out of the store; delete the folder, extract again")
        return path

    def arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> dict[str, np.ndarray]:
        paths = {name: self.name_of(video, name) for name in wanted}
        return {name: map_array(path, path, wanted[name]) for name, path in paths.items()}

    def has_arrays(self, video: str, wanted: Mapping[str, ArrayFormat]) -> bool:
        try:
            return bool(self.arrays(video, wanted))
        except StoreError:
            return False

    @contextmanager
    def claim(self, video: str) -> Iterator[bool]:
        folder = self._folder(video)
        with locked(folder.parent / f".{folder.name}{_CLAIM}") as holder:
            yield holder is None

    def replaced(self, video: str) -> AbstractContextManager[Path]:
        return whole_folder(self._folder(video))

    def _folder(self, video: str) -> Path:
        """The video's folder; links that lead out of the store are refused."""
        folder = self.root / video
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(f"{folder}: a link that leads out of the store {self.root}; remove it")
        return folder
