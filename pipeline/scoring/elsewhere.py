"""Stage three in other processes, of this machine or of a cluster: the results are those of a run in one.

    ssrl-pipeline score videos/ --devices cuda:0,cuda:1
    ssrl-pipeline score videos/ --cluster ray --address HEAD:6379

What is done already, the driver finds by itself, as it makes report.html at the end. Each process makes its
own scorer and keeps it. It works in the driver's folder, for paths are kept in results as they were given: so
that folder, the videos, the checkpoint and the results are where all nodes of a cluster see them.
"""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from ssrl_pipeline.cluster import Post, Workers, require_visible
from ssrl_pipeline.console import FAILED, Progress
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.features import FeatureStore, open_store
from ssrl_pipeline.results import load_result
from ssrl_pipeline.scoring.cameras import Decides
from ssrl_pipeline.scoring.score import Job, Scored, Scoring, carry_out, failed
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions


class _Bench(NamedTuple):
    """What a process makes once and keeps: a scorer, and the features that can be reused."""

    options: ScorerOptions
    decides: tuple[Decides, ...]  # hashes and rules of events, as the driver has them
    features: Path | str | None
    here: Path  # the driver's folder
    out: Path


def score_elsewhere(workers: Workers, options: ScorerOptions) -> Scoring:
    """For :func:`ssrl_pipeline.scoring.score.score_many`: the longest videos are given out first.

    What it yields ends with a PipelineError where a node lacks the videos, the checkpoint, its weights or the
    folder of the results.

    Args:
        workers: do the work.
        options: what each makes its scorer of.
    """

    def place(
        jobs: Mapping[str, Job], scorer: Scorer, store: FeatureStore | None, progress: Progress
    ) -> Iterator[Scored]:
        if not jobs:
            return
        out, features = next(iter(jobs.values())).out, store.root if store else None
        out.mkdir(parents=True, exist_ok=True)
        bench = _Bench(options, scorer.cameras.decides(), features, Path.cwd(), out)
        longest_first = dict(sorted(jobs.items(), key=lambda item: -item[1].snippets))
        written = []
        for outcome in workers.map(longest_first, partial(_score, bench), progress):
            job = jobs[outcome.video]
            scored = outcome if isinstance(outcome, Scored) else failed(job, outcome.reason)
            if scored.status != FAILED:
                written.append(job.name)
            yield scored
        if workers.elsewhere:
            require_visible(written, lambda name: load_result(jobs[name].folder))

    return place


def _score(bench: _Bench, post: Post) -> None:
    """In another process.

    Raises:
        PipelineError: the node lacks what it needs, or the disk is full.
    """
    scorer, store = _set_up(bench, post.device, post.threads)
    for task in post.tasks():
        if task is None:
            continue
        job: Job = task[1]
        folder = job.path.parent
        if post.elsewhere and job.source is not None and not folder.is_dir():  # the driver has seen it
            raise PipelineError(f"{folder}: no such folder; the videos must be where all nodes see them")
        post.start(job.name)
        post.finish(carry_out(job, scorer, store, post.snippet))


@lru_cache(maxsize=1)
def _set_up(bench: _Bench, device: str, threads: int) -> tuple[Scorer, FeatureStore | None]:
    """Once in each process."""
    torch.set_num_threads(threads)
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
    scorer = bench.options.build(device)
    if scorer.cameras.decides() != bench.decides:
        raise PipelineError(f"{bench.options.checkpoint}: it is not the checkpoint that the driver has read")
    return scorer, None if bench.features is None else open_store(bench.features)
