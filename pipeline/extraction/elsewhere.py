"""Stage one in other processes, of this machine or of a cluster, all into one store.

    ssrl-pipeline extract --videos videos/ --devices cuda:0,cuda:1
    ssrl-pipeline extract --videos videos/ --cluster ray --address HEAD:6379

Each process makes its own extractor and keeps it; the longest videos are given out first. On a cluster
the videos and the store lie on a file system that all nodes share, under the same path.
"""

import socket
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from ssrl_pipeline.cluster import Post, Workers, require_visible
from ssrl_pipeline.console import DONE, Outcome, Progress
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extraction.stage import WORKERS, Extracting, ExtractorOptions
from ssrl_pipeline.extraction.storing import Claimed, claim, store_videos
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features import FeatureStore, open_store, require_same_recipe


class _Bench(NamedTuple):
    """What a process makes once and keeps: an extractor, and a store to write to."""

    options: ExtractorOptions
    features: Path | str
    videos: int | None  # that it decodes at the same time


def extract_elsewhere(
    workers: Workers, options: ExtractorOptions, videos_at_once: int | None = None
) -> Extracting:
    """For :func:`ssrl_pipeline.extraction.stage.extract`.

    What it yields ends with a PipelineError where a node lacks the videos, the store or the weights. On a CPU
    the last bits of features depend on the threads that a process has.

    Args:
        workers: do the work.
        options: what each makes its extractor of.
        videos_at_once: that each process on this machine decodes; None: 1 on a CPU, 4 on a GPU.
    """

    def place(
        videos: Mapping[str, Path], extractor: FeatureExtractor, store: FeatureStore, progress: Progress
    ) -> Iterator[Outcome]:
        bench = _Bench(options, store.root, videos_at_once)
        if workers.elsewhere:
            bench = _in_any_folder(bench)
            videos = {name: path.absolute() for name, path in videos.items()}
        stored = []
        for outcome in workers.map(videos, partial(_extract, bench), progress):
            if outcome.status == DONE:
                stored.append(outcome.video)
            yield outcome
        if workers.elsewhere:
            require_visible(stored, store.meta)

    return place


def _in_any_folder(bench: _Bench) -> _Bench:
    """For processes that are not in this one's folder."""
    features, weights = bench.features, bench.options.weights
    if isinstance(features, Path):
        features = features.absolute()
    if weights not in (None, "random"):
        weights = str(Path(str(weights)).absolute())
    calibration = bench.options.calibration
    if calibration is not None:
        calibration = str(Path(calibration).absolute())
    options = bench.options._replace(weights=weights, calibration=calibration)
    return bench._replace(features=features, options=options)


def _extract(bench: _Bench, post: Post) -> None:
    """In another process.

    Raises:
        PipelineError: the node lacks what it needs, or the disk is full.
    """
    store, extractor = _set_up(bench, post.device, post.threads)
    at_once = 1 if post.alone else bench.videos or WORKERS[extractor.device.type]
    store_videos(_claimed(post, store), store, extractor, at_once, post)


def _claimed(post: Post, store: FeatureStore) -> Iterator[Claimed | None]:
    for task in post.tasks():
        if task is None:
            yield None
            continue
        name, path = task
        if post.elsewhere and not path.parent.is_dir():  # the driver has seen it
            raise PipelineError(f"{path.parent}: no such folder; the videos must be where all nodes see them")
        if claimed := claim(store, name, path):
            yield claimed
        else:
            post.busy(name)


@lru_cache(maxsize=1)
def _set_up(bench: _Bench, device: str, threads: int) -> tuple[FeatureStore, FeatureExtractor]:
    """Once in each process."""
    torch.set_num_threads(threads)
    extractor = bench.options.build(device)
    store = open_store(bench.features)
    here = f"the extractor on {socket.gethostname()}"
    require_same_recipe(store.recipe, extractor.recipe, f"the store {bench.features}", here)
    return store, extractor
