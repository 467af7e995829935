"""Files and folders that appear whole or not at all, and hashes of what is in them.

All that this package writes passes here: it is written under a hidden name
(``.NAME.1234abcd.part``), brought to the disk, and renamed. So neither a kill
nor a full disk nor a power cut leaves half a file under its name. What a killed
process leaves is cleared by the next that owns the place (:func:`clear_leftovers`).
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ssrl_pipeline.disk.locks import try_lock
from ssrl_pipeline.errors import DiskError, PipelineError

_SCRATCH = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part(\.\w+)?")
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def scratch_name(target: Path) -> Path:
    """A hidden name beside `target` that no other process uses."""
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"


@contextmanager
def whole_file(target: Path, suffix: str = "") -> Iterator[Path]:
    """Yields a path to write to; on success it becomes `target` in one step, on failure it is gone.

    Args:
        target: the file.
        suffix: of the path to write to, for writers that choose the format by it.

    Raises:
        DiskError: there is no room for it.
    """
    with _room(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_name(target).with_suffix(f".part{suffix}")
        try:
            scratch.touch(exist_ok=False)  # in here, for a signal may come as soon as it is there
            with _alive(scratch):
                yield scratch
                _flush(scratch)
                scratch.replace(target)
            _flush_folder(target.parent)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Like :func:`whole_file` for a folder; a folder already at `target` is replaced.

    What killed processes left of it before is cleared.
    """
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target}: a file is in the place where a folder is to be written")
    with _room(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target.parent, target.name)
        scratch = scratch_name(target)
        try:
            scratch.mkdir()  # in here, for a signal may come as soon as it is there
            with _alive(scratch):
                yield scratch
                for folder, _, names in os.walk(scratch):
                    for name in names:
                        _flush(Path(folder, name))
                    _flush_folder(Path(folder))
                _take_place(scratch, target)
            _flush_folder(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """To be called before long work whose result goes into a folder, which need not be there yet.

    Raises:
        PipelineError: nothing can be written there.
    """
    above = _existing(folder)
    try:
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above.name} is a file")
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        said = error.strerror or str(error)
        raise PipelineError(
            f"{folder}: cannot be written ({said[:1].lower()}{said[1:]}); choose another folder, or change "
            f"what {above} allows"
        ) from error


def free_bytes(folder: Path) -> int:
    """On the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes what killed processes left directly in a folder, of all files or of the one called `name`.

    What a living process is writing stays, and so does, where the file system
    has no locks to tell by, everything.
    """
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        match, path = _SCRATCH.fullmatch(entry.name), Path(entry.path)
        if match is None or name not in (None, match["name"]):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # gone by now, not ours to open, or a folder on Windows
            continue
        try:
            if try_lock(descriptor):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def write_text(target: Path, text: str) -> None:
    """In UTF-8. Bytes of a file's name that are not UTF-8 are escaped as in JSON, which reads them back."""
    with whole_file(target) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Several files, or none where one cannot be written: all are on the disk before one has its name.

    Raises:
        OSError, DiskError: one cannot be written.
    """
    with ExitStack() as written:
        for target, content in contents.items():
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder is in the place of a file", str(target))
            scratch = written.enter_context(whole_file(target))
            scratch.write_bytes(content)
            _flush(scratch)


def write_json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises OSError where it cannot be read, ValueError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def mistaken_download(path: Path) -> str | None:
    """What a file is, and the way out, where it was left in place of the one that was to be fetched.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "damaged: an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, which only names the file; fetch the file itself with `git lfs pull`"
    if start.startswith(b"/annex/") or b".git/annex/objects/" in start:
        return "a git-annex pointer, which only names the file; fetch the file itself with `git annex get`"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "a web page, saved in place of the file; open its address in a browser and download the file"
    if start.startswith(b"<?xml"):
        return "an XML text, most likely a server's answer in place of the file; download the file again"
    return None


def check_archive(path: Path) -> None:
    """Raises an error where a file is no zip archive as PyTorch and NumPy write them, or a bit has changed.

    That nothing is compressed keeps a small file from filling the memory.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        stored = all(
            m.compress_type == zipfile.ZIP_STORED and m.file_size == m.compress_size for m in members
        )
        if not stored or sum(m.file_size for m in members) > path.stat().st_size:
            raise ValueError("its parts are compressed or overlap")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is another")


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """Makes a full disk's error one that names the file and the way out."""
    try:
        yield
    except Exception as error:
        # A library may make an error of its own of it; a file's in a folder is better named by the folder.
        cause: BaseException | None = error
        while cause and not (isinstance(cause, OSError) and cause.errno in _NO_ROOM):
            cause = cause.__cause__ or cause.__context__
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise DiskError(
            f"{target}: cannot be written, {os.strerror(cause.errno).lower()}; make room and run the same "
            "command again (what was finished before is whole and stays), or choose another folder"
        ) from cause


@contextmanager
def _alive(scratch: Path) -> Iterator[None]:
    """Keeps others from taking for a leftover what is being written."""
    if os.name == "nt":  # it could not be renamed while it is open
        yield
        return
    descriptor = os.open(scratch, os.O_RDONLY)
    try:
        try_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _take_place(scratch: Path, target: Path) -> None:
    if not target.exists():
        scratch.replace(target)
        return
    old = scratch_name(target)
    try:
        target.replace(old)
        scratch.replace(target)
    finally:
        if not target.exists():
            old.replace(target)
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Brings a file's content to the disk, so that a power cut after the rename leaves no empty file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    """Brings a folder's names to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do without
            raise
    finally:
        os.close(descriptor)
