"""A checkpoint that has learnt from verdicts.

    ssrl-pipeline learn runs/gate/best.pt --out gate.pt

It always learns from the original checkpoint and the verdicts that count now: a verdict that was undone
leaves no trace, and without any the scores are the original's to the last bit.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, thresholds_by
from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Annotations, Label, Labels
from ssrl_pipeline.disk import checkpoint_file
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError
from ssrl_pipeline.evaluation import highest_tenth
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.models import MOST_LEVEL
from ssrl_pipeline.scoring import Cameras, camera_of, require_scorable, score_snippets
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


class Standing(NamedTuple):
    """How a checkpoint does."""

    right: int  # verdicts: on the right side of the threshold
    auc: float  # of validation videos by their highest tenth; nan where they are of one class


class Learnt(NamedTuple):
    checkpoint: Checkpoint
    original: Path
    verdicts: int  # learnt from
    before: Standing
    after: Standing

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
    groups = camera_of(store.videos(), settings.data, note=note) if original.cameras else {}
    if unknown := {one.video for one in verdicts if original.cameras and groups.get(one.video) is None}:
        note(
            f"learnt by the common detector: nothing says which camera {_named(unknown)} is of; a column "
            "group in the labels does, or -o data.group=folder"
        )
    learnt = learn_from(original, path, store, verdicts, labels, settings, find_device(device), groups, note)
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
    groups: Mapping[str, str | None] | None = None,
    note: Note = lambda text: None,
) -> Learnt:
    """The checkpoint that has learnt from verdicts, and how it does.

    What is said of a camera that has a detector of its own is learnt by that one alone, the rest by the
    common one.

    Args:
        path: of the original, for the record.
        labels: of the videos that it learned from, which are learnt from once more beside the verdicts.
        groups: video -> its camera, of a checkpoint that was adapted to some.
        note: is told of detectors that have nothing to learn, where others have.

    Raises:
        PipelineError: none has anything to learn.
    """
    groups = groups or {}
    val = {v: one.abnormal for v, one in labels.items() if v in _validation(original, labels)}
    judging = (store, verdicts, val, groups, settings, device)
    before = _judge(original, *judging)
    if not verdicts:
        return Learnt(_recorded(original, original, path, []), path, 0, before, before)
    taught: dict[str | None, Checkpoint] = {}
    idle: list[str] = []
    for camera in (None, *original.cameras):
        own = [one for one in verdicts if _camera(original, groups, one.video) == camera]
        if own:
            part, known = _part(original, labels, camera)
            if (new := _taught(part, store, known, own, device)) is not None:
                taught[camera] = new
            else:
                idle.append(f"{path}: {_nothing_learnt(part.kind, camera)}")
    if not taught:
        raise PipelineError(idle[0])
    for line in idle:
        note(line)
    new = _recorded(_joined(original, taught), original, path, verdicts)
    return Learnt(new, path, len(verdicts), before, _judge(new, *judging))


def _nothing_learnt(kind: str, camera: str | None) -> str:
    whose = "" if camera is None else f"camera {camera!r}: "
    hint = "a memory learns from normal ones alone" if kind == "memory" else "train another kind"
    return f"{whose}a detector of the kind {kind} has nothing to learn from these verdicts: {hint}"


def _camera(original: Checkpoint, groups: Mapping[str, str | None], video: str) -> str | None:
    """The camera whose own detector scores a video; None: the common one does."""
    group = groups.get(video)
    return group if group in original.cameras else None


def _part(original: Checkpoint, labels: Labels, camera: str | None) -> tuple[Checkpoint, Labels]:
    """The common detector, or a camera's as if trained on the footage that it was adapted to; with labels."""
    if camera is None:
        return dataclasses.replace(original, cameras={}), labels
    own = original.for_camera(camera)
    footage = [str(video) for video in own.provenance.get("adapted_to", ())]
    provenance = {**own.provenance, "train_videos": footage, "val_videos": []}
    known = {video: label for video, label in labels.items() if label.group == camera}
    known |= {video: Label(False, None, camera) for video in footage}
    return dataclasses.replace(own, provenance=provenance), known


def _joined(original: Checkpoint, taught: Mapping[str | None, Checkpoint]) -> Checkpoint:
    """The original with what was taught in the place of what it was; the rest scores as it did."""
    new = dataclasses.replace(taught.get(None, original), cameras={})
    for camera in original.cameras:
        own = original.for_camera(camera)
        if camera in taught:
            provenance = {**own.provenance, "threshold": taught[camera].provenance["threshold"]}
            own = dataclasses.replace(taught[camera], provenance=provenance)
        new = new.with_camera(camera, own)
    same = original.cameras.keys() - taught.keys()
    by = [cell for cell in thresholds_by(original.provenance) if cell.get("group") in same]
    if by:  # with_camera has taken them out, as of other scores
        record = new.provenance["threshold"]
        threshold = {**record, "by": [*thresholds_by(new.provenance), *by]}
        new = dataclasses.replace(new, provenance={**new.provenance, "threshold": threshold})
    return new


def _taught(
    part: Checkpoint, store: Features, labels: Labels, verdicts: Sequence[Placed], device: torch.device
) -> Checkpoint | None:
    """One detector after its lessons, calibrated; None where there was nothing to learn."""
    model = part.at_level(0).build()
    known = set(store.videos())
    train = [v for v in part.videos("train") if v in labels and v in known]
    lessons = [*moments(store, model.views, verdicts), *bags(store, model.views, labels, train)]
    if not model.learn(lessons):
        return None
    raw = Checkpoint.of(model.eval(), part.recipe, part.settings, part.provenance)
    raw = dataclasses.replace(raw, words=part.words, provenance=part.provenance)
    return _calibrated(part, raw, store, labels, verdicts, device)


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
    groups: Mapping[str, str | None],
    settings: Settings,
    device: torch.device,
) -> Standing:
    cameras = Cameras(checkpoint, device, settings.events)
    known = set(store.videos())
    needed = {one.video for one in verdicts} | (val.keys() & known)
    fitted = {video: cameras.of(groups.get(video)) for video in sorted(needed)}
    scores = {
        v: score_snippets(v, one.model, store.read(v, one.model.views), device) for v, one in fitted.items()
    }
    right = 0
    for one in verdicts:
        alarms = scores[one.video][one.snippet] >= fitted[one.video].chosen.rule.threshold
        right += bool(alarms) == one.verdict.abnormal
    judged = [(abnormal, highest_tenth(scores[v])) for v, abnormal in val.items() if v in known]
    both = len({abnormal for abnormal, _ in judged}) == 2
    return Standing(right, float(roc_auc_score(*zip(*judged, strict=True))) if both else float("nan"))


def _named(videos: Collection[str]) -> str:
    first, *others = sorted(videos)
    return f"{first} (and {len(others)} more)" if others else first
