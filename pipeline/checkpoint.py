"""Checkpoints: a model's weights with all that is needed to use them and to know where they came from.

Files are written whole and read with `weights_only=True`: nothing in them can run.
"""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssrl_pipeline._version import __version__
from ssrl_pipeline.disk import (
    UNFINISHED,
    check_archive,
    checkpoint_file,
    locked,
    mistaken_download,
    one_name,
    whole_file,
)
from ssrl_pipeline.errors import BusyError, CheckpointError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.backbones import content_sha256
from ssrl_pipeline.models import SSRL, Detector, build_model
from ssrl_pipeline.scales import recipe_of

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """One trained model."""

    weights: dict[str, Tensor]
    model: dict[str, Any]  # "kind" (SSRL where it is not said), "level" (or 0), arguments of its class
    recipe: dict[str, Any]  # of the features it was trained on
    settings: dict[str, Any]  # of the run
    provenance: dict[str, Any]  # stage, step, validation loss, training and validation videos, versions
    # What cameras normally show, for the words of events: mean and deviation [P, A]; empty: not known.
    words: dict[str, Any] = field(default_factory=dict)
    # What `adapt` found for single cameras, by their groups: "model" and "provenance" as above, of
    # "weights" and "words" those that are not the common ones.
    cameras: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which of :data:`ssrl_pipeline.models.KINDS` the model is."""
        return str(self.model.get("kind", SSRL.kind))

    @property
    def sha256(self) -> str:
        """Of all that decides its scores; a threshold set by `calibrate` does not change it."""
        weights = content_sha256({name: value.numpy() for name, value in self.weights.items()})
        said = json.dumps([weights, self.model, self.recipe], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def videos(self, part: str) -> list[str]:
        """The videos that it learned from ("train") or was chosen by ("val"), as far as it says."""
        return [one_name(video) for video in self.provenance.get(f"{part}_videos", ())]

    @property
    def level(self) -> float:
        """Log odds of the raw score that is 0.5 once calibrated; see :class:`Detector`."""
        return float(self.model.get("level", 0.0))

    def at_level(self, level: float) -> "Checkpoint":
        """The same with its scores calibrated to another level; 0: as they were trained."""
        plain = {key: value for key, value in self.model.items() if key != "level"}
        return dataclasses.replace(self, model={"level": level, **plain} if level else plain)

    def for_camera(self, group: str | None) -> "Checkpoint":
        """As it is for the videos of a group: adapted to it or, where it is not, the same.

        Raises:
            CheckpointError: what it says of the camera is damaged.
        """
        if group is None or group not in self.cameras:
            return self
        try:
            own = self.cameras[group]
            weights, model, known = own["weights"], own["model"], own["provenance"]
            if not all(isinstance(value, Tensor) for value in weights.values()):
                raise TypeError("weights hold something else than tensors")
            changes = {"weights": self._own_weights(weights, own["names"]), "model": {**model}}
            changes["words"] = {**self.words, **own.get("words", {})}
            provenance = {**self.provenance, **known, "threshold": {**known["threshold"]}}
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint's detector for camera {group!r} is damaged ({error}); run `adapt` again"
            ) from error
        by = [cell for cell in thresholds_by(self.provenance) if cell.get("group") == group]
        provenance["threshold"]["by"] = by  # others are of other scores
        return dataclasses.replace(self, **changes, provenance=provenance, cameras={})

    def _own_weights(self, own: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        """Those of a camera's detector, in the order of its own."""
        return {name: own[name] if name in own else self.weights[name] for name in names}

    def with_camera(self, group: str, adapted: "Checkpoint") -> "Checkpoint":
        """The same with what was found for one camera, whose earlier thresholds are forgotten."""
        common = self.weights
        own = {
            name: value
            for name, value in adapted.weights.items()
            if name not in common or common[name].dtype != value.dtype or not torch.equal(common[name], value)
        }
        known = {key: value for key, value in adapted.provenance.items() if self.provenance.get(key) != value}
        camera = {"weights": own, "names": list(adapted.weights), "model": adapted.model, "provenance": known}
        if words := {name: one for name, one in adapted.words.items() if one is not self.words.get(name)}:
            camera["words"] = words
        provenance, record = self.provenance, self.provenance.get("threshold")
        if by := thresholds_by(self.provenance):
            left = [cell for cell in by if cell.get("group") != group]
            provenance = {**self.provenance, "threshold": {**(record or {}), "by": left}}
        cameras = {**self.cameras, group: camera}
        return dataclasses.replace(self, provenance=provenance, cameras=cameras)

    @classmethod
    def of(
        cls, model: Detector, recipe: dict[str, Any], settings: dict[str, Any], provenance: dict[str, Any]
    ) -> "Checkpoint":
        """That of a trained model; its weights are copied to the CPU.

        The recipe loses the views of a size of their own that the model does not look at: nobody has to
        extract them to score with it.
        """
        weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        kind = {} if model.kind == SSRL.kind else {"kind": model.kind}
        level = {"level": model.level} if model.level else {}
        recipe = recipe_of(recipe, model.views)
        return cls(weights, kind | level | model.arguments, recipe, settings, provenance | versions())

    def build(self) -> Detector:
        """The model in evaluation mode.

        It is laid out without memory first, so that sizes which a damaged or
        hostile file claims cost nothing until its weights bear them out.

        Raises:
            CheckpointError: the weights are not those of the model that the checkpoint describes.
        """
        try:
            with torch.device("meta"):
                model = build_model(**self.model)
            types = {name: value.dtype for name, value in model.state_dict().items()}
            weights = {name: _own(value).to(types.get(name)) for name, value in self.weights.items()}
            model.load_state_dict(weights, assign=True)
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
            raise CheckpointError(f"weights and model of the checkpoint differ: {reason}") from error
        return model.eval()


def thresholds_by(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """The thresholds of single cameras and hours, as `calibrate --by` writes them; none: an empty list."""
    record = provenance.get("threshold")
    by = record.get("by", []) if isinstance(record, dict) else []
    return [cell for cell in by if isinstance(cell, dict)] if isinstance(by, list) else []


def _own(weight: Tensor) -> Tensor:
    """A copy. A few stored numbers can pose as a tensor of any size: such are refused."""
    if weight.numel() * weight.element_size() > weight.untyped_storage().nbytes():
        raise ValueError(f"a weight of {list(weight.shape)} has too few numbers in the file")
    return weight.clone()


def versions() -> dict[str, str]:
    return {
        "ssrl_pipeline": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    content = {"format": FORMAT, **vars(checkpoint)}
    if not checkpoint.cameras:  # so that the version before reads it, too
        del content["cameras"]
    save(path, content)


def amend_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint where it was read; the newest run stays the newest trained."""
    trained = path.stat()
    save_checkpoint(path, checkpoint)
    os.utime(path, ns=(trained.st_atime_ns, trained.st_mtime_ns))


@contextmanager
def amending(path: Path) -> Iterator[Checkpoint]:
    """Reads a checkpoint that is to be amended; until the context ends, no other process amends it.

    Raises:
        CheckpointError: it cannot be read; or `learn` has made it, and would make it anew without the change.
        BusyError: another process amends it.
    """
    if not path.is_file():
        load_checkpoint(path)  # says so, and leaves no lock where nothing is
    with locked(path.with_name(f".{path.name}.lock")) as holder:
        if holder:
            raise BusyError(f"{path}: {holder} is changing it; run the same command again after its end")
        checkpoint = load_checkpoint(path)
        record = checkpoint.provenance.get("learnt")
        if record and Path(str(record["from"])).is_file():
            raise CheckpointError(
                f"{path}: has learnt from verdicts, and the next `learn` would drop what changes in it; "
                f"change {record['from']}, which it learns from, and run again: "
                f"learn {record['from']} --out {path}"
            )
        yield checkpoint


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint: a file, or a run's folder for its best.pt.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of ours.
    """
    path = checkpoint_file(path)
    content = load(path)
    if "format" not in content:
        raise CheckpointError(f"{path}: {_what_else(path, content)}")
    try:
        if content.pop("format") != FORMAT:
            raise CheckpointError(f"{path}: made by another version of ssrl-pipeline")
        checkpoint = Checkpoint(**content)
        for part, value in vars(checkpoint).items():
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise CheckpointError(f"{path}: damaged ({part} is no mapping of names)")
        if not all(isinstance(value, Tensor) for value in checkpoint.weights.values()):
            raise TypeError("weights hold something else than tensors")
        return checkpoint
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of ssrl-pipeline ({error})") from error


def save(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as scratch, scratch.open("wb") as file:  # PyTorch itself hides why it cannot write
        torch.save(content, file)


def load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if mistake := mistaken_download(path):
        raise CheckpointError(f"{path}: {mistake}")
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise nearly anything
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of ssrl-pipeline")
    return content


def _what_else(path: Path, content: dict[str, Any]) -> str:
    """What a file is that PyTorch reads and that is no checkpoint, and what to give instead."""
    if {"identity", "evaluations"} <= content.keys():
        best = path.with_name("best.pt")
        instead = f"give {best}" if best.is_file() else UNFINISHED
        return f"what training goes on from, not a checkpoint to score with; {instead}"
    weights = next((content[key] for key in ("model_state", "state_dict") if key in content), content)
    if isinstance(weights, dict) and weights and all(isinstance(v, Tensor) for v in weights.values()):
        return (
            "bare weights, not a checkpoint of ssrl-pipeline; give the best.pt that `train` has written "
            "(a backbone's weights are given with --weights)"
        )
    return "not a checkpoint of ssrl-pipeline; give the best.pt that `train` has written"
