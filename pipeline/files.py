"""Files that appear whole or not at all, and hashes of what is in them."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def scratch_name(target: Path) -> Path:
    """A hidden name beside `target` that no other process uses."""
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yields a path to write to; on success it becomes `target` in one step, on failure it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_name(target)
    try:
        yield scratch
        _flush(scratch)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Like :func:`whole_file` for a folder; a folder already at `target` is replaced."""
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target}: a file is in the place where a folder is to be written")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_name(target)
    scratch.mkdir()
    try:
        yield scratch
        for path in scratch.iterdir():
            _flush(path)
        if target.exists():
            old = scratch_name(target)
            target.replace(old)
            try:
                scratch.replace(target)
            except BaseException:
                old.replace(target)
                raise
            shutil.rmtree(old)
        else:
            scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    with whole_file(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Brings a file's content to the disk, so that a power cut after the rename leaves no empty file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
