"""A detector for one camera, from a common one and what the camera normally shows.

Nothing is labelled: all of the footage is taken for normal. The detector takes it for normal, too (see
:meth:`ssrl_pipeline.models.Detector.adapted`); a memory of it is added where the detector has none. The
threshold is judged by parts of the footage that were held out, each by a detector adapted to the others.

Dimensions: T snippets.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.adapting.footage import Part, StoredFootage, cut, folds, footage
from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data import Label
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.features import Features, Recipe
from ssrl_pipeline.models import PARTS, Blend, Detector, PatchMemory, add_odds, fit_memory
from ssrl_pipeline.scales import backbone_views, view_size
from ssrl_pipeline.scoring import require_scorable, score_snippets
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training import calibrated

LEAST = 1e-3  # a deviation of log odds, where held-out footage does not differ
ORIGIN = "held-out footage"


class Adapted(NamedTuple):
    """What came of one camera."""

    checkpoint: Checkpoint  # with the camera
    group: str
    videos: int
    parts: int  # of time, by which the threshold is judged
    frames: int
    share: float  # of the held-out frames that alarm
    most: float  # that may, of new footage (95 %)
    remembers: bool  # whether a memory was added

    def __str__(self) -> str:
        memory = ", and a memory of it added" if self.remembers else ""
        return (
            f"camera {self.group!r}: adapted to {self.frames} frames of {self.videos} videos{memory}; "
            f"held out, {100 * self.share:.2g} % of frames alarm; of new footage up to "
            f"{100 * self.most:.2g} % may (95 %, {self.parts} parts of time)"
        )


def adapt_checkpoint(
    checkpoint: Checkpoint,
    store: Features,
    group: str,
    videos: Sequence[str],
    false_alarms: float,
    memory: MemorySettings,
    device: torch.device,
    seed: int = 0,
    words: Mapping[str, Tensor] | None = None,
) -> Adapted:
    """Adapts a checkpoint to one camera.

    Args:
        store: has the videos' features, of the checkpoint's recipe.
        group: the camera's name.
        videos: of it, normal, in order of time; none that the checkpoint learned from.
        false_alarms: share of frames that may alarm, more than 0 and less than 1.
        memory: of what is remembered, where the detector has no memory of its own, and how many snippets
            are looked at.
        seed: of the draw, where there are more.
        words: what the camera shows, against which its events have words; None: what all cameras show.

    Raises:
        PipelineError: there is too little footage, features are damaged, or no threshold does.
        StoreError: the store is of another recipe.
    """
    require_scorable(checkpoint.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    parts = cut({video: store.meta(video).snippets for video in videos})
    common = checkpoint.at_level(0).build()
    views = _remembered(common, memory, checkpoint.recipe)

    def adapted(chosen: Sequence[int]) -> list[Detector]:
        seen = footage(store, parts, chosen, memory.sample, seed)
        return [common.adapted(seen), *([_memory(seen, views, memory, checkpoint.recipe)] if views else [])]

    held = [np.zeros(part.end - part.begin, np.float32) for part in parts]
    scores = [held, [one.copy() for one in held]][: 2 if views else 1]
    for out, learned in folds(parts):
        for kept, one in zip(scores, adapted(learned), strict=True):
            for number in out:
                kept[number] = _score(one.eval().to(device), store, parts[number], device)
    models = adapted(range(len(parts)))
    model, held = _blended(models, scores) if views else (models[0], held)
    own = _calibrated(checkpoint, model, store, group, parts, held, false_alarms)
    own = dataclasses.replace(own, words={**(words or {})})
    record = own.provenance["threshold"]
    counted = len(own.provenance["adapted_to"]), len(parts), record["frames"], record["share"], record["most"]
    return Adapted(checkpoint.with_camera(group, own), group, *counted, bool(views))


def _blended(
    models: Sequence[Detector], scores: Sequence[Sequence[np.ndarray]]
) -> tuple[Detector, list[np.ndarray]]:
    """One detector of several, each in units of its deviation on held-out parts, and what it scores there."""
    units = [max(_deviation(kept), LEAST) for kept in scores]
    weights = {one.kind: 1 / unit / len(models) for one, unit in zip(models, units, strict=True)}
    return Blend.of(models, weights), [_mixed(both, weights) for both in zip(*scores, strict=True)]


def _calibrated(
    checkpoint: Checkpoint,
    model: Detector,
    store: Features,
    group: str,
    parts: Sequence[Part],
    held: Sequence[np.ndarray],
    false_alarms: float,
) -> Checkpoint:
    """Of the camera alone."""
    own = Checkpoint.of(model, checkpoint.recipe, checkpoint.settings, {**checkpoint.provenance})
    by_video: dict[str, list[np.ndarray]] = {}
    for part, values in zip(parts, held, strict=True):
        by_video.setdefault(part.video, []).append(values)
    scores = {video: np.concatenate(values) for video, values in by_video.items()}
    labels = {video: Label(False, None, group) for video in scores}
    split = f"{ORIGIN} of camera {group!r}"
    own = calibrated(own, scores, store, labels, false_alarms, split, sources=len(parts))
    return dataclasses.replace(own, provenance={**own.provenance, "adapted_to": list(scores)})


def _remembered(model: Detector, memory: MemorySettings, recipe: Recipe) -> dict[str, int]:
    """The views that a memory is added of; none where the detector has one, or cannot be blended.

    The whole picture is remembered beside the patches: of Ped2's fixed camera, patches alone reach an AUC of
    0.950 over its abnormal videos, the picture alone 0.769, both 0.954.

    Args:
        recipe: the checkpoint's, by which `score` and `watch` extract for all cameras.
    """
    if model.kind not in PARTS or isinstance(model, PatchMemory):
        return {}
    there: dict[str, int] = recipe["views"]
    if memory.views is None:
        return backbone_views(recipe)
    if missing := [view for view in memory.views if view not in there]:
        raise PipelineError(
            f"memory.views: the checkpoint's features have no view {missing[0]!r}, and it scores by no "
            f"others; choose of {', '.join(there)}"
        )
    return {view: there[view] for view in memory.views}


def _memory(seen: StoredFootage, views: Mapping[str, int], of: MemorySettings, recipe: Recipe) -> PatchMemory:
    return fit_memory(
        lambda view: seen.read(view).numpy(),
        views,
        seen.parts,
        of.limit,
        of.neighbours,
        of.alarm,
        {view: view_size(recipe, view) for view in views},
    )


def _score(model: Detector, store: Features, part: Part, device: torch.device) -> np.ndarray:
    """float32 [T] of the part's snippets, among themselves."""
    features = store.read(part.video, model.views, check=False)  # read whole once, for the last adaptation
    views = {name: rows[part.begin : part.end] for name, rows in features.items()}
    return score_snippets(part.video, model, views, device)


def _deviation(scores: Sequence[np.ndarray]) -> float:
    """Of log odds."""
    return float(torch.logit(torch.from_numpy(np.concatenate(scores)).double(), 1e-6).std(correction=0))


def _mixed(scores: Sequence[np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    return add_odds([torch.from_numpy(one) for one in scores], list(weights.values())).numpy()
