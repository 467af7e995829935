"""Decoders that misbehave, for a worker to run: module:function, path and threads -> Opened."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ssrl_pipeline.extractors.decoders import Opened, VideoInfo

INFO = VideoInfo(10.0, 8, 4, 100)


def _frames(number: int) -> Iterator[np.ndarray]:
    for i in range(number):
        yield np.full((INFO.height, INFO.width, 3), i, np.uint8)


def hang_at_once(path: Path, threads: int) -> Opened:
    time.sleep(1000)
    raise AssertionError


def hang_later(path: Path, threads: int) -> Opened:
    def frames() -> Iterator[np.ndarray]:
        yield from _frames(20)
        time.sleep(1000)

    return Opened(INFO, frames())


def abort(path: Path, threads: int) -> Opened:
    def frames() -> Iterator[np.ndarray]:
        yield from _frames(16)
        print("corrupted double-linked list", file=sys.stderr, flush=True)
        os.abort()

    return Opened(INFO, frames())


def kill_itself(path: Path, threads: int) -> Opened:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def raise_what_nobody_expects(path: Path, threads: int) -> Opened:
    raise ZeroDivisionError("by a frame of no height")


def eat_memory(path: Path, threads: int) -> Opened:
    def frames() -> Iterator[np.ndarray]:
        yield from _frames(16)
        eaten = []
        while True:
            eaten.append(np.ones(1 << 24, np.uint8))

    return Opened(INFO, frames())


def change_size(path: Path, threads: int) -> Opened:
    def frames() -> Iterator[np.ndarray]:
        yield from _frames(3)
        yield np.zeros((6, 10, 3), np.uint8)

    return Opened(INFO, frames())


def chatter(path: Path, threads: int) -> Opened:
    """Writes to both standard streams, more than a pipe holds."""

    def frames() -> Iterator[np.ndarray]:
        for frame in _frames(100):
            os.write(1, b'{"end": true}\n' * 500)
            os.write(2, b"noise\n" * 500)
            yield frame

    return Opened(INFO, frames())


def thousand(path: Path, threads: int) -> Opened:
    return Opened(INFO, _frames(1000))
