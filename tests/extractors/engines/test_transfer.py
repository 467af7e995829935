"""Pinned memory that is used again and again, played with ordinary memory and with a fake device."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_cuda import fake_cuda
from helpers.means import describing_means

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.engines.transfer import PinnedPool, Transfer


class System:
    """Where the memory comes from: what was pinned, and what of it is still held."""

    def __init__(self, limit: int = sys.maxsize):
        self.limit = limit
        self.pinned: list[int] = []  # bytes, one after the other
        self.addresses: set[int] = set()
        self.unpinned = 0

    def pin(self, size: int) -> torch.Tensor:
        if sum(self.pinned) + size > self.limit:
            raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
        self.pinned.append(size)
        memory = torch.zeros(size, dtype=torch.uint8)
        self.addresses.add(memory.data_ptr())
        return memory

    def unpin(self) -> None:
        self.unpinned += 1

    def pool(self, most: int = 1 << 30) -> PinnedPool:
        return PinnedPool(most, self.pin, self.unpin)

    def is_pinned(self, array: np.ndarray) -> bool:
        return array.ctypes.data in self.addresses


def test_memory_comes_back_when_nobody_holds_a_view_of_it() -> None:
    system = System()
    pool = system.pool()
    snippet = pool.empty((16, 4, 5, 3))
    assert snippet.shape == (16, 4, 5, 3) and snippet.dtype == np.uint8 and snippet.flags.c_contiguous
    snippet[:] = 7
    views = [snippet[::2], torch.from_numpy(snippet), snippet.reshape(-1)[100:]]
    del snippet
    while views:
        other = pool.empty((16, 4, 5, 3))
        other[:] = 9
        assert not [view for view in views if (np.asarray(view) != 7).any()]
        views.pop()
        del other
    held = [pool.empty((16, 4, 5, 3)), pool.empty((16, 5, 4, 3))]
    assert len(held) == len(system.pinned)  # the one that was held, and that which was taken meanwhile


def test_the_smallest_that_is_large_enough_is_taken() -> None:
    system = System()
    pool = system.pool()
    large, small = pool.empty((1000,)), pool.empty((100,))
    addresses = large.ctypes.data, small.ctypes.data
    del large, small
    again = pool.empty((128,))
    assert again.ctypes.data == addresses[1]
    assert pool.empty((128,)).ctypes.data == addresses[0]
    assert len(system.pinned) == 2


def test_no_more_is_pinned_than_is_allowed() -> None:
    system = System()
    pool = system.pool(most=4096)
    held = [pool.empty((1000,)) for _ in range(6)]
    assert [system.is_pinned(array) for array in held] == [True] * 4 + [False] * 2
    del held[1:]
    larger = pool.empty((1500,))  # three of 1024 are free, and none is large enough: they make room
    assert system.is_pinned(larger) and system.unpinned == 1
    assert system.pinned == [1024] * 4 + [2048]
    assert not system.is_pinned(pool.empty((2000,)))
    assert system.is_pinned(pool.empty((1024,)))
    assert pool.empty((0, 3)).shape == (0, 3)


def test_where_nothing_more_can_be_pinned_it_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    system = System(limit=3000)
    pool = system.pool()
    with caplog.at_level(logging.WARNING):
        held = [pool.empty((1000,)) for _ in range(5)]
    assert [system.is_pinned(array) for array in held] == [True] * 2 + [False] * 3
    assert caplog.messages == [
        "no more memory can be pinned, going on without: CUDA error: out of memory"
    ]  # once
    del held
    assert system.is_pinned(pool.empty((1000,)))


def test_threads_are_never_given_the_same() -> None:
    system = System()
    pool = system.pool()
    begin = threading.Barrier(4)

    def fill(number: int) -> bool:
        begin.wait()
        right = True
        for i in range(300):
            array = pool.empty((50 + 100 * (i % 3),))
            array[:] = number
            right &= bool((array == number).all())
        return right

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fill, range(4)))
    assert len(system.pinned) <= 4 * 3


def test_a_cpu_has_nothing_to_copy() -> None:
    transfer = Transfer(torch.device("cpu"))
    frames = torch.from_numpy(transfer.empty((16, 2, 2, 3)))
    assert transfer.up(frames) is frames
    rows = torch.ones(2, 3)
    assert transfer.down(rows)().tolist() == rows.tolist()


def test_memory_comes_back_when_its_copy_is_done() -> None:
    with fake_cuda() as cuda:
        transfer = Transfer(torch.device("cuda"))
        snippet = transfer.empty((16, 4, 5, 3))
        assert torch.from_numpy(snippet).is_pinned()
        snippet[:] = 1
        address = snippet.ctypes.data
        there = transfer.up(torch.from_numpy(snippet))
        del snippet
        other = transfer.empty((16, 4, 5, 3))
        other[:] = 2  # the first may be on its way still
        assert other.ctypes.data != address
        assert cuda.waits == cuda.uploads == []
        assert (transfer.down(there.float())() == 1).all()
        assert [wait.what for wait in cuda.waits] == ["Event.synchronize"]
        assert transfer.empty((16, 4, 5, 3)).ctypes.data == address


def test_what_is_not_pinned_is_copied_while_the_caller_waits() -> None:
    with fake_cuda():
        transfer = Transfer(torch.device("cuda"))
        frames = np.ones((16, 4, 5, 3), np.uint8)
        there = transfer.up(torch.from_numpy(frames))
        frames[:] = 2
        assert (transfer.down(there)() == 1).all()


def test_memory_is_used_again_while_features_are_computed(make_video, tmp_path: Path) -> None:
    """A fault where a snippet is written over before it is on the device; one wait for each group."""
    path = make_video(tmp_path / "a.mp4", frames=480)  # 30 snippets
    expected = means("cpu").from_video(path)
    with fake_cuda() as cuda:
        extractor = means("cuda")
        cuda.forget()
        found = extractor.from_video(path)
        assert {wait.what for wait in cuda.waits} == {"Event.synchronize"} and len(cuda.waits) == 15
        assert cuda.uploads == []
        assert extractor._transfer._pinned._bytes <= 10 << 18  # type: ignore[union-attr]
    for name, rows in expected.items():
        np.testing.assert_allclose(found[name], rows, atol=0.05)  # the resize of a GPU rounds less often
        assert np.abs(np.diff(rows, axis=0)).max(axis=(1, 2)).min() > 0.2  # no snippet is like the next


def means(device: str) -> FeatureExtractor:
    """Features are means of pixels, two snippets at a time."""
    extractor = FeatureExtractor("i3d", "live", device=device, weights="random", batch=2, precision="float32")
    return describing_means(extractor)
