"""A checkpoint that has learnt from verdicts.

    ssrl-pipeline learn runs/gate/best.pt --out gate.pt

It always learns from the original checkpoint and the verdicts that count now: a verdict that was undone
leaves no trace, and without any the scores are the original's to the last bit.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Annotations, Labels
from ssrl_pipeline.disk import checkpoint_file
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError
from ssrl_pipeline.evaluation import highest_tenth
from ssrl_pipeline.events import choose_rule
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.models import MOST_LEVEL
from ssrl_pipeline.scoring import require_scorable, score_snippets
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching.lessons import Placed, bags, moments, placed
from ssrl_pipeline.teaching.place import feedback_path
from ssrl_pipeline.teaching.verdicts import Verdict, digest_rows, read_verdicts
from ssrl_pipeline.training import calibrated, raw_scores, validation_videos

ALARMS = (
    0.01  # share of normal snippets by whose scores the level moves, where no normal video is kept for it
)
WORSE = 0.01  # of the AUC of validation videos, from which on a checkpoint is worse
EPS = 1e-6


class Judged(NamedTuple):
    """How a checkpoint does."""

    right: int  # verdicts: on the right side of the threshold
    auc: float  # of validation videos by their highest tenth; nan where they are of one class


class Learnt(NamedTuple):
    checkpoint: Checkpoint
    original: Path
    verdicts: int  # learnt from
    before: Judged
    after: Judged

    @property
    def worse(self) -> str:
        """In what the new one is worse; "" where in nothing."""
        said = []
        if self.after.right < self.before.right:
            said.append(f"{self.after.right} of {self.verdicts} verdicts right, not {self.before.right}")
        if self.after.auc < self.before.auc - WORSE:
            said.append(f"AUC of the validation videos {self.after.auc:.4f}, not {self.before.auc:.4f}")
        return "; ".join(said)

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        judged = {
            when: {"right": one.right, "auc": None if np.isnan(one.auc) else one.auc}
            for when, one in (("before", self.before), ("after", self.after))
        }
        return {"from": str(self.original), "verdicts": self.verdicts, **judged}


def learn(
    settings: Settings,
    checkpoint: Path,
    out: Path,
    force: bool = False,
    device: str = "auto",
    note: Note = lambda text: None,
) -> Learnt:
    """Writes the checkpoint that has learnt from the verdicts which the settings name.

    Args:
        checkpoint: a file or a run's folder; of one that has learnt already, its original is taken.
        out: the new file.
        force: written even where it is worse than the original.
        note: is told of verdicts that are not learnt from.

    Raises:
        PipelineError: it is worse; the detector has nothing to learn from them; or a file does not fit.
    """
    path, original = find_original(checkpoint)
    if out.exists() and out.resolve() == path.resolve():
        raise CheckpointError(
            f"{out}: is the original, which later verdicts are learnt from; name another --out"
        )
    store = open_features(settings.data.features, settings.data.layout)
    require_scorable(original.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    verdicts = placed(store, read_verdicts(feedback_path(settings.data), note), note)
    labels = _labels(settings, store, note)
    learnt = learn_from(original, path, store, verdicts, labels, settings, find_device(device))
    if learnt.worse and not force:
        raise PipelineError(f"{out}: not written, for it is worse than {path}: {learnt.worse}; see --force")
    save_checkpoint(out, learnt.checkpoint)
    return learnt


def learn_from(
    original: Checkpoint,
    path: Path,
    store: Features,
    verdicts: Sequence[Placed],
    labels: Labels,
    settings: Settings,
    device: torch.device,
) -> Learnt:
    """The checkpoint that has learnt from verdicts, and how it does.

    Args:
        path: of the original, for the record.
        labels: of the videos that it learned from, which are learnt from once more beside the verdicts.
    """
    val = {v: one.abnormal for v, one in labels.items() if v in _validation(original, labels)}
    before = _judge(original, store, verdicts, val, settings, device)
    if not verdicts:
        return Learnt(_recorded(original, original, path, []), path, 0, before, before)
    model = original.at_level(0).build()
    known = set(store.videos())
    train = [v for v in original.videos("train") if v in labels and v in known]
    lessons = [*moments(store, model.views, verdicts), *bags(store, model.views, labels, train)]
    if not model.learn(lessons):
        raise PipelineError(
            f"{path}: a detector of the kind {original.kind} has nothing to learn from these verdicts: "
            + (
                "a memory learns from normal ones alone"
                if original.kind == "memory"
                else "train another kind"
            )
        )
    raw = Checkpoint.of(model.eval(), original.recipe, original.settings, original.provenance)
    raw = dataclasses.replace(raw, words=original.words, provenance=original.provenance)
    new = _recorded(_calibrated(original, raw, store, labels, verdicts, device), original, path, verdicts)
    return Learnt(new, path, len(verdicts), before, _judge(new, store, verdicts, val, settings, device))


def find_original(checkpoint: Path) -> tuple[Path, Checkpoint]:
    """A checkpoint's file, or that of the one which it has learnt from.

    Raises:
        CheckpointError: it cannot be read; or its original is no longer what it was.
    """
    path = checkpoint_file(checkpoint)
    loaded = load_checkpoint(path)
    record = loaded.provenance.get("learnt")
    if not record:
        return path, loaded
    known = Path(str(record["from"]))
    try:
        original = load_checkpoint(known)
    except (CheckpointError, OSError) as error:
        raise CheckpointError(
            f"{path}: has learnt from verdicts, and its original is needed: {error}"
        ) from error
    if original.sha256 != record["sha256"]:
        raise CheckpointError(f"{path}: has learnt from {known}, which is another checkpoint by now")
    return known, original


def feedback_digest(verdicts: Sequence[Verdict]) -> str:
    """SHA-256 of what decides what is learnt."""
    return hashlib.sha256(json.dumps(digest_rows(verdicts)).encode()).hexdigest()


def _labels(settings: Settings, store: Features, note: Note) -> Labels:
    try:
        return Annotations(settings.data, store).labels
    except LabelError as error:
        note(f"learnt without labels: {error}")
        return {}


def _recorded(new: Checkpoint, original: Checkpoint, path: Path, verdicts: Sequence[Placed]) -> Checkpoint:
    given = [one.verdict for one in verdicts]
    record = {
        "from": str(path.absolute()),
        "sha256": original.sha256,
        "verdicts": len(given),
        "normal": sum(not one.abnormal for one in given),
        "abnormal": sum(one.abnormal for one in given),
        "feedback_sha256": feedback_digest(given),
    }
    return dataclasses.replace(new, provenance={**new.provenance, "learnt": record})


def _validation(checkpoint: Checkpoint, labels: Labels) -> list[str]:
    named = [video for video, label in labels.items() if label.split == "val"]
    return named or [video for video in checkpoint.videos("val") if video in labels]


def _calibrated(
    original: Checkpoint,
    raw: Checkpoint,
    store: Features,
    labels: Labels,
    verdicts: Sequence[Placed],
    device: torch.device,
) -> Checkpoint:
    """At the level where as many normal frames alarm as with the original.

    By the normal validation videos where there are any, as after training; else as much higher or
    lower as the scores of normal training videos have become where one in a hundred is higher.
    """
    told = {one.video for one in verdicts}
    record = original.provenance.get("threshold", {})
    held = [video for video in validation_videos(original, labels) if video not in told]
    if held and record.get("unit") == "frame" and "most" in record:
        scores = raw_scores(raw, store, held, device)
        return calibrated(raw, scores, store, labels, record["asked"], "validation videos")
    known = set(store.videos())
    normal = [
        v for v in original.videos("train") if v in labels and not labels[v].abnormal and v in known - told
    ]
    if not normal:
        return raw.at_level(original.level)
    odds = [_high_odds(raw_scores(one, store, normal, device)) for one in (original, raw)]
    level = original.level + odds[1] - odds[0]
    return raw.at_level(max(-MOST_LEVEL, min(MOST_LEVEL, level)) if level else 0.0)


def _high_odds(scores: Mapping[str, np.ndarray]) -> float:
    pooled = np.clip(np.concatenate(list(scores.values())).astype(np.float64), EPS, 1 - EPS)
    high = float(np.quantile(pooled, 1 - ALARMS))
    return float(np.log(high) - np.log1p(-high))


def _judge(
    checkpoint: Checkpoint,
    store: Features,
    verdicts: Sequence[Placed],
    val: Mapping[str, bool],
    settings: Settings,
    device: torch.device,
) -> Judged:
    model = checkpoint.build().to(device)
    threshold = choose_rule(settings.events, checkpoint.provenance.get("threshold")).rule.threshold
    known = set(store.videos())
    needed = {one.video for one in verdicts} | (val.keys() & known)
    scores = {v: score_snippets(v, model, store.read(v, model.views), device) for v in sorted(needed)}
    right = sum(bool(scores[one.video][one.snippet] >= threshold) == one.verdict.abnormal for one in verdicts)
    judged = [(abnormal, highest_tenth(scores[v])) for v, abnormal in val.items() if v in known]
    both = len({abnormal for abnormal, _ in judged}) == 2
    return Judged(right, float(roc_auc_score(*zip(*judged, strict=True))) if both else float("nan"))
