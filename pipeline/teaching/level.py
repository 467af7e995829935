"""Where the scores of a detector that has learnt are calibrated to.

First as many normal frames alarm as before. Then verdicts may raise the level, for who calls alarms normal
wants fewer: what has learnt from one false alarm hardly prevents the next, which looks different.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data import Labels
from ssrl_pipeline.events import EventSettings, choose_rule
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import MOST_LEVEL, PatchMemory
from ssrl_pipeline.teaching.lessons import BESIDE, Placed
from ssrl_pipeline.training import calibrated, raw_scores, validation_videos

ALARMS = 0.01  # share of normal snippets by whose scores the level moves, where no video is kept for it
FEWEST = 3  # moments called abnormal, without which verdicts do not say how high the level may be
KEPT = 0.01  # log odds by which what was called abnormal still alarms
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
    events: EventSettings,
    device: torch.device,
) -> Levelled:
    """At the level where as many normal frames alarm as with the original, or higher: :func:`raised`."""
    threshold = choose_rule(events, original.provenance.get("threshold")).rule.threshold
    found = as_often(original, raw, store, labels, verdicts, device)
    return found._replace(checkpoint=raised(original, found.checkpoint, store, verdicts, threshold, device))


def as_often(
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


def raised(
    original: Checkpoint,
    learnt: Checkpoint,
    store: Features,
    verdicts: Sequence[Placed],
    threshold: float,
    device: torch.device,
) -> Checkpoint:
    """At the level where half of the false alarms are gone, as far as every confirmed event still alarms.

    False alarms are moments called normal that alarmed, by the scores of the original: the other has them by
    heart. The level never falls, and stays where fewer than FEWEST moments were called abnormal.

    Args:
        learnt: at the level where as many normal frames alarm as with the original.
        threshold: of scores, at which both alarm.
    """
    if sum(one.verdict.abnormal for one in verdicts) < FEWEST:
        return learnt
    videos = sorted({one.video for one in verdicts})
    scored = []
    for checkpoint in (original, learnt):
        own = raw_scores(checkpoint, store, videos, device)
        scored.append([_odds(own[one.video][one.snippet]) - checkpoint.level for one in verdicts])
    least = float(_odds(np.float64(threshold)))
    pairs = list(zip(verdicts, *scored, strict=True))
    false = [before for one, before, _ in pairs if not one.verdict.abnormal and before >= least]
    events = [min(before, after) for one, before, after in pairs if one.verdict.abnormal]
    if not false:
        return learnt
    wanted = min(float(np.median(false)), min(events) - KEPT)
    return learnt.at_level(min(MOST_LEVEL, learnt.level + wanted - least)) if wanted > least else learnt


def _quiet(scores: Mapping[str, np.ndarray], verdicts: Sequence[Placed]) -> dict[str, np.ndarray]:
    """Of videos with verdicts, what nobody called abnormal, nor what is beside it; all, where that is all."""
    left = {video: np.ones(len(values), bool) for video, values in scores.items()}
    for one in verdicts:
        if one.verdict.abnormal:
            left[one.video][max(0, one.snippet - BESIDE) : one.snippet + BESIDE + 1] = False
    quiet = {video: values[left[video]] for video, values in scores.items()}
    return quiet if any(map(len, quiet.values())) else dict(scores)


def _high_odds(scores: Mapping[str, np.ndarray]) -> float:
    pooled = np.concatenate(list(scores.values()))
    return float(_odds(np.quantile(pooled.astype(np.float64), 1 - ALARMS)))


def _odds(score: np.floating) -> np.float64:
    """The logarithm of a score's odds."""
    certain = np.clip(np.float64(score), EPS, 1 - EPS)
    return np.float64(np.log(certain) - np.log1p(-certain))
