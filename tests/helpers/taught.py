"""Made-up videos that show something new and something abnormal, and detectors that learn from them."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from helpers.stores import RECIPE, made_up_meta

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL, Blend, Detector, LinearProbe, PatchMemory, fit_memory
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict

F, T = 8, 12  # feature size, snippets
VIEWS = {"clip": 1, "patch2x3": 6}
THE_RECIPE = {**RECIPE, "feature_size": F, "views": VIEWS}
NORMAL, ABNORMAL = ("n0.mp4", "n1.mp4", "n2.mp4"), ("a0.mp4", "a1.mp4")


def video(name: str) -> dict[str, np.ndarray]:
    """Noise; snippets 4 to 6 of n2 show something new in patch 4, 8 to 10 of a0 and a1 a fight."""
    draw = np.random.default_rng(sum(map(ord, name)))
    views = {view: draw.normal(size=(T, count, F)).astype(np.float32) for view, count in VIEWS.items()}
    if name == "n2.mp4":
        views["patch2x3"][4:7, 4, 0] += 30
        views["clip"][4:7, :, 0] += 3
    if name in ABNORMAL:
        views["patch2x3"][8:11, 1, 1] += 3
        views["clip"][8:11, :, 1] += 3
    return views


def remembering() -> PatchMemory:
    """n0 and n1, the patches."""
    rows = np.concatenate([video(name)["patch2x3"] for name in NORMAL[:2]])
    return fit_memory(lambda view: rows, {"patch2x3": 6}, np.repeat([0, 1], T))


def untrained(kind: str) -> Detector:
    torch.manual_seed(3)
    if kind == "memory":
        return remembering()
    if kind == "probe":
        return LinearProbe(F, VIEWS).eval()
    ssrl = SSRL(F, ["2x3"], crops=1, patches="max", evidence=kind == "evident").eval()
    if kind == "evident":
        ssrl.head.add_nothing()
        return ssrl
    return ssrl if kind == "ssrl" else Blend.of([ssrl, remembering()], {"ssrl": 0.5, "memory": 0.5})


def raw(model: Detector, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model.raw({view: torch.from_numpy(rows)[None] for view, rows in video(name).items()})[0]


def said(name: str, snippet: int, word: str, patch: Patch | None = None) -> Verdict:
    return Verdict(Moment(name, 16 * snippet + 5, None, patch), word)


def write_checkpoint(kind: str = "memory") -> tuple[Path, Checkpoint]:
    provenance = {"train_videos": [*NORMAL[:2], ABNORMAL[0]], "val_videos": []}
    checkpoint = Checkpoint.of(untrained(kind), THE_RECIPE, {}, provenance)
    save_checkpoint(Path("best.pt"), checkpoint)
    return Path("best.pt"), checkpoint


def write_adapted(*cameras: str) -> tuple[Path, Checkpoint]:
    """Adapted to cameras, or to gate and yard."""
    path, common = write_checkpoint()
    record = {"value": 0.5, "asked": 0.01, "unit": "frame", "split": "held-out footage"}
    record |= {"videos": 1, "share": 0.0}
    whole = common
    for camera in cameras or ("gate", "yard"):
        own = dataclasses.replace(common.at_level(0.1), provenance={**common.provenance, "threshold": record})
        footage = {**own.provenance, "adapted_to": [NORMAL[1]]}
        whole = whole.with_camera(camera, dataclasses.replace(own, provenance=footage))
    save_checkpoint(path, whole)
    return path, whole


def store_copy(store: FeatureStore, name: str, of: str = "n2.mp4") -> None:
    with store.writer(name) as writer:
        writer.append(video(of))
        writer.meta = made_up_meta(T, 16.0)
