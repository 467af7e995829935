"""Stage one on a Ray cluster: each video is a task, the store is one that all nodes see.

    ssrl-pipeline extract --videos videos/ --cluster ray --address HEAD:6379

Each worker process makes its own extractor and keeps it. The videos and the store lie on a file
system that all nodes share, under the same path.
"""

import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from ssrl_pipeline.cluster.progress import ClusterProgress, require_visible
from ssrl_pipeline.cluster.ray import Cluster, Lost, Task, Tell, counting
from ssrl_pipeline.errors import BusyError, PipelineError
from ssrl_pipeline.extraction.extract import ExtractorOptions, Plan, find_videos, make_plan, skip
from ssrl_pipeline.extraction.storing import Outcome, Progress, store_video
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features.opening import create_store, open_store
from ssrl_pipeline.features.recipe import require_same_recipe
from ssrl_pipeline.features.store import FeatureStore


class _Bench(NamedTuple):
    """What a worker makes once and keeps: an extractor, and a store to write to."""

    options: ExtractorOptions
    device: str
    threads: int
    features: Path | str


def extract_on_cluster(
    root: Path,
    features: Path | str,
    options: ExtractorOptions,
    cluster: Cluster,
    dtype: str = "float32",
    begin: Callable[[Plan], Progress] = lambda plan: Progress(),
) -> tuple[FeatureStore, list[Outcome]]:
    """Like :func:`ssrl_pipeline.extraction.extract.extract`; the longest videos are given out first.

    Args:
        root, features, dtype, begin: as there.
        options: what each worker makes its extractor of.
        cluster: where the work goes.

    Raises:
        PipelineError: as there; or a node lacks the videos, the store or the weights.
    """
    root = root.absolute()
    features = features if isinstance(features, str) else features.absolute()
    if options.weights not in (None, "random"):
        options = options._replace(weights=str(Path(str(options.weights)).absolute()))
    videos = find_videos(root, pictures=options.picture_fps is not None)
    store = create_store(features, options.recipe(), dtype)
    todo, plan = make_plan(videos, store, options.drop_last, options.picture_fps)
    progress = begin(plan)
    shown = ClusterProgress(progress)
    bench = _Bench(options, cluster.device, cluster.cpus, features)
    try:
        outcomes = skip(videos.keys() - todo.keys(), store, progress)
        tasks = [Task(name, _extract_one, (bench, name, path)) for name, path in todo.items()]
        for name, result in cluster.map(tasks, shown.count):
            outcomes[name] = (
                Outcome(name, "failed", reason=result.reason) if isinstance(result, Lost) else result
            )
            shown.finish(outcomes[name])
        require_visible([name for name, o in outcomes.items() if o.status == "done"], store.meta)
    finally:
        progress.close()
    return store, [outcomes[name] for name in videos]


def _extract_one(bench: _Bench, name: str, path: Path, tell: Tell) -> Outcome:
    """On a worker.

    Raises:
        BusyError: another process is at the video.
        PipelineError: the node lacks what it needs, or the disk is full.
    """
    store, extractor = _set_up(bench)
    if not path.parent.is_dir():  # the driver has seen it
        raise PipelineError(f"{path.parent}: no such folder; the videos must be where all nodes see them")
    with store.claim(name) as mine:
        if not mine:
            raise BusyError(f"{path}: another process is extracting it")
        return store_video(name, path, store, extractor, counting(tell))


@lru_cache(maxsize=1)
def _set_up(bench: _Bench) -> tuple[FeatureStore, FeatureExtractor]:
    """Once in each worker process."""
    torch.set_num_threads(bench.threads)
    store = open_store(bench.features)
    extractor = bench.options.build(bench.device)
    here = f"the extractor on {socket.gethostname()}"
    require_same_recipe(store.recipe, extractor.recipe, f"the store {bench.features}", here)
    return store, extractor
