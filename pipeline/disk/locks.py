"""Locks between processes: the operating system's own, which end with the process, also with a killed one.

They are advisory: they keep apart those who ask. A file system that has none is
said so once, and work goes on as if nobody else were there.
"""

import errno
import functools
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssrl_pipeline.errors import BusyError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PATIENCE = 30.0  # seconds to wait for another writer; each takes some thousandths
PAUSE = 0.01
_NOTE_BYTES = 4096
_LOCKED_BYTE = 1 << 30  # Windows locks ranges, and what is locked cannot be read: one far behind the note
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file or, but not on Windows, a folder, until the descriptor is closed.

    Returns:
        Whether it is locked now; None where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


@contextmanager
def locked(path: Path) -> Iterator[str | None]:
    """Holds the lock file `path`, which is there while it is held.

    Yields:
        None where it is held by us, or else the process that has it, in words.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, held = _open_and_lock(path)
    try:
        if held is False:
            yield _holder(descriptor)
            return
        if held is None:
            _say_without_locks(path.parent)
        _write_note(descriptor)
        try:
            yield None
        finally:
            # While it is still locked, so that nobody locks a file that is about to go.
            if sys.platform != "win32":
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Until the context ends, no other process that asks so writes the file; it waits for one that does.

    Raises:
        BusyError: another process has kept the file for too long.
    """
    lock, end = path.with_name(f".{path.name}.lock"), time.monotonic() + PATIENCE
    while True:
        with locked(lock) as holder:
            if holder is None:
                yield
                return
        if time.monotonic() > end:
            raise BusyError(f"{path}: {holder} has been writing there for {PATIENCE:g} s; try again later")
        time.sleep(PAUSE)


def _open_and_lock(path: Path) -> tuple[int, bool | None]:
    """Opens and locks the file that is at `path` afterwards: its last holder may have just removed it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = try_lock(descriptor)
            if not held or _is_at(path, descriptor):
                return descriptor, held
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_note(descriptor: int) -> None:
    note = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, note.encode())
    except OSError:  # on a full disk the lock holds all the same, namelessly
        pass


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        note = json.loads(os.read(descriptor, _NOTE_BYTES))
        return f"process {int(note['pid'])} on {str(note['host'])[:64]!r}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@functools.cache
def _say_without_locks(folder: Path) -> None:
    logging.getLogger(__name__).warning(
        "%s: this file system has no locks; nothing keeps a second run from writing here at the same time",
        folder,
    )
