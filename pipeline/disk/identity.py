"""A video's file, and how one knows it again: by size and time of change, else by content.

Of a video that is a folder of pictures, size and content are those of all, the time is the latest.
"""

import hashlib
import stat
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ssrl_pipeline.disk.files import file_sha256
from ssrl_pipeline.disk.pictures import picture_files


class Identity(NamedTuple):
    """What identifies a file's content."""

    bytes: int
    mtime_ns: int
    sha256: str


class SourceFile:
    """A file as it is now; its content is hashed when that is first asked for, and never again.

    Raises:
        OSError: there is no such file, or it is none whose content stays (a pipe would be waited for).
    """

    def __init__(self, path: Path):
        self._pictures = picture_files(path) if path.is_dir() else []
        states = [one.stat() for one in self._pictures or [path]]
        if not all(stat.S_ISREG(one.st_mode) for one in states):
            raise OSError(f"{path}: not a regular file")
        self.path = path
        self.bytes = sum(one.st_size for one in states)
        self.mtime_ns = max(one.st_mtime_ns for one in states)

    @cached_property
    def sha256(self) -> str:
        if not self._pictures:
            return file_sha256(self.path)
        hashes = "".join(file_sha256(picture) for picture in self._pictures)  # in order; names do not count
        return hashlib.sha256(hashes.encode()).hexdigest()

    @property
    def identity(self) -> Identity:
        return Identity(self.bytes, self.mtime_ns, self.sha256)

    def is_still(self, before: Identity) -> bool:
        """Whether a file of this name, known from before, is unchanged; hashed where the time differs."""
        if self.bytes != before.bytes:
            return False
        return self.mtime_ns == before.mtime_ns or self.sha256 == before.sha256


def read_identity(said: Any) -> Identity | None:
    """What a JSON file says of a file, as :meth:`Identity._asdict` wrote it; None where it says nothing."""
    if said is None:
        return None
    return Identity(int(said["bytes"]), int(said["mtime_ns"]), str(said["sha256"]))
