"""How many cameras this machine carries with a checkpoint, by a few snippets that are timed.

ssrl-pipeline info --checkpoint runs/x/best.pt
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.extraction import time_describing
from ssrl_pipeline.extractors import SNIPPET_FRAMES, FeatureExtractor
from ssrl_pipeline.extractors.decoding import Limits, open_video
from ssrl_pipeline.results import VideoWriter

SIZE = 640, 360  # width and height of the camera that is reckoned with
ASSUMED = 25.0  # frames a second that it sends
SNIPPETS = 4  # that are decoded and compared


class Capacity(NamedTuple):
    """Seconds of the whole machine that a snippet takes, and frames a second that are described."""

    busy: float  # all of it changes
    quiet: float  # nothing does; the same where the checkpoint's features have no rule for that
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


def measure_capacity(extractor: FeatureExtractor) -> Capacity:
    """Takes some seconds: a few snippets are decoded, compared and described, after one to warm up.

    A camera's decoding is one thread's work, which several cameras share out among the cores.
    """
    rng = np.random.default_rng(0)
    smooth = rng.integers(60, 190, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with TemporaryDirectory() as folder:
        path = Path(folder, "camera.mp4")
        with VideoWriter(path, SIZE[0], SIZE[1], ASSUMED) as writer:
            for _ in range(SNIPPETS * SNIPPET_FRAMES):
                writer.write(np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8))
        begun = time.perf_counter()
        with open_video(path, Limits(threads=1)) as video:
            frames = np.stack(list(video.frames))
        decoding = (time.perf_counter() - begun) / SNIPPETS
    unchanged, snippet = extractor.unchanged(), frames[:SNIPPET_FRAMES]
    deciding = _seconds(lambda: unchanged.decide(snippet), SNIPPETS)
    describing = time_describing([snippet] * extractor.batch, extractor)
    fps = min(ASSUMED, extractor.fps or ASSUMED)
    # Frames that are not described are decoded, too.
    reading = (decoding * ASSUMED / fps + deciding) / torch.get_num_threads()
    busy = reading + describing
    return Capacity(busy, reading if "unchanged" in extractor.recipe else busy, fps)


def _seconds(action: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - begun) / times
