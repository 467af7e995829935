"""Disks without room, and what lies on them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssrl_pipeline.errors import DiskError


@contextmanager
def full(size: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes; what writes more meets an error of the system's."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(path: Path, size: int, write: Callable[[], object]) -> None:
    with pytest.raises(DiskError) as caught, full(size):
        write()
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written") and "make room" in message
    assert "\n" not in message and ".part" not in message
