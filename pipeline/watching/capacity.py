"""How many cameras this machine carries with a checkpoint, by a watch of made-up ones that is timed.

    ssrl-pipeline info --checkpoint runs/x/best.pt
    ssrl-pipeline watch -c cameras.yaml --check

They send as fast as their snippets are taken, so all that a watch does with one counts, as it does it:
decoding, the camera's health, masks, comparing, motion, the network and the window.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors import SNIPPET_FRAMES
from ssrl_pipeline.extractors.decoding import Limits, Video, open_video
from ssrl_pipeline.results import VideoWriter
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.camera import Started
from ssrl_pipeline.watching.cameras import CameraEntry
from ssrl_pipeline.watching.plan import Plan
from ssrl_pipeline.watching.post import Line
from ssrl_pipeline.watching.sources import Source
from ssrl_pipeline.watching.start import Models
from ssrl_pipeline.watching.watch import Watch

SIZE = 640, 360  # width and height of the cameras that are reckoned with
ASSUMED = 25.0  # frames a second that they send
FEWEST, MOST = 2, 16  # such cameras; between them, one a thread
SNIPPETS = 12  # that each sends, at most
SECONDS = 2.0  # that are timed, if there are snippets for so long, after the first of each camera
POLL = 0.001  # seconds
PATIENCE = 60.0  # seconds until the decoders of all have started


class Capacity(NamedTuple):
    """Seconds of the whole machine that a snippet takes, and frames a second that are described."""

    busy: float  # all of it changes
    quiet: float  # nothing does; hardly less where the features have no rule for that
    fps: float

    def cameras(self, seconds: float) -> float:
        """How many cameras leave no snippet out, if each of theirs takes so many seconds."""
        return SNIPPET_FRAMES / self.fps / seconds

    def told(self) -> str:
        busy, quiet = self.cameras(self.busy), self.cameras(self.quiet)
        size = "x".join(map(str, SIZE))
        return (
            f"{busy:.1f} busy or {quiet:.1f} quiet ones of {size} at {self.fps:g} described frames a second "
            f"({1 / self.busy:.2f} and {1 / self.quiet:.2f} snippets a second)"
        )


def measure_entries(
    entries: Sequence[CameraEntry], models: Models, settings: WatchSettings
) -> dict[Path | None, Capacity]:
    """Of each checkpoint that cameras name, or of the common one (None), with the most masks of a camera.

    Raises:
        PipelineError: a checkpoint, or the weights of its features, cannot be had.
    """
    plans: dict[Path | None, list[Plan]] = {}
    for entry, plan in zip(entries, models.plans(entries), strict=True):
        plans.setdefault(entry.checkpoint, []).append(plan)
    return {
        checkpoint: measure_capacity(max(own, key=lambda plan: len(plan.sight.masks)), settings)
        for checkpoint, own in plans.items()
    }


def measure_capacity(plan: Plan, settings: WatchSettings) -> Capacity:
    """Takes some seconds, a large model some more.

    Args:
        plan: of what cameras like the made-up ones would be.

    Raises:
        PipelineError: nothing was scored.
    """
    fps = min(ASSUMED, plan.analysis.chosen_fps or ASSUMED)
    with TemporaryDirectory() as folder:
        busy, quiet = Path(folder, "busy.mp4"), Path(folder, "quiet.mp4")
        frames = round(max(4.0, SNIPPETS * fps / ASSUMED) * SNIPPET_FRAMES * ASSUMED / fps)
        _write(busy, True, frames)
        _write(quiet, False, frames)
        settings = replace(settings, delay=0)
        return Capacity(_time(busy, plan, settings), _time(quiet, plan, settings), fps)


def _write(path: Path, moving: bool, frames: int) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.integers(60, 190, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    noisy = [np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    with VideoWriter(path, *SIZE, ASSUMED) as writer:
        for number in range(frames):
            writer.write(np.roll(noisy[number % 4], 8 * number * moving, axis=1))


def _time(path: Path, plan: Plan, settings: WatchSettings) -> float:
    """Seconds a snippet, once each camera has had one scored, until one has no more or it is long enough."""
    count = min(MOST, max(FEWEST, torch.get_num_threads()))
    opened, stop = threading.Barrier(count), threading.Event()
    first: dict[str, float] = {}
    scored: list[float] = []  # after all of these

    def opener(source: Source, timeout: float, started: Started) -> Video:
        rate = plan.analysis.chosen_fps
        video = open_video(path, Limits(threads=1), started, lend=True, rate=rate)
        opened.wait(PATIENCE)

        def held() -> bool:
            early = source.name in first and len(first) < count  # else it may be over before the others begin
            return (early or cameras[source.name].waiting()) and not stop.is_set()

        video.frames = _paced(video.frames, held)  # type: ignore[assignment]
        return video

    def tell(line: Line) -> None:
        now = time.perf_counter()
        if line["type"] in ("lost", "end"):
            stop.set()
        elif line["type"] == "score" and len(first) < count:
            first.setdefault(line["camera"], now)
        elif line["type"] == "score":
            scored.append(now)
            if len(scored) >= count and now - max(first.values()) >= SECONDS:
                stop.set()

    sources = [Source(f"{i}", "rtsp://made-up", "stream") for i in range(count)]
    plans = [replace(plan, source=source) for source in sources]
    watch = Watch(plans, settings, tell, lambda said: None, opener)
    cameras = {post.name: post.camera for post in watch.posts}
    watch.run(stop)
    if not scored:
        raise PipelineError("no snippet of a made-up camera was scored, so capacity is not known")
    return (scored[-1] - max(first.values())) / len(scored)


def _paced(frames: Iterator[np.ndarray], held: Callable[[], bool]) -> Iterator[np.ndarray]:
    """None comes while they are held, so that none is dropped."""
    for frame in frames:
        while held():
            time.sleep(POLL)
        yield frame
