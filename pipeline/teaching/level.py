"""Where the scores of a detector that has learnt are calibrated to: as many normal frames alarm as before."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data import Labels
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import MOST_LEVEL, PatchMemory
from ssrl_pipeline.teaching.lessons import BESIDE, Placed
from ssrl_pipeline.training import calibrated, raw_scores, validation_videos

ALARMS = 0.01  # share of normal snippets by whose scores the level moves, where no video is kept for it
EPS = 1e-6


class Levelled(NamedTuple):
    checkpoint: Checkpoint
    sure: bool = True  # False: no normal video says that the level holds


def levelled(
    original: Checkpoint,
    raw: Checkpoint,
    store: Features,
    labels: Labels,
    verdicts: Sequence[Placed],
    device: torch.device,
) -> Levelled:
    """At the level where as many normal frames alarm as with the original.

    By the normal validation videos where there are any, as after training; else as much higher or
    lower as the scores of normal training videos have become where one in a hundred is higher. Without
    such videos those with verdicts stand for them, as far as nobody called them abnormal. A memory, whose
    scores only fall, then stays at its level.
    """
    told, known = {one.video for one in verdicts}, set(store.videos())
    record = original.provenance.get("threshold", {})
    held = [video for video in validation_videos(original, labels) if video in known - told]
    if held and record.get("unit") == "frame" and "most" in record:
        scores = raw_scores(raw, store, held, device)
        return Levelled(calibrated(raw, scores, store, labels, record["asked"], "validation videos"))
    normal = [
        v for v in original.videos("train") if v in labels and not labels[v].abnormal and v in known - told
    ] or held
    if not normal and original.kind == PatchMemory.kind:
        return Levelled(raw.at_level(original.level))
    scored = [raw_scores(one, store, normal or told, device) for one in (original, raw)]
    odds = [_high_odds(scores if normal else _quiet(scores, verdicts)) for scores in scored]
    level = original.level + odds[1] - odds[0]
    level = max(-MOST_LEVEL, min(MOST_LEVEL, level)) if level else 0.0
    return Levelled(raw.at_level(level), sure=bool(normal))


def _quiet(scores: Mapping[str, np.ndarray], verdicts: Sequence[Placed]) -> dict[str, np.ndarray]:
    """Of videos with verdicts, what nobody called abnormal, nor what is beside it; all, where that is all."""
    left = {video: np.ones(len(values), bool) for video, values in scores.items()}
    for one in verdicts:
        if one.verdict.abnormal:
            left[one.video][max(0, one.snippet - BESIDE) : one.snippet + BESIDE + 1] = False
    quiet = {video: values[left[video]] for video, values in scores.items()}
    return quiet if any(map(len, quiet.values())) else dict(scores)


def _high_odds(scores: Mapping[str, np.ndarray]) -> float:
    pooled = np.clip(np.concatenate(list(scores.values())).astype(np.float64), EPS, 1 - EPS)
    high = float(np.quantile(pooled, 1 - ALARMS))
    return float(np.log(high) - np.log1p(-high))
