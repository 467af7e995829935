"""What an extraction will take on this machine, told before it is begun.

    ssrl-pipeline extract --videos videos/ --preset fast --dry-run

Nothing is stored for it.
"""

import math
import shutil
import statistics
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.errors import StoreError, VideoError
from ssrl_pipeline.extract import expected_snippets, find_videos
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decode import open_video
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.store import FeatureStore, is_store, require_same_recipe

SAMPLED = 3  # videos that are timed
TIMED = 2  # snippets of each, after one that warms up


class Estimate(NamedTuple):
    """What was counted and timed."""

    videos: int
    todo: int  # of these, not in the store or changed since
    unreadable: list[str]  # of those, whose container tells nothing; counted as no snippets
    snippets: int  # that the containers of `todo` promise
    disk_bytes: int  # of their features
    free_bytes: int | None  # on the store's disk; None: an object store tells of none
    seconds: float  # for all of `todo`; nan where no video could be timed
    seconds_spread: tuple[float, float]  # by the quickest and by the slowest of the timed videos


def estimate(
    root: Path, features: Path | str, extractor: FeatureExtractor, dtype: str = "float32", devices: int = 1
) -> Estimate:
    """Counts what an extraction has before it, and times a few snippets of videos spread over the folder.

    Args:
        root, features, extractor, dtype: as of :func:`ssrl_pipeline.extract.extract`.
        devices: how many like the extractor's will share the work; the time of one is divided by it.

    Raises:
        PipelineError: there are no videos, or the store is of another recipe.
    """
    videos = find_videos(root)
    store = _open_store(features, extractor)
    todo = {name: path for name, path in videos.items() if not (store and store.is_current(name, path))}
    counts = dict(zip(todo, expected_snippets(todo.values(), extractor.preset.drop_last), strict=True))
    total = sum(counts.values())
    row = sum(extractor.preset.view_sizes.values()) * extractor.backbone.feature_size
    timed = _time_some({name: todo[name] for name, count in counts.items() if count}, extractor)
    seconds = [one / devices for one in timed]
    return Estimate(
        videos=len(videos),
        todo=len(todo),
        unreadable=[name for name, count in counts.items() if not count],
        snippets=total,
        disk_bytes=total * row * (2 if dtype == "float16" else 4),
        free_bytes=None if isinstance(features, str) else shutil.disk_usage(_existing(features)).free,
        seconds=total * statistics.mean(seconds) if seconds else (math.nan if todo else 0.0),
        seconds_spread=(total * min(seconds), total * max(seconds)) if seconds else (math.nan, math.nan),
    )


def _open_store(features: Path | str, extractor: FeatureExtractor) -> FeatureStore | None:
    """The store that is there; None where an extraction would make one."""
    try:
        store = FeatureStore.open(features)
    except StoreError:
        if is_store(features):
            raise
        return None
    require_same_recipe(store.recipe, extractor.recipe, f"the store {features}", "this extraction")
    return store


def _time_some(videos: Mapping[str, Path], extractor: FeatureExtractor) -> list[float]:
    """Seconds a snippet, decoding among them, of each of some videos spread evenly."""
    paths = list(videos.values())
    spread = [paths[len(paths) * i // SAMPLED] for i in range(SAMPLED)] if len(paths) > SAMPLED else paths
    seconds = []
    for path in spread:
        try:
            with open_video(path, "opencv") as video:  # which does not go through a long file first
                any(True for _ in extractor.stream(islice(video.frames, SNIPPET_FRAMES)))  # warms up
                start = time.perf_counter()
                count = sum(1 for _ in extractor.stream(islice(video.frames, TIMED * SNIPPET_FRAMES)))
        except VideoError:
            continue
        if count:
            seconds.append((time.perf_counter() - start) / count)
    return seconds


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def duration(seconds: float) -> str:
    """``3.2 hours``: for a person."""
    if math.isnan(seconds):
        return "unknown"
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def size(count: float) -> str:
    """``2.56 GB``: decimal, as disks are sold."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(count, 1), 1000) + 1e-9), len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"
