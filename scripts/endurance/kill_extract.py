"""Kills extractions at random moments, again and again, and compares their final stores.

    .venv/bin/python scripts/endurance/kill_extract.py --kills 50

Tiny videos are extracted with means of pixels in place of a network: once without a stop, and once by
runs that are killed (SIGKILL) until one may finish. Both stores must be equal, byte for byte, with
nothing left beside them; otherwise the exit code is 1. Each run is a fork of this process, which has
loaded everything, so starting again costs nothing. The decoding processes are real. Not for Windows.
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor

SECONDS = 0.02  # of the stand-in for a view of a snippet, so that many kills fall between two snippets


def stand_in(clips: Tensor) -> Tensor:
    """uint8 [B, 3, t, h, w] -> float32 [B, 1024]: means of pixels."""
    time.sleep(SECONDS)
    return torch.nn.functional.adaptive_avg_pool2d(clips.float().mean((1, 2)), (32, 32)).flatten(1)


def make_extractor() -> FeatureExtractor:
    torch.set_num_threads(1)  # a fork has the threads of nobody
    extractor = FeatureExtractor("i3d", "live", "cpu", "random", engine="eager")
    stand_in.name = "means"  # type: ignore[attr-defined]
    for one in extractor.passes:
        extractor.networks.engines[one.network] = stand_in  # type: ignore[assignment]
    return extractor


def make_videos(folder: Path, count: int, frames: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"camera{number % 2}" / f"{number:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
        for _ in range(frames):
            writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        writer.release()


def start(videos: Path, store: Path, extractor: FeatureExtractor) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=extract, args=(videos, store, extractor))
    process.start()
    return process


def finish(videos: Path, store: Path, extractor: FeatureExtractor) -> float:
    """Lets an extraction end by itself, and says how many seconds it took."""
    started = time.perf_counter()
    process = start(videos, store, extractor)
    process.join()
    if process.exitcode:
        sys.exit("an extraction that nobody stopped failed")
    return time.perf_counter() - started


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not: path -> content, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def kill_and_compare(folder: Path, kills: int, videos: int, frames: int, seed: int) -> list[str]:
    """Prints a line for each kill; returns the names of the files that differ in the end."""
    make_videos(folder / "videos", videos, frames)
    extractor, store = make_extractor(), folder / "killed"
    seconds = finish(folder / "videos", folder / "whole", extractor)
    whole = contents(folder / "whole")
    header = 128  # bytes, of a .npy without rows
    moments, within, between = random.Random(seed), 0, 0
    for kill in range(kills):
        process = start(folder / "videos", store, extractor)
        # About half of the runs finish a video; of the others nothing is kept, as only whole videos are.
        process.join(moments.uniform(0, 2 * seconds / videos))
        over = process.exitcode is not None
        process.kill()
        process.join()
        found = contents(store)
        scratch = [name for name in found if ".part/" in name]
        rows = sum(len(found[name] or b"") > header for name in scratch if name.endswith(".npy"))
        stored = sum(name.endswith("meta.json") for name in found.keys() - set(scratch))
        within, between = within + any(".part" in name for name in found), between + (rows > 0)
        print(
            f"kill {kill + 1}: {stored} of {videos} videos stored, {len(scratch)} files left half"
            + ", over" * over
        )
        if stored == videos:  # begin again, so that every kill meets work
            for name in found:
                if name.endswith(".npy"):
                    (store / name).unlink()
    finish(folder / "videos", store, extractor)
    killed = contents(store)
    print(
        f"{kills} kills, {within} of them within a video, {between} behind its first snippets; "
        f"an extraction without any took {seconds:.1f} s"
    )
    return sorted(name for name in whole.keys() | killed.keys() if whole.get(name, 0) != killed.get(name, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=160)
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
