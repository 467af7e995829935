"""Measures ways of doing one thing, which take turns, or one way by itself; see benchmark.py."""

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch

MOST_REPEATS, LEAST_REPEATS = 50, 3


class Row(NamedTuple):
    """One way of doing one thing."""

    part: str
    way: str
    ratio: float  # how many times as fast as the first way
    rate: float  # median
    unit: str
    note: str = ""


class Bench:
    """What the sections share."""

    def __init__(self, folder: Path, rounds: int, device: torch.device):
        self.folder, self.rounds, self.device = folder, rounds, device

    def compare(self, part: str, unit: str, ways: Mapping[str, Callable[[], float]]) -> list[Row]:
        """Runs every way in each round; a way returns how much of `unit` it did."""
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for i in range(self.rounds + 1):  # the first round warms up
            for way, work in ways.items():
                start = time.perf_counter()
                done = work()
                _wait(self.device)
                if i:
                    rates[way].append(done / (time.perf_counter() - start))
        first = rates[next(iter(ways))]
        return [
            Row(
                part,
                way,
                statistics.median(a / b for a, b in zip(own, first, strict=True)),
                statistics.median(own),
                unit,
            )
            for way, own in rates.items()
        ]


def seconds(run: Callable[[], object], device: torch.device, budget: float = 1.0) -> float:
    """The median time of a call: between two events of the GPU's own, or by the clock on a CPU.

    Two calls warm up first. Calls follow each other without waiting, as they do at work.
    """
    run()
    once = max(wall(run, device), 1e-6)
    repeats = min(MOST_REPEATS, max(LEAST_REPEATS, int(budget / once)))
    if device.type != "cuda":
        return statistics.median(wall(run, device) for _ in range(repeats))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    _wait(device)
    return statistics.median(first.elapsed_time(second) / 1e3 for first, second in pairwise(events))


def wall(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call by the clock, until the device is done too."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
