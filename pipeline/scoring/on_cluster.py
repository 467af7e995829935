"""Stage three on a Ray cluster: each video is a task, the results are those of a run on one machine.

    ssrl-pipeline score videos/ --cluster ray --address HEAD:6379

What is done already, the driver finds by itself, as it makes report.html at the end. Each worker process
makes its own scorer and keeps it. It works in the driver's folder, for paths are kept in results as they
were given: so that folder, the videos, the checkpoint and the results are where all nodes see them.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from ssrl_pipeline.cluster.progress import ClusterProgress, require_visible
from ssrl_pipeline.cluster.ray import Cluster, Lost, Task, Tell, counting
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.rule import ChosenRule
from ssrl_pipeline.extraction.storing import Progress
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.results.video_scores import load_result
from ssrl_pipeline.scoring.job import FAILED, Finished, Job, carry_out, failed
from ssrl_pipeline.scoring.score import Place, outcome
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions


class _Bench(NamedTuple):
    """What a worker makes once and keeps: a scorer, and the features that can be reused."""

    options: ScorerOptions
    decides: tuple[str, ChosenRule]  # the checkpoint's hash and the rule of events, as the driver has them
    device: str
    threads: int
    features: Path | str | None
    here: Path  # the driver's folder
    out: Path


def score_on(cluster: Cluster, options: ScorerOptions) -> Place:
    """For :func:`ssrl_pipeline.scoring.score.score_many`: the longest videos are given out first.

    What it yields ends with a PipelineError where a node lacks the videos, the checkpoint, its weights or the
    folder of the results.

    Args:
        options: what each worker makes its scorer of.
    """

    def place(
        jobs: Sequence[Job], scorer: Scorer, store: FeatureStore | None, progress: Progress
    ) -> Iterator[Finished]:
        if not jobs:
            return
        out, features = jobs[0].request.out, store.root if store else None
        out.mkdir(parents=True, exist_ok=True)
        bench = _Bench(
            *(options, (scorer.checkpoint_sha256, scorer.chosen), cluster.device, cluster.cpus),
            *(features, Path.cwd(), out),
        )
        shown = ClusterProgress(progress)
        by_name = {job.request.name: job for job in sorted(jobs, key=lambda job: -job.snippets)}
        tasks = [Task(name, _score_one, (bench, job)) for name, job in by_name.items()]
        written = []
        for name, result in cluster.map(tasks, shown.count):
            lost = isinstance(result, Lost)
            finished = failed(by_name[name].request, result.reason) if lost else result
            if finished.scored.status != FAILED:
                written.append(name)
            shown.finish(outcome(finished))
            yield finished
        require_visible(written, lambda name: load_result(by_name[name].request.folder))

    return place


def _score_one(bench: _Bench, job: Job, tell: Tell) -> Finished:
    """On a worker.

    Raises:
        PipelineError: the node lacks what it needs, or the disk is full.
    """
    scorer, store = _set_up(bench)
    path = job.request.path
    if job.source is not None and not path.parent.is_dir():  # the driver has seen it
        raise PipelineError(f"{path.parent}: no such folder; the videos must be where all nodes see them")
    return carry_out(job, scorer, store, counting(tell))


@lru_cache(maxsize=1)
def _set_up(bench: _Bench) -> tuple[Scorer, FeatureStore | None]:
    """Once in each worker process."""
    torch.set_num_threads(bench.threads)
    try:
        os.chdir(bench.here)
    except OSError as error:
        raise PipelineError(
            f"{bench.here}: {error.strerror}; start the command in a folder that all nodes see"
        ) from error
    if not bench.out.is_dir():
        raise PipelineError(
            f"{bench.out}: no such folder; the results must go where all nodes see them: choose another --out"
        )
    scorer = bench.options.build(bench.device)
    if (scorer.checkpoint_sha256, scorer.chosen) != bench.decides:
        raise PipelineError(f"{bench.options.checkpoint}: it is not the checkpoint that the driver has read")
    return scorer, None if bench.features is None else open_store(bench.features)
