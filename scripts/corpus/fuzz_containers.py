"""Feeds the decoder with videos whose bytes were changed at random, and watches this process.

    python scripts/corpus/fuzz_containers.py --count 500 --seed 1 --keep broken/

Each mutant must end in time, in frames or in a VideoError. This process must not gain memory, open
files or children. Frames that are read without a note must be no fewer than ffmpeg's program reads.
Two things are only counted, and their mutants kept where --keep names a folder: frames that differ
(VP8, MJPEG and FFV1 have no checksums and notice no damage within a frame), and decoding processes
that crash or hang, which is what they are there for. Anything else gives exit code 1. Linux only.
"""

import argparse
import gc
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from check_corpus import compare, ffmpeg_frames
from corpus import make

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import Limits, open_video

SEEDS = (  # healthy and small, one of each container and of the commonest codecs
    *("h264.mp4", "h264 fragmented.mp4", "h264.mkv", "h264.ts", "h264.flv", "h264.3gp", "h265.mp4"),
    *("av1.mp4", "vp8.webm", "vp9.webm", "mpeg1.mpg", "mpeg2.mpg", "mpeg4.avi", "mjpeg.avi"),
    *("wmv2.wmv", "flv1.flv", "theora.ogv", "h264 interlaced.ts", "with sound.mp4", "ffv1.mkv"),
)
MOST_FRAMES = 400  # ten times what a seed has: then it is enough
MOST_BYTES = 1 << 28  # of frames that are compared
READ, TOLD, UNLIKE = "read", "read, damage told", "read, other pixels than ffmpeg's"
KNOWN = (READ, TOLD, UNLIKE, "refused", "stopped", "crashed", "hung", "memory")
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1]
GROWTH = 64 << 20  # bytes that this process may come to have after the first mutants


class Fuzzed(NamedTuple):
    """The result of a run."""

    outcomes: Counter[str]  # of KNOWN, and "wrong"
    slowest: float  # seconds that a mutant took
    growth: int  # bytes of this process's memory, from the tenth mutant on
    wrong: list[str]  # what must not be


def flip(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    for i in rng.integers(at, at + length, size=rng.integers(1, 20)):
        content[i] ^= 1 << int(rng.integers(8))


def cut(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    del content[at : at + length if rng.random() < 0.5 else None]


def repeat(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    content[at:at] = content[at : at + length]


def swap(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    to = int(rng.integers(len(content)))
    content[at : at + length], content[to : to + length] = (
        content[to : to + length],
        content[at : at + length],
    )


def number(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    size, order = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["little", "big"]))
    value = NUMBERS[rng.integers(len(NUMBERS))] & ((1 << 8 * size) - 1)
    content[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]


def zero(rng: np.random.Generator, content: bytearray, at: int, length: int) -> None:
    content[at : at + length] = bytes(min(length, len(content) - at))


MUTATIONS: Sequence[Callable[[np.random.Generator, bytearray, int, int], None]] = (
    *(flip, cut, repeat, swap, number, number, zero),
)


def mutate(rng: np.random.Generator, content: bytes) -> bytes:
    """One to three changes; every second one is where headers and indices are."""
    mutant = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if len(mutant) < 2:
            break
        ends = min(1000, len(mutant) - 1)
        spots = [rng.integers(len(mutant)), rng.integers(ends), len(mutant) - 1 - rng.integers(ends)]
        at = int(spots[rng.choice(3, p=[0.5, 0.3, 0.2])])
        length = int(min(len(mutant) - at, 2 ** rng.uniform(0, 13)))
        MUTATIONS[rng.integers(len(MUTATIONS))](rng, mutant, at, max(1, length))
    return bytes(mutant)


def read(path: Path, limits: Limits, seconds: float) -> str:
    """Decodes as long as `seconds` allow; the outcome."""
    deadline, kept = time.monotonic() + seconds, []
    try:
        with open_video(path, limits) as video:
            shape = (video.info.height, video.info.width, 3)
            for count, frame in enumerate(video.frames, 1):
                if frame.shape != shape or frame.dtype != np.uint8:
                    return f"frame of {frame.dtype} {frame.shape}, not {shape}"
                if count >= MOST_FRAMES or time.monotonic() > deadline:
                    return "stopped"
                kept.append(frame)
        if video.damage():
            return TOLD
        if count * kept[0].nbytes > MOST_BYTES or not shutil.which("ffmpeg"):
            return READ
        truth = ffmpeg_frames(path, (shape[1], shape[0]), MOST_FRAMES)
        if count < len(truth):  # it may be that ffmpeg's version has lost some
            return f"{count} frames, ffmpeg reads {len(truth)}"
        return READ if compare(np.stack(kept), truth)[0] else UNLIKE
    except VideoError as error:
        text = str(error)
        if path.name not in text or "\n" in text or len(text) > 1000:
            return f"an error that is no line of its own: {text!r}"
        words = {"crashed": "crashed", "gave no answer": "hung", "more memory than": "memory"}
        return next((outcome for word, outcome in words.items() if word in text), "refused")


def holdings() -> tuple[list[str], int]:
    """Open files and children of this process; its memory in bytes."""
    gc.collect()
    task = f"/proc/self/task/{os.getpid()}/children"
    kept = [*os.listdir("/proc/self/fd"), "children", *Path(task).read_text().split()]  # noqa: PTH208
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return sorted(kept), pages * os.sysconf("SC_PAGE_SIZE")


def fuzz(
    seeds: Sequence[Path],
    scratch: Path,
    count: int,
    seed: int = 0,
    seconds: float = float("inf"),
    limits: Limits = Limits(seconds=10.0, memory=2 << 30),  # noqa: B008
    keep: Path | None = None,
) -> Fuzzed:
    """Decodes `count` mutants of the seeds, or as many as come to be in so many `seconds`."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest, first_bytes, begun = 0.0, 0, time.monotonic()
    before = holdings()[0]
    for i in range(count):
        if time.monotonic() - begun > seconds:
            break
        rng = np.random.default_rng([seed, i])
        source = seeds[i % len(seeds)]
        path = scratch / f"mutant {seed} {i}{source.suffix}"
        path.write_bytes(mutate(rng, source.read_bytes()))
        start = time.monotonic()
        try:
            outcome = read(path, limits, 2 * limits.seconds)
        except Exception as error:  # what a user would see as a traceback
            outcome = f"{type(error).__name__}: {error}"
        taken = time.monotonic() - start
        after, now = holdings()
        first_bytes = now if i < 10 else first_bytes
        known = outcome in KNOWN
        if not known or after != before or taken > 4 * limits.seconds:
            wrong.append(f"{path.name}: {outcome}, {taken:.1f} seconds, left {after}")
        if keep and (not known or outcome in (UNLIKE, "crashed", "hung", "memory")):
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, keep / path.name)
        path.unlink()
        outcomes[outcome if known else "wrong"] += 1
        slowest = max(slowest, taken)
    growth = holdings()[1] - first_bytes
    if growth > GROWTH:
        wrong.append(f"this process grew by {growth >> 20} MiB")
    return Fuzzed(outcomes, slowest, growth, wrong)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which it ends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for mutants that are worth a look")
    arguments = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; it makes the seeds")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "seeds"), SEEDS)
        seeds = [Path(folder, "seeds", name) for name in SEEDS]
        scratch = Path(folder)
        found = fuzz(seeds, scratch, arguments.count, arguments.seed, arguments.seconds, keep=arguments.keep)
    print(f"{sum(found.outcomes.values())} mutants of {len(seeds)} files: {dict(found.outcomes)}")
    print(f"the slowest took {found.slowest:.1f} s; this process grew by {found.growth / 2**20:.1f} MiB")
    if found.wrong:
        raise SystemExit("\n".join(["wrong:", *found.wrong]))


if __name__ == "__main__":
    main()
