"""Kills extractions at random moments, again and again, and compares their final stores.

    .venv/bin/python scripts/endurance/kill_extract.py --kills 50

Tiny videos are extracted with means of pixels in place of a network: once without a stop, and once by
runs that are killed (SIGKILL) until one may finish. Both stores must be equal, byte for byte, with
nothing left beside them; otherwise the exit code is 1. Each run is a fork of this process, which has
loaded everything, so starting again costs nothing. The decoding processes are real. Not for Windows.
"""

import argparse
import filecmp
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


def files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def differing_files(one: Path, other: Path) -> list[str]:
    """Those that only one of two folders has among them."""
    both = files(one).keys() & files(other).keys()
    same, *_ = filecmp.cmpfiles(one, other, both, shallow=False)
    return sorted((files(one).keys() | files(other).keys()) - set(same))


def kill_and_compare(folder: Path, kills: int, videos: int, frames: int, seed: int) -> list[str]:
    """Prints a line for each kill; returns the names of the files that differ in the end."""
    make_videos(folder / "videos", videos, frames)
    extractor, store = make_extractor(), folder / "killed"
    seconds = finish(folder / "videos", folder / "whole", extractor)
    header = 128  # bytes, of a .npy without rows
    moments, within, between = random.Random(seed), 0, 0
    for kill in range(kills):
        process = start(folder / "videos", store, extractor)
        # About half of the runs finish a video; of the others nothing is kept, as only whole videos are.
        process.join(moments.uniform(0, 2 * seconds / videos))
        over = process.exitcode is not None
        process.kill()
        process.join()
        found = files(store)
        scratch = [name for name in found if ".part/" in name]
        rows = sum(found[name].stat().st_size > header for name in scratch if name.endswith(".npy"))
        stored = sum(name.endswith("meta.json") for name in found.keys() - set(scratch))
        within, between = within + any(".part" in name for name in found), between + (rows > 0)
        print(
            f"kill {kill + 1}: {stored} of {videos} videos stored, {len(scratch)} files left half"
            + ", over" * over
        )
        if stored == videos:  # begin again, so that every kill meets work
            for name, path in found.items():
                if name.endswith(".npy"):
                    path.unlink()
    finish(folder / "videos", store, extractor)
    print(
        f"{kills} kills, {within} of them within a video, {between} behind its first snippets; "
        f"an extraction without any took {seconds:.1f} s"
    )
    return differing_files(folder / "whole", store)


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
