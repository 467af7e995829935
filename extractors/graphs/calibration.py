"""The clips by which a network is quantised: ones that we make, or of videos that the user names.

What we make are moving dead leaves: discs and boxes of all sizes and colours that cover each other, some
still and some on the move, with texture, noise and light that changes. Such pictures have the statistics
of natural ones (Lee, Mumford and Huang 2001), and they are the same on every machine. Networks learn
from them what they learn from photographs (Baradad et al. 2021); we only ask how large numbers become.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ssrl_pipeline.disk import file_sha256
from ssrl_pipeline.errors import ConfigError, VideoError
from ssrl_pipeline.extractors import cut_snippets
from ssrl_pipeline.extractors.decoding import EXTENSIONS, open_video

CLIPS = 32
SKIPPED = 3  # snippets between two that are taken of a video
LEAVES = 120
RULE = 1  # changes with everything here that changes clips or what is done with them


class Calibration:
    """Clips of any size, always the same ones.

    Args:
        folder: of videos; None: clips that we make.

    Raises:
        ConfigError: there are no videos.
    """

    def __init__(self, folder: Path | None = None):
        self.folder, self.videos = folder, [] if folder is None else _videos_of(folder)

    @cached_property
    def sha256(self) -> str:
        """Of all that decides the clips."""
        about = ["dead leaves"] if self.folder is None else [file_sha256(path) for path in self.videos]
        return hashlib.sha256(json.dumps([RULE, CLIPS, *about]).encode()).hexdigest()

    def clips(self, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """uint8 [1, 3, t, h, w], for a size [3, t, h, w]. Raises VideoError where none can be decoded."""
        _, frames, height, width = shape
        if self.folder is None:
            for number in range(CLIPS):
                yield _dead_leaves(np.random.default_rng([RULE, number]), frames, height, width)[None]
            return
        for number, snippet in enumerate(self._snippets()):
            rng = np.random.default_rng([RULE, number])
            yield _window(rng, snippet[:: len(snippet) // frames], height, width)[None]

    def _snippets(self) -> Iterator[np.ndarray]:
        """uint8 [16, H, W, 3]: as many of each video, CLIPS together; of what cannot be read none."""
        each, count, reason = -(-CLIPS // len(self.videos)), 0, None
        for path in self.videos:
            try:
                snippets = cut_snippets(open_video(path).frames)
                for snippet in islice(snippets, 0, each * (SKIPPED + 1), SKIPPED + 1):
                    yield snippet
                    count += 1
            except VideoError as error:
                reason = error
        if reason and not count:
            raise reason


def _videos_of(folder: Path) -> list[Path]:
    """At most CLIPS of them, spread over the folder."""
    try:
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    except OSError as error:
        raise ConfigError(f"--calibration {folder}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"--calibration {folder}: no videos there; name a folder that holds some")
    return found if len(found) <= CLIPS else [found[len(found) * i // CLIPS] for i in range(CLIPS)]


def _window(rng: np.random.Generator, frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """A part of the frames, a third of them or more, brought to size: uint8 [3, t, height, width]."""
    most = min(frames.shape[1] / height, frames.shape[2] / width)
    scale = most * rng.uniform(1 / 3, 1)
    h, w = max(1, int(scale * height)), max(1, int(scale * width))
    y, x = rng.integers(frames.shape[1] - h + 1), rng.integers(frames.shape[2] - w + 1)
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    sized = [
        cv2.resize(frame, (width, height), interpolation=way) for frame in frames[:, y : y + h, x : x + w]
    ]
    return np.ascontiguousarray(np.stack(sized).transpose(3, 0, 1, 2))


def _dead_leaves(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """uint8 [3, frames, height, width]: leaves of radius r in numbers of r^-3, those of a clip alike."""
    small, big = rng.uniform(3, 8), max(height, width) * rng.uniform(0.4, 1)
    radius = (small**-2 + (big**-2 - small**-2) * rng.random(LEAVES)) ** -0.5
    radius[:2] = 2 * big  # the ground
    place = rng.uniform(-0.1, 1.1, (LEAVES, 2)) * (width, height)
    speed = rng.normal(0, rng.uniform(0.3, 4), (LEAVES, 2))  # pixels a frame
    speed[rng.random(LEAVES) < rng.uniform(0.3, 0.9)] = 0
    grey = rng.normal(rng.uniform(60, 160), rng.uniform(20, 60), (LEAVES, 1))
    colour = np.clip(grey + rng.normal(0, rng.uniform(0, 25), (LEAVES, 3)), 0, 255)
    sides = np.stack([radius, radius * rng.uniform(0.2, 1, LEAVES)], axis=1) * 2
    turn, is_disc = rng.uniform(0, 180, LEAVES), rng.random(LEAVES) < 1 / 3
    texture = np.zeros((height, width, 1), np.float32)
    for grain, depth in zip((4, 16, 64), rng.uniform(0, 12, 3), strict=True):
        blots = rng.standard_normal((grain, grain), dtype=np.float32)
        texture[..., 0] += depth * cv2.resize(blots, (width, height), interpolation=cv2.INTER_CUBIC)
    noise, brighter = rng.uniform(0, 5), rng.uniform(-0.1, 0.1)
    clip = np.empty((3, frames, height, width), np.uint8)
    for i in range(frames):
        image = np.full((height, width, 3), 128, np.float32)
        for k, middle in enumerate((place + i * speed).tolist()):
            box = (middle, sides[k].tolist(), float(turn[k]))
            if is_disc[k]:
                cv2.ellipse(image, box, colour[k].tolist(), -1, cv2.LINE_AA)
            else:
                corners = np.round(cv2.boxPoints(box) * 16).astype(np.int32)
                cv2.fillConvexPoly(image, corners, colour[k].tolist(), cv2.LINE_AA, 4)
        image = cv2.GaussianBlur(image + texture, (0, 0), 0.6) * (1 + brighter * i / frames)
        image += noise * rng.standard_normal(image.shape, dtype=np.float32)
        clip[:, i] = np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    return clip
