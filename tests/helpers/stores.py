"""Small feature stores of made-up numbers."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.features.meta import VideoMeta
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore

RECIPE = {
    "preset": "fast",
    "backbone": "i3d",
    "weights_sha256": "0123456789abcdef",
    "feature_size": 4,
    "views": {"clip": 1, "patch2x3": 6},
    "geometry": {"clip": "short side 256", "patch2x3": "480x840"},
}


META = VideoMeta(
    frames=40,
    snippets=3,
    fps=12.5,
    width=64,
    height=48,
    decoder="pyav",
    source_bytes=11,
    source_mtime_ns=0,
    source_sha256="b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",  # of b"hello world"
)


def made_up_meta(snippets: int, fps: float) -> VideoMeta:
    """Of a video that there never was, all of whose snippets are whole."""
    return VideoMeta(
        frames=16 * snippets,
        snippets=snippets,
        fps=fps,
        width=64,
        height=48,
        decoder="made up",
        source_bytes=0,
        source_mtime_ns=0,
        source_sha256="",
    )


def features(number: float = 1.0, snippets: int = 3) -> dict[str, np.ndarray]:
    """Different in every place, and exact in float16."""
    values = {}
    for name, count in {"clip": 1, "patch2x3": 6}.items():
        values[name] = number + np.arange(snippets * count * 4.0).reshape(snippets, count, 4) / 4
    return values


def add(store: FeatureStore, video: str, number: float = 1.0, stamps: np.ndarray | None = None) -> None:
    with store.writer(video) as writer:
        writer.append(features(number))
        writer.meta, writer.stamps = META, stamps


def jittered() -> np.ndarray:
    """Times of META's 40 frames, with a pause."""
    return np.cumsum(np.tile([0.05, 0.11], 20)) + (np.arange(40) >= 20) * 600.0


def source(folder: Path, content: bytes = b"hello world", mtime_ns: int = 0) -> Path:
    """A source file; as it is by default, META describes it."""
    path = folder / "source.mp4"
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def add_motion(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a store that has the view `motion`, too."""
    return {
        **recipe,
        "views": {**recipe["views"], "motion": 48},
        "geometry": {**recipe["geometry"], "motion": "made up"},
        "sizes": {"motion": 12},
    }


def with_motion(store: FeatureStore, root: Path, fast: Collection[str] = ()) -> FeatureStore:
    """A copy of a store with the view `motion`: cells move at random, those of `fast` ten times as fast."""
    copy, rng = create_store(root, add_motion(store.recipe), store.dtype), np.random.default_rng(0)
    for video in store.videos():
        views = {name: np.array(rows) for name, rows in store.read(video).items()}
        cells = rng.random((store.meta(video).snippets, 48, 12))
        cells[..., :4] *= 0.01 if video in fast else 0.001
        cells[..., 4:] /= cells[..., 4:].sum(axis=-1, keepdims=True)
        with copy.writer(video) as writer:
            writer.append({**views, "motion": cells})
            writer.meta = store.meta(video)
    return copy
