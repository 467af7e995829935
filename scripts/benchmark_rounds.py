"""Ways of doing one thing, taken in turn round after round; see benchmark.py."""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch


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
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
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
