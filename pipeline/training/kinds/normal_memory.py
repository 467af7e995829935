"""Stage two from normal videos alone: a memory of normal patches.

    ssrl-pipeline train --model memory

Abnormal videos are not looked at and need not exist. Months of footage fit: at
most `memory.sample` snippets are read, drawn evenly from all normal training
videos, one view at a time; of these at most `memory.limit` are remembered at
each position.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.data import Labels, check_videos
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import LabelError, PipelineError, StoreError
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import PatchMemory, fit_memory
from ssrl_pipeline.scales import backbone_views, scale_of, view_size
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training.run_folder import refuse_other_run

FEWEST_NORMAL = 2  # videos: one is held out, to see how far from the others it is


def train_memory(store: Features, labels: Labels, run: Path, settings: MemorySettings, seed: int) -> Path:
    """Remembers the normal training videos.

    Args:
        labels: videos without a split are training videos; abnormal ones, and
            those of other splits, are ignored.
        run: the run's folder; gets config.yaml and best.pt.
        seed: of the draw, where there are more than `sample` snippets.

    Returns:
        The checkpoint's path.

    Raises:
        LabelError: fewer than two normal training videos.
        PipelineError: the store lacks a view or a video, features are no
            numbers, or the folder holds another model's run.
    """
    normal = [v for v, label in labels.items() if label.split in (None, "train") and not label.abnormal]
    if len(normal) < FEWEST_NORMAL:
        found = f"only {normal[0]!r}" if normal else "none"
        raise LabelError(
            f"normal training videos: {found}; a memory needs two or more, to hold one out and see how far "
            "from the others it is. Cut a long video in parts, or label more as normal"
        )
    check_videos(store, normal)
    refuse_other_run(run, PatchMemory.kind)
    views = _choose_views(store, settings.views)
    rows = draw_snippets({video: store.meta(video).snippets for video in normal}, settings.sample, seed)
    if len(rows) < FEWEST_NORMAL:
        raise PipelineError(f"{store.root}: fewer than two normal training videos have a snippet")
    model = fit_memory(
        reader(store, rows),
        views,
        np.repeat(np.arange(len(rows)), [len(index) for index in rows.values()]),
        settings.limit,
        settings.neighbours,
        settings.alarm,
        {view: view_size(store.recipe, view) for view in views},
    )
    tree = {"memory": to_tree(settings), "train": {"seed": seed}}
    write_text(run / "config.yaml", to_yaml(tree))
    provenance = {"train_videos": normal, "val_videos": [], "snippets": sum(map(len, rows.values()))}
    save_checkpoint(run / "best.pt", Checkpoint.of(model, store.recipe, tree, provenance))
    return run / "best.pt"


def memory_summary(checkpoint: Checkpoint) -> str:
    """What a memory was made of, in one line."""
    known = checkpoint.provenance
    return f"{known['snippets']} snippets of {len(known['train_videos'])} normal videos"


def draw_snippets(lengths: dict[str, int], most: int, seed: int) -> dict[str, np.ndarray]:
    """At most `most` snippets of all videos (name -> how many it has), each as likely as any other.

    Returns:
        Video -> sorted indices of its snippets; videos of which none was drawn are left out.
    """
    ends = np.cumsum(list(lengths.values()))
    drawn = np.arange(ends[-1])
    if len(drawn) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(drawn), most, replace=False))
    parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    begins = ends - list(lengths.values())
    return {
        v: part - begin for v, part, begin in zip(lengths, parts, begins.tolist(), strict=True) if len(part)
    }


def reader(store: Features, rows: dict[str, np.ndarray]) -> Callable[[str], np.ndarray]:
    """view name -> its features float32 [N, P, F] of the chosen snippets, video by video."""

    def read(view: str) -> np.ndarray:
        shape = (sum(map(len, rows.values())), store.recipe["views"][view], view_size(store.recipe, view))
        features, begin = np.empty(shape, np.float32), 0
        for video, index in rows.items():
            part = features[begin : begin + len(index)]
            whole = len(index) == store.meta(video).snippets  # else the check would read far more
            part[:] = store.read(video, [view], check=whole)[view][index]
            if not np.isfinite(part).all():
                raise StoreError(
                    f"{store.root}: {view} features of {video!r} are not finite; extract it again"
                )
            begin += len(index)
        return features

    return read


def _choose_views(store: Features, wanted: tuple[str, ...] | None) -> dict[str, int]:
    available: dict[str, int] = store.recipe["views"]
    if wanted is None:
        return {v: n for v, n in available.items() if scale_of(v)} or backbone_views(store.recipe)
    for view in wanted:
        if view not in available:
            raise PipelineError(
                f"memory.views: {store.root} has no view {view!r}; it has {', '.join(available)}"
            )
    if not wanted:
        raise PipelineError(f"memory.views: empty; {store.root} has {', '.join(available)}")
    return {view: available[view] for view in wanted}
