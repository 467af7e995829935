"""Extracts one tiny video again and again in one process, and checks whether anything grows.

    .venv/bin/python scripts/endurance/long_life.py --seconds 600

Each round is the whole of `extract`: the search for videos, the process that reads headers, the one that
decodes, locks, the store's writer. Only the network is a stand-in. After each round, memory, threads, open
files, mapped regions and child processes are counted. The script reports their slope over the rounds after
the first tenth, in which caches fill. Linux only.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kill_extract import extract, make_extractor, make_videos

SELF = Path("/proc/self")


class Sample(NamedTuple):
    """What the process holds."""

    memory_kib: int  # its own; pages of files come and go as the system likes
    threads: int
    files: int
    maps: int
    children: int


def look() -> Sample:
    lines = (line.split() for line in (SELF / "status").read_text().splitlines())
    status = {name: rest for name, *rest in lines}
    tasks = list((SELF / "task").iterdir())
    return Sample(
        memory_kib=sum(int(status[name][0]) for name in ("RssAnon:", "VmSwap:")),
        threads=len(tasks),
        files=len(list((SELF / "fd").iterdir())) - 1,  # without the listing's own
        maps=(SELF / "maps").read_text().count("\n"),
        children=sum(len((task / "children").read_text().split()) for task in tasks),
    )


def live(folder: Path, seconds: float) -> np.ndarray:
    """Rounds until so many seconds are over: int [rounds, numbers of a sample]."""
    make_videos(folder / "videos", 1, 16)
    extractor = make_extractor()
    samples: list[Sample] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _, (outcome,) = extract(folder / "videos", folder / "features", extractor)
        assert outcome.status == "done", outcome
        shutil.rmtree(folder / "features" / outcome.video)
        samples.append(look())
        if len(samples) % 100 == 0:
            print(f"round {len(samples)}: {samples[-1]}", flush=True)
    return np.array(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = live(Path(folder), arguments.seconds)
    begin = len(samples) // 10
    rounds, settled = np.arange(begin, len(samples)), samples[begin:]
    print(f"{len(samples)} rounds; from round {begin} on:")
    for name, values in zip(Sample._fields, settled.T, strict=True):
        most, slope = values.max(), 1000 * np.polyfit(rounds, values, 1)[0]
        print(f"{name:10} {values[0]} to {values[-1]}, at most {most}, {slope:+.3f} in 1000 rounds")


if __name__ == "__main__":
    main()
