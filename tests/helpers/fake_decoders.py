"""Decoders that misbehave, for a worker to run: module:function, path and threads -> Opened."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import VideoInfo
from ssrl_pipeline.extractors.decoding.decoder import Opened

INFO = VideoInfo(10.0, 8, 4, 100)
Frames = Iterator[tuple[np.ndarray, float]]


def _frames(number: int) -> Frames:
    for i in range(number):
        yield np.full((INFO.height, INFO.width, 3), i, np.uint8), i / 10


def hang_at_once(path: str, threads: int, *more: object) -> Opened:
    time.sleep(1000)
    raise AssertionError


def hang_later(path: str, threads: int, *more: object) -> Opened:
    def frames() -> Frames:
        yield from _frames(20)
        time.sleep(1000)

    return Opened(INFO, frames())


def abort(path: str, threads: int, *more: object) -> Opened:
    def frames() -> Frames:
        yield from _frames(16)
        print("corrupted double-linked list", file=sys.stderr, flush=True)
        os.abort()

    return Opened(INFO, frames())


def kill_itself(path: str, threads: int, *more: object) -> Opened:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def raise_what_nobody_expects(path: str, threads: int, *more: object) -> Opened:
    raise ZeroDivisionError("by a frame of no height")


def eat_memory(path: str, threads: int, *more: object) -> Opened:
    def frames() -> Frames:
        yield from _frames(16)
        eaten = []
        while True:
            eaten.append(np.ones(1 << 24, np.uint8))

    return Opened(INFO, frames())


def change_size(path: str, threads: int, *more: object) -> Opened:
    def frames() -> Frames:
        yield from _frames(3)
        yield np.zeros((6, 10, 3), np.uint8), 0.3

    return Opened(INFO, frames())


def nothing(path: str, threads: int, *more: object) -> Opened:
    return Opened(INFO, _frames(0))


def fail_later(path: str, threads: int, *more: object) -> Opened:
    """After less than a block of frames."""

    def frames() -> Frames:
        yield from _frames(20)
        raise VideoError(f"{path}: no more")

    return Opened(INFO, frames())


def remark(path: str, threads: int, *more: object) -> Opened:
    return Opened(INFO, _frames(3), lambda: ["one thing", "another"])


def chatter(path: str, threads: int, *more: object) -> Opened:
    """Writes to both standard streams, more than a pipe holds."""

    def frames() -> Frames:
        for frame in _frames(100):
            os.write(1, b'{"end": true}\n' * 500)
            os.write(2, b"noise\n" * 500)
            yield frame

    return Opened(INFO, frames())


def thousand(path: str, threads: int, *more: object) -> Opened:
    return Opened(INFO, _frames(1000))
