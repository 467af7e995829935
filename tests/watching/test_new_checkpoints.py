"""Checkpoints whose files are replaced while they are watched with."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, amend_checkpoint, save_checkpoint
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import SSRL, LinearProbe
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching.cameras.camera_file import CameraEntry
from ssrl_pipeline.watching.sources import parse_sources
from ssrl_pipeline.watching.start import Models

VIEWS = {"clip": 1, "patch2x3": 6}


@pytest.fixture(scope="module")
def recipe() -> dict[str, object]:
    made: dict[str, object] = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    return made


def ssrl(recipe: dict[str, object], seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    return Checkpoint.of(SSRL(1024, ["2x3"], crops=1, patches="max"), recipe, {}, {})


_written = iter(range(1, 1000))


def write(path: Path, checkpoint: Checkpoint | bytes) -> None:
    """With a time of its own, however fast the test is."""
    if isinstance(checkpoint, bytes):
        path.write_bytes(checkpoint)
    else:
        save_checkpoint(path, checkpoint)
    moment = 10**18 + next(_written) * 10**9
    os.utime(path, ns=(moment, moment))


def test_a_file_that_is_replaced_is_taken_once_it_stays_and_a_bad_one_is_not(
    recipe: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate, yard = tmp_path / "gate.pt", tmp_path / "yard.pt"
    for path in (gate, yard):
        write(path, ssrl(recipe, 0))
    models = Models(Settings(), None, "cpu")
    entries = [CameraEntry(source, path) for source, path in
               zip(parse_sources(("gate=1", "yard=2")), (gate, yard), strict=True)]  # fmt: skip
    first = models.plans(entries)
    assert models.renewed() is None

    write(gate, ssrl(recipe, 1))
    assert models.renewed() is None, "it may be half of a file"
    second = models.renewed()
    assert second is not None and second[1] == first[1]
    assert second[0].analysis.reading == first[0].analysis.reading, "the camera stays open"
    weights = [plans[0].analysis.model.state_dict()["head.0.weight"] for plans in (first, second)]
    assert not torch.equal(*weights)
    assert models.renewed() is None

    other = dataclasses.replace(ssrl(recipe, 2), recipe={**recipe, "preset": "fast"})
    probe = Checkpoint.of(LinearProbe(1024, VIEWS), recipe, {}, {})
    for bad, reason in (
        (other, "of other features (preset)"),
        (probe, "of the kind probe, not ssrl"),
        (b"", "damaged"),
    ):
        write(gate, bad)
        caplog.clear()
        assert [models.renewed() for _ in range(4)] == [None] * 4
        (line,) = caplog.messages
        assert reason in line and f"go on with {gate} as it was" in line
    gate.unlink()
    assert models.renewed() is None and models.renewed() is None

    write(gate, ssrl(recipe, 0))
    assert models.renewed() is None
    third = models.renewed()
    assert third is not None
    weight = third[0].analysis.model.state_dict()["head.0.weight"]
    assert torch.equal(weight, weights[0])


def test_a_checkpoint_that_is_amended_is_taken_though_its_time_stays(
    recipe: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "gate.pt"
    record = {"value": 0.5, "asked": 0.01, "unit": "frame", "split": "val", "share": 0.0, "videos": 1}
    write(path, dataclasses.replace(ssrl(recipe, 0), provenance={"threshold": record}))
    models = Models(Settings(), None, "cpu")
    (first,) = models.plans([CameraEntry(parse_sources(("gate=1",))[0], path)])
    before = path.stat()
    amended = dataclasses.replace(ssrl(recipe, 0), provenance={"threshold": {**record, "value": 0.7}})
    amend_checkpoint(path, amended)
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert models.renewed() is None
    (second,) = models.renewed() or [first]
    assert (first.analysis.rule.threshold, second.analysis.rule.threshold) == (0.5, 0.7)
