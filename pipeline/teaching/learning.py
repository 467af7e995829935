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

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, thresholds_by
from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Annotations, Label, Labels
from ssrl_pipeline.disk import checkpoint_file
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import require_scorable
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching.cameras import learning_cameras
from ssrl_pipeline.teaching.lessons import Placed, bags, moments, placed
from ssrl_pipeline.teaching.level import levelled
from ssrl_pipeline.teaching.place import feedback_path
from ssrl_pipeline.teaching.standing import Standing, judge
from ssrl_pipeline.teaching.verdicts import Verdict, digest_rows, read_verdicts

GUESS = "what nobody called abnormal in the videos with verdicts"


class Taught(NamedTuple):
    """One detector after its lessons."""

    checkpoint: Checkpoint
    sure: bool  # of its level
    bags: int  # videos that it was trained on and has learnt from once more


class Learnt(NamedTuple):
    checkpoint: Checkpoint
    original: Path
    verdicts: int  # learnt from
    before: Standing  # of the original
    after: Standing
    replaced: Standing | None = None  # of what is to be replaced and has learnt from the same original
    unsure: Sequence[str] = ()  # why nothing says that it still alarms as often as before

    def objections(self, out: Path) -> list[str]:
        """Why it should not become a file."""
        found = [*self.unsure]
        for path, other in ((self.original, self.before), (out, self.replaced)):
            if other and (said := self.after.worse_than(other, self.verdicts)):
                found.append(f"it is worse than {path}: {said}")
        return found

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
        force: written even where it is worse than the original or than what is there, or may be.
        note: is told of verdicts that are not learnt from.

    Raises:
        PipelineError: it is or may be worse; the detector has nothing to learn from them; or a file does
            not fit.
    """
    path, original = find_original(checkpoint)
    if out.exists() and out.resolve() == path.resolve():
        raise CheckpointError(
            f"{out}: is the original, which later verdicts are learnt from; name another --out"
        )
    store = open_features(settings.data.features, settings.data.layout)
    require_scorable(original.recipe, store.recipe, "the checkpoint", f"the store {store.root}")
    feedback, there = feedback_path(settings.data), _learnt_before(out, original)
    given = read_verdicts(feedback, note)
    verdicts = placed(store, given, note)
    _require_placed(feedback, len(given), len(verdicts), store)
    labels = _labels(settings, store, note)
    clicked = {one.video for one in verdicts}
    groups = learning_cameras(store.videos(), clicked, settings.data, original.cameras, note)
    learnt = learn_from(
        original, path, store, verdicts, labels, settings, find_device(device), groups, note, there
    )
    objections = learnt.objections(out)
    if there and len(verdicts) < min(len(given), _count(there)):
        objections.append(
            f"it has learnt from {_count(there)} verdicts, and {store.root} has the videos of only "
            f"{len(verdicts)} of the {len(given)} in {feedback}"
        )
    if objections and not force:
        raise PipelineError(f"{out}: not written, for {'; '.join(objections)}; see --force")
    for line in objections:
        note(f"{out}: written all the same, though {line}")
    save_checkpoint(out, learnt.checkpoint)
    return learnt


def _require_placed(feedback: Path, given: int, count: int, store: Features) -> None:
    """Raises LabelError: of the verdicts that count, none is on a stored video."""
    if given and not count:
        raise LabelError(
            f"{feedback}: nothing can be learnt from its {given} verdicts, for {store.root} has no video of "
            "them; extract them into it, or name the store that has them with --features"
        )


def _learnt_before(out: Path, original: Checkpoint) -> Checkpoint | None:
    """What is to be replaced, where it has learnt from the same original."""
    if not out.is_file():
        return None
    try:
        there = load_checkpoint(out)
    except CheckpointError:
        return None
    return there if there.provenance.get("learnt", {}).get("sha256") == original.sha256 else None


def _count(learnt: Checkpoint) -> int:
    return int(learnt.provenance["learnt"]["verdicts"])


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
    there: Checkpoint | None = None,
) -> Learnt:
    """The checkpoint that has learnt from verdicts, and how it does.

    What is said of a camera that has a detector of its own is learnt by that one alone, the rest by the
    common one.

    Args:
        path: of the original, for the record.
        labels: of the videos that it learned from, which are learnt from once more beside the verdicts.
        groups: video -> its camera, of a checkpoint that was adapted to some.
        note: is told of detectors that have nothing to learn, where others have.
        there: what is to be replaced, and is judged as well.

    Raises:
        PipelineError: none has anything to learn.
    """
    groups = groups or {}
    val = {v: one.abnormal for v, one in labels.items() if v in _validation(original, labels)}
    judging = (store, verdicts, val, groups, settings, device)
    before = judge(original, *judging)
    if not verdicts:
        return Learnt(_recorded(original, original, path, []), path, 0, before, before)
    taught, unsure = _by_camera(original, path, store, verdicts, labels, settings, device, groups, note)
    new = _recorded(_joined(original, taught), original, path, verdicts)
    replaced = judge(there, *judging) if there else None
    return Learnt(new, path, len(verdicts), before, judge(new, *judging), replaced, unsure)


def _by_camera(
    original: Checkpoint,
    path: Path,
    store: Features,
    verdicts: Sequence[Placed],
    labels: Labels,
    settings: Settings,
    device: torch.device,
    groups: Mapping[str, str | None],
    note: Note,
) -> tuple[dict[str | None, Checkpoint], list[str]]:
    """Camera, or None -> the detector that has learnt what was said of it; and why some may alarm more often.

    Raises:
        PipelineError: none has anything to learn.
    """
    taught: dict[str | None, Checkpoint] = {}
    idle, unsure = list[str](), list[str]()
    for camera in (None, *original.cameras):
        own = [one for one in verdicts if _camera(original, groups, one.video) == camera]
        if not own:
            continue
        part, known = _part(original, labels, camera)
        if (new := _taught(part, store, known, own, settings, device)) is None:
            idle.append(f"{path}: {_nothing_learnt(part.kind, camera)}")
            continue
        taught[camera] = new.checkpoint
        if not new.sure and new.bags:
            note(f"{_whose(camera)}calibrated by {GUESS}, for no other normal video is there")
        elif not new.sure:
            unsure.append(f"{_whose(camera)}{_alone(store)}")
    if not taught:
        raise PipelineError(idle[0])
    for line in idle:
        note(line)
    return taught, unsure


def _whose(camera: str | None) -> str:
    return "" if camera is None else f"camera {camera!r}: "


def _alone(store: Features) -> str:
    """What is wrong where there are verdicts alone to learn from."""
    return (
        f"{store.root} and the labels have none of the videos that it learned from, so that it may forget "
        f"what it knew, and is calibrated by {GUESS}; give the store that has them (--features) with their "
        "labels (--labels), and extract the videos with verdicts into it"
    )


def _nothing_learnt(kind: str, camera: str | None) -> str:
    hint = "a memory learns from normal ones alone" if kind == "memory" else "train another kind"
    return f"{_whose(camera)}a detector of the kind {kind} has nothing to learn from these verdicts: {hint}"


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
    part: Checkpoint,
    store: Features,
    labels: Labels,
    verdicts: Sequence[Placed],
    settings: Settings,
    device: torch.device,
) -> Taught | None:
    """One detector after its lessons, calibrated; None where there was nothing to learn."""
    model = part.at_level(0).build()
    known = set(store.videos())
    train = [v for v in part.videos("train") if v in labels and v in known]
    lessons = [*moments(store, model.views, verdicts), *bags(store, model.views, labels, train)]
    if not model.learn(lessons):
        return None
    raw = Checkpoint.of(model.eval(), part.recipe, part.settings, part.provenance)
    raw = dataclasses.replace(raw, words=part.words, provenance=part.provenance)
    return Taught(*levelled(part, raw, store, labels, verdicts, settings.events, device), bags=len(train))


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
