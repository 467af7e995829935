"""Peak memory of extraction by the length of a video; it must not grow with the length.

    python scripts/bench/extraction_memory.py --minutes 1 10 120

Each length is decoded, cut and stored in a process of its own, as `extract` does it. Means of
pixels stand in for the network, so that two hours take minutes; the network's own memory depends
only on the size of a batch. The script reports the peaks of the process and of its decoder.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor

FPS = 25


class Peak(NamedTuple):
    minutes: float
    snippets: int
    seconds: float
    extraction_mib: float
    decoder_mib: float


class Means:
    """Means of pixels as features."""

    name = "means"

    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, 1024]."""
        return torch.nn.functional.adaptive_avg_pool2d(clips.float().mean((1, 2)), (32, 32)).flatten(1)


def make_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size)
    frame = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    frame = cv2.GaussianBlur(frame, (0, 0), 5)
    for i in range(frames):
        writer.write(np.roll(frame, 2 * i, axis=1))
    writer.release()


def measure(folder: Path, minutes: float, size: tuple[int, int], preset: str) -> Peak:
    torch.set_num_threads(1)
    video = folder / f"{minutes:g}.mp4"
    make_video(video, round(minutes * 60 * FPS), size)
    extractor = FeatureExtractor("i3d", preset, "cpu", "random", engine="eager")
    for one in extractor.passes:
        extractor.networks.engines[one.network] = Means()
    start, decoder, done = time.perf_counter(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            decoder.append(max(map(peak, children()), default=0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, (outcome,) = extract(video, folder / f"{minutes:g}", extractor)
    done.set()
    watcher.join()
    seconds = time.perf_counter() - start
    assert outcome.status == "done", outcome.reason
    video.unlink()
    return Peak(minutes, outcome.snippets, seconds, peak(os.getpid()), max(decoder))


def children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def peak(process: int) -> float:
    """MiB since the process started its program. Linux only."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line), 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 120])
    parser.add_argument("--size", type=int, nargs=2, default=[320, 240], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--preset", default="fast")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in arguments.minutes:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                size = (arguments.size[0], arguments.size[1])
                rows.append(pool.submit(measure, Path(folder), minutes, size, arguments.preset).result())
                print(*rows[-1], flush=True)
    print(table(rows, Peak._fields))


if __name__ == "__main__":
    main()
