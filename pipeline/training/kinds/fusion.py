"""SSRL and the memory of normal patches in one checkpoint.

    ssrl-pipeline train --model fused

How much SSRL counts is chosen by validation videos, never by test videos.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data import Label, Labels, check_videos
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.evaluation import highest_tenth
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import FusedDetector, add_odds
from ssrl_pipeline.scoring import require_scorable, score_snippets
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training.kinds.normal_memory import train_memory
from ssrl_pipeline.training.run_folder import refuse_other_run

WEIGHTS = (0.25, 0.5, 0.75, 0.0, 1.0)  # of SSRL; of equals the first is taken


class WeightTrial(NamedTuple):
    """How one weight does on the validation videos."""

    weight: float
    auc: float  # of videos
    cross_entropy: float  # of videos, both classes alike


def train_fused(
    store: Features,
    labels: Labels,
    run: Path,
    ssrl: Path,
    settings: MemorySettings,
    seed: int,
    device: torch.device,
) -> Path:
    """Trains the memory beside a trained SSRL, and writes both as one checkpoint.

    The validation videos that SSRL was chosen by are kept from the memory, too.

    Args:
        run: gets memory/ and best.pt.
        ssrl: SSRL's checkpoint, trained with the same labels.

    Raises:
        PipelineError: as of :func:`train_memory` and :func:`fuse`.
    """
    refuse_other_run(run, FusedDetector.kind)
    first = load_checkpoint(ssrl)
    val = set(first.videos("val"))
    kept = {v: Label(label.abnormal, "val") if v in val else label for v, label in labels.items()}
    second = load_checkpoint(train_memory(store, kept, run / "memory", settings, seed))
    known = {video: labels[video].abnormal for video in sorted(val) if video in labels}
    save_checkpoint(run / "best.pt", fuse(first, second, store, known, device))
    return run / "best.pt"


def fused_summary(checkpoint: Checkpoint) -> str:
    """How much each counts, and what has chosen so, in one line."""
    by = "chosen by" if checkpoint.provenance["weights_tried"] else "in the absence of"
    return f"SSRL counts {checkpoint.model['weight']:.2f}, the memory the rest, {by} validation videos"


def fuse(
    ssrl: Checkpoint, memory: Checkpoint, store: Features, val: Mapping[str, bool], device: torch.device
) -> Checkpoint:
    """One checkpoint of both, with the weight that ranks the validation videos best.

    A video's score is the mean of its highest tenth of snippets. Among weights of
    equal AUC the one of least cross-entropy is taken. Without validation videos of
    both classes SSRL counts a quarter, which was best on Ped2. Both count as they were trained,
    without the levels that they may have been calibrated to.

    Args:
        val: validation videos -> whether abnormal; neither model learned from them.

    Raises:
        LabelError: a model learned from a validation video.
        StoreError: the two, or the store, have recipes that differ in more than the precision, or the
            store lacks a video.
    """
    ssrl, memory = ssrl.at_level(0), memory.at_level(0)
    require_scorable(ssrl.recipe, memory.recipe, "SSRL's checkpoint", "the memory's")
    require_scorable(ssrl.recipe, store.recipe, "the checkpoints", f"the store {store.root}")
    for checkpoint in (ssrl, memory):
        if learned := sorted(set(val) & set(checkpoint.videos("train"))):
            raise LabelError(
                f"{learned[0]!r} is to choose the weight by, but the {checkpoint.kind} model learned from it"
            )
    trials = try_weights(ssrl, memory, store, val, device) if len(set(val.values())) == 2 else []
    weight = best_weight(trials)
    parts = {"ssrl": ssrl, "memory": memory}
    return Checkpoint.of(
        FusedDetector.of((ssrl.build(), memory.build()), {"ssrl": weight, "memory": 1 - weight}),
        recipe=memory.recipe if "sizes" in memory.recipe else ssrl.recipe,  # that of more views
        settings=memory.settings | ssrl.settings,
        provenance={
            "train_videos": sorted({v for c in parts.values() for v in c.videos("train")}),
            "val_videos": list(val),
            "weights_tried": [trial._asdict() for trial in trials],
            **{part: c.provenance for part, c in parts.items()},
        },
    )


@torch.inference_mode()
def try_weights(
    ssrl: Checkpoint, memory: Checkpoint, store: Features, val: Mapping[str, bool], device: torch.device
) -> list[WeightTrial]:
    """Each of WEIGHTS on the validation videos."""
    check_videos(store, list(val))
    models = [checkpoint.build().to(device) for checkpoint in (ssrl, memory)]
    scores = []  # of each video: of both models, [T] each
    for video in val:
        features = store.read(video)
        scores.append([torch.from_numpy(score_snippets(video, m, features, device)) for m in models])
    truth = np.array(list(val.values()))
    balance = np.where(truth, 1 / truth.sum(), 1 / (~truth).sum())
    trials = []
    for weight in WEIGHTS:
        mixed = [add_odds(both, (weight, 1 - weight)).numpy() for both in scores]
        videos = np.array([highest_tenth(one, least=1) for one in mixed])  # as earlier versions blended
        loss = log_loss(truth, np.clip(videos, 1e-6, 1 - 1e-6), sample_weight=balance)
        trials.append(WeightTrial(weight, float(roc_auc_score(truth, videos)), float(loss)))
    return trials


def best_weight(trials: list[WeightTrial]) -> float:
    """That of the greatest AUC, then of the least cross-entropy; without trials the first of WEIGHTS."""
    if not trials:
        return WEIGHTS[0]
    return max(trials, key=lambda trial: (trial.auc, -trial.cross_entropy)).weight
