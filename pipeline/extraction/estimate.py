"""What an extraction will take on this machine, told before it is begun.

    ssrl-pipeline extract --videos videos/ --preset fast --dry-run

Nothing is stored for it.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.disk import free_bytes
from ssrl_pipeline.errors import StoreError, VideoError
from ssrl_pipeline.extraction.stage import WORKERS, snippet_bytes
from ssrl_pipeline.extraction.videos import expected_snippets, videos_of
from ssrl_pipeline.extractors import FeatureExtractor, cut_snippets, is_full
from ssrl_pipeline.extractors.decoding import Video
from ssrl_pipeline.features import FeatureStore, is_store, open_store, require_same_recipe

SAMPLED = 3  # videos that are timed
TIMED = 2  # times that a group of its snippets is described, after once to warm up


class Estimate(NamedTuple):
    """What was counted and timed."""

    videos: int
    todo: int  # of these, not in the store or changed since
    unreadable: list[str]  # of those, that cannot be opened; counted as no snippets
    guessed: list[str]  # of those, whose container tells no sure length; counted by their size
    empty: list[str]  # of those, that open and have no snippets: without frames, or shorter than one
    snippets: int  # that the containers of `todo` promise, and those of `guessed`
    disk_bytes: int  # of their features
    free_bytes: int | None  # on the store's disk; None: an object store tells of none
    seconds: float  # for all of `todo`; nan where no video could be timed
    seconds_spread: tuple[float, float]  # by the quickest and by the slowest of the timed videos


def estimate(
    videos: Path | Mapping[str, Path],
    features: Path | str,
    extractor: FeatureExtractor,
    dtype: str = "float32",
    devices: int = 1,
    workers: int | None = None,
) -> Estimate:
    """Counts what an extraction has before it, and times a few snippets of videos spread over the folder.

    Args:
        videos, features, extractor, dtype: as of :func:`ssrl_pipeline.extraction.stage.extract`.
        devices: how many like the extractor's will share the work; the time of one is divided by it.
        workers: videos decoded at the same time; None: 1 on a CPU, 4 on a GPU.

    Raises:
        PipelineError: there are no videos, or the store is of another recipe.
    """
    videos = videos_of(videos, extractor.picture_fps is not None)
    store = _open_store(features, extractor)
    fps = extractor.picture_fps
    todo = {name: path for name, path in videos.items() if not (store and store.is_current(name, path, fps))}
    counted = expected_snippets(todo.values(), extractor.preset.drop_last, extractor.fps, fps)
    expected = dict(zip(todo, counted, strict=True))
    total = sum(one.snippets for one in expected.values())
    workers = workers or WORKERS[extractor.device.type]
    timed = _time_some([todo[name] for name, one in expected.items() if one.snippets], extractor, workers)
    seconds = [one / devices for one in timed]
    return Estimate(
        videos=len(videos),
        todo=len(todo),
        unreadable=[name for name, one in expected.items() if not one.opens],
        guessed=[name for name, one in expected.items() if one.guessed and one.snippets],
        empty=[name for name, one in expected.items() if one.opens and not one.snippets],
        snippets=total,
        disk_bytes=total * snippet_bytes(extractor.recipe, dtype),
        free_bytes=None if isinstance(features, str) else free_bytes(features),
        seconds=total * statistics.mean(seconds) if seconds else (math.nan if todo else 0.0),
        seconds_spread=(total * min(seconds), total * max(seconds)) if seconds else (math.nan, math.nan),
    )


def _open_store(features: Path | str, extractor: FeatureExtractor) -> FeatureStore | None:
    """The store that is there; None where an extraction would make one."""
    try:
        store = open_store(features)
    except StoreError:
        if is_store(features):
            raise
        return None
    require_same_recipe(store.recipe, extractor.recipe, f"the store {features}", "this extraction")
    return store


def _time_some(paths: Sequence[Path], extractor: FeatureExtractor, workers: int) -> list[float]:
    """Seconds a snippet, of each of some videos spread evenly."""
    spread = [paths[len(paths) * i // SAMPLED] for i in range(SAMPLED)] if len(paths) > SAMPLED else paths
    seconds = []
    for path in spread:
        try:
            with extractor.opener(workers)(path) as video:
                group, reading = _read_group(video, extractor)
        except VideoError:
            continue
        if group:
            describing = time_describing(group, extractor)
            # A GPU works beside those that read; on a CPU they take its cores from each other.
            on_cpu = extractor.device.type == "cpu"
            seconds.append(reading + describing if on_cpu else max(reading / workers, describing))
    return seconds


def _read_group(video: Video, extractor: FeatureExtractor) -> tuple[list[np.ndarray], float]:
    """The snippets that an extraction describes together, and the seconds that reading one took."""
    group: list[np.ndarray] = []
    start = time.perf_counter()
    frames = (frame for frame in video.frames if frame.size)  # those that are described
    for snippet in cut_snippets(frames, extractor.preset.drop_last, extractor.pending()):
        group.append(snippet)
        if is_full(group, extractor.batch):
            break
    count = len(group)
    seconds = (time.perf_counter() - start) / max(1, count)
    while group and not is_full(group, extractor.batch):  # it would share the group with other videos
        group.append(group[-count])
    return group, seconds


def time_describing(group: Sequence[np.ndarray], extractor: FeatureExtractor) -> float:
    """Seconds a snippet, the wait for the device among them."""
    extractor.describe(group)  # a GPU gets its memory, and compiles what is compiled
    group = group[: extractor.batch]  # which is less where the memory did not suffice
    start = time.perf_counter()
    for _ in range(TIMED):
        extractor.describe(group)
    return (time.perf_counter() - start) / (TIMED * len(group))
