"""How a training ends: its scores are calibrated, so that 0.5 is a threshold of alarms that means something.

Normal videos that the detector did not learn from are scored: the validation videos, or the training
videos out of fold (:mod:`ssrl_pipeline.training.held_out.folds`). The lowest threshold at which no more of
their frames alarm than `train.false_alarms` becomes a score of 0.5, whatever the kind of detector.

Dimensions: N frames, T snippets.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import scipy
import torch

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data import Labels
from ssrl_pipeline.evaluation import with_threshold
from ssrl_pipeline.events import THRESHOLD, EventRule, calibrate, count_false_alarms
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import MOST_LEVEL
from ssrl_pipeline.scoring import frame_scores, score_snippets

CONFIDENCE = 0.95
MARGIN = 1e-5  # log odds: scores of another device or batch are this near


class HeldOut(NamedTuple):
    """Scores by detectors that did not learn from the videos."""

    scores: dict[str, np.ndarray]  # normal video -> float32 [T], raw
    source: str  # what videos these are, in words


def validation_videos(checkpoint: Checkpoint, labels: Labels) -> list[str]:
    """The normal ones: those that the labels name, else those that training set aside."""
    chosen = [video for video, label in labels.items() if label.split == "val"]
    chosen = chosen or [video for video in checkpoint.videos("val") if video in labels]
    return [video for video in chosen if not labels[video].abnormal]


def raw_scores(
    checkpoint: Checkpoint, store: Features, videos: Iterable[str], device: torch.device
) -> dict[str, np.ndarray]:
    """Video -> float32 [T], without the level."""
    model = checkpoint.at_level(0).build().to(device)
    return {video: score_snippets(video, model, store.read(video, model.views), device) for video in videos}


def calibrated(
    checkpoint: Checkpoint,
    scores: Mapping[str, np.ndarray],
    store: Features,
    labels: Labels,
    false_alarms: float,
    split: str,
    sources: int | None = None,
) -> Checkpoint:
    """The checkpoint at the level where no more of the normal frames alarm than asked for.

    Args:
        scores: normal video -> float32 [T], raw, by a detector that did not learn from it.
        labels: tell the videos' groups, which count as one each.
        false_alarms: share of their frames, more than 0 and less than 1.
        split: where these videos are from, in a word or two, for the record.
        sources: how many of the videos' stretches are taken for independent; None: groups are.

    Raises:
        PipelineError: no videos; or too many normal frames score 1, the highest there is.
    """
    times = {video: store.times(video) for video in scores}
    frames = {
        video: frame_scores(values, store.meta(video).frames, store.starts(video))
        for video, values in scores.items()
    }
    found = calibrate(frames, times, false_alarms)
    model = checkpoint.at_level(level_of(found.rule.threshold)).build()
    shown = {video: model.calibrated(torch.from_numpy(values)).numpy() for video, values in frames.items()}
    rule = EventRule(threshold=THRESHOLD)
    counted = found._replace(rule=rule, found=count_false_alarms(shown, times, rule))
    groups = sources or len({labels[video].group or f"video {video}" for video in scores})
    record = {"groups": groups, "most": most_likely_share(counted.found.share, groups)}
    marked = with_threshold(checkpoint.at_level(model.level), counted, split)
    provenance = {**marked.provenance, "threshold": {**marked.provenance["threshold"], **record}}
    return dataclasses.replace(marked, provenance=provenance)


def level_of(threshold: float) -> float:
    """The level at which what is below a raw score is below 0.5: its log odds, and a little more."""
    odds = math.log(threshold) - math.log1p(-threshold) if threshold < 1 else math.inf
    return max(-MOST_LEVEL, min(MOST_LEVEL, odds + MARGIN))


def most_likely_share(share: float, groups: int) -> float:
    """With 95 % confidence no more than this share of new videos' frames alarms.

    The bound of Clopper and Pearson (1934), as if every group were one frame: frames of one video are
    much alike, and a share between 0 and 1 spreads no more than yes or no does.
    """
    hits = share * groups
    return float(scipy.stats.beta.ppf(CONFIDENCE, hits + 1, groups - hits)) if hits < groups else 1.0


def describe(checkpoint: Checkpoint) -> str:
    """What the scores are calibrated to, and how sure that is, in one line."""
    record = checkpoint.provenance.get("threshold")
    if checkpoint.settings.get("train", {}).get("false_alarms") == 0:
        return "not calibrated, for train.false_alarms is 0"
    if not record or "most" not in record:
        return "not calibrated: no normal videos that the detector did not learn from"
    return (
        f"calibrated: from a score of {record['value']:g} on, {100 * record['share']:.2g} % of "
        f"{record['frames']} frames of {record['videos']} normal videos alarm ({record['split']}); "
        f"of new videos up to {100 * record['most']:.2g} % may (95 %, {record['groups']} independent sources)"
    )
