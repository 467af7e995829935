"""Kills extractions at random moments, again and again, and compares what they end with.

    .venv/bin/python scripts/kill_extract.py --kills 50

Tiny videos are extracted, with means of pixels for a network, once without a stop, and once by runs
that are killed (SIGKILL) until one is left to finish. Both stores must be equal, byte
for byte, with nothing beside them. Exit code 1 where they are not.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

CHILD = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ssrl_pipeline.extract import extract
from ssrl_pipeline.extractors import FeatureExtractor
extractor = FeatureExtractor("i3d", "live", "cpu", "random")
pool = torch.nn.AdaptiveAvgPool3d((1, 32, 32))
extractor.backbone.forward = lambda clips: pool(clips.mean(1, keepdim=True)).flatten(1)
print("ready", flush=True)
extract(Path(sys.argv[1]), Path(sys.argv[2]), extractor)
"""


def make_videos(folder: Path, count: int, frames: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"camera{number % 2}" / f"{number:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
        for _ in range(frames):
            writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        writer.release()


def start(videos: Path, store: Path) -> subprocess.Popen[str]:
    """An extraction that has its network and is about to open the store."""
    command = [sys.executable, "-c", CHILD, str(videos), str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        sys.exit("the extraction did not start")
    return process


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not: path -> content, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def kill_and_compare(folder: Path, kills: int, videos: int, frames: int, seed: int) -> list[str]:
    """One line of report a kill, then what differs in the end; nothing where the stores are equal."""
    make_videos(folder / "videos", videos, frames)
    whole = start(folder / "videos", folder / "whole")
    started = time.perf_counter()
    if whole.wait():
        sys.exit("the extraction that nobody stopped failed")
    seconds = time.perf_counter() - started
    moments, left = random.Random(seed), 0
    for kill in range(kills):
        process = start(folder / "videos", folder / "killed")
        try:  # about half of the runs finish a video, as no more is kept of one than whole videos
            process.wait(moments.uniform(0, 2 * seconds / videos))
            over = True
        except subprocess.TimeoutExpired:
            over = False
            process.kill()
            process.wait()
        found = contents(folder / "killed") if (folder / "killed").exists() else {}
        scratch = sum(".part" in Path(name).name for name in found)
        stored = sum(name.endswith("meta.json") and ".part" not in name for name in found)
        left += scratch > 0
        print(f"kill {kill + 1}: {stored} of {videos} videos stored, {scratch} left half" + ", over" * over)
        if stored == videos:  # begin again, so that every kill meets work
            for name in list(found):
                if name.endswith(".npy") and "/." not in name:
                    (folder / "killed" / name).unlink()
    if start(folder / "videos", folder / "killed").wait():
        sys.exit(f"seed {seed}: the last extraction failed")
    first, second = contents(folder / "whole"), contents(folder / "killed")
    print(f"{kills} kills, {left} of them within a video; an extraction without any took {seconds:.1f} s")
    return sorted(name for name in first.keys() | second.keys() if first.get(name, 0) != second.get(name, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder:
        differing = kill_and_compare(Path(folder), **vars(arguments))
    if differing:
        sys.exit(f"the stores differ in {', '.join(differing)}")
    print("the stores are equal, byte for byte")


if __name__ == "__main__":
    main()
