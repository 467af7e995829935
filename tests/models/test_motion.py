"""The detector of motion: which numbers it takes from the cells, and what it goes together with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.models import Blend, LinearProbe, MotionDetector, PatchMemory
from ssrl_pipeline.models.linear.motion import motion_numbers
from ssrl_pipeline.scoring.onnx import export_onnx


def cells(snippets: int, seed: int = 0) -> np.ndarray:
    """[T, 48, 12] of made-up motion."""
    rng = np.random.default_rng(seed)
    made_up = rng.random((snippets, 48, 12))
    made_up[..., :4] **= 3
    made_up[..., :4] /= 100
    made_up[..., 4:] /= made_up[..., 4:].sum(axis=-1, keepdims=True)
    return made_up.astype(np.float32)


def entropy(ways: np.ndarray) -> np.ndarray:
    shares = ways / ways.sum(axis=-1, keepdims=True)
    return -(shares * np.log(shares)).sum(axis=-1)


def test_the_numbers_are_those_of_plain_mathematics() -> None:
    snippet = cells(1)[0].astype(float)
    speed, rms, _, change = snippet[:, :4].T
    ways, top = snippet[:, 4:] * speed[:, None], np.argsort(-speed)[:3]
    expected = []
    for kind in snippet[:, :4].T:
        expected += [kind.mean(), kind.std(), np.quantile(kind, 0.95)]
    expected += [*snippet[top[0], :4], rms.max(), change.max()]
    moves, rushes, busy = ((speed > least).mean() for least in (8e-4, 4e-3, 0.3 * speed.max()))
    expected += [moves + 0.01, rushes + 0.01, busy + 0.01, speed.max() / speed.mean()]
    mixed = [
        entropy(ways[top]).mean(),
        (entropy(ways) * speed).sum() / speed.sum(),
        entropy(ways[top].sum(axis=0)),
        entropy(ways.sum(axis=0)),
    ]
    found = motion_numbers(torch.from_numpy(cells(1))[None])[0, 0]
    np.testing.assert_allclose(found, [*np.log(expected), *mixed], rtol=1e-4, atol=1e-5)


def test_a_still_picture_gives_numbers() -> None:
    still = motion_numbers(torch.zeros(1, 2, 48, 12))
    assert still.isfinite().all() and torch.equal(still[0, 0], still[0, 1])


def test_twice_the_speed_is_a_sum() -> None:
    one, two = torch.from_numpy(cells(1))[None] + 1e-3, torch.from_numpy(cells(1))[None] + 1e-3
    two[..., :4] *= 2
    difference = (motion_numbers(two) - motion_numbers(one))[0, 0]
    np.testing.assert_allclose(difference[:18], np.log(2), rtol=1e-4)
    np.testing.assert_allclose(difference[20:], 0, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="'motion' is missing; there are clip"):
        MotionDetector()({"clip": torch.zeros(1, 2, 1, 4)})
    with pytest.raises(ValueError, match=r"is \[B, T, 48, 12\], not \[1, 2, 48, 4\]"):
        MotionDetector()({"motion": torch.zeros(1, 2, 48, 4)})
    with pytest.raises(ValueError, match="3 cells or more"):
        MotionDetector(cells=2)


@torch.no_grad()
def test_it_blends_with_detectors_of_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    motion, probe = MotionDetector(), LinearProbe(16, {"clip": 1, "patch2x3": 6})
    memory = PatchMemory(16, {"patch2x3": 6, "motion": 48}, 5, sizes={"motion": 12})
    for buffer in memory.memories.buffers():
        if buffer.dim() == 3:
            buffer.normal_()
    weights = {"motion": 0.5, "probe": 0.25, "memory": 0.1}
    blend = Blend.of([motion, probe, memory], weights)
    assert blend.sizes == {"clip": 16, "patch2x3": 16, "motion": 12}
    views = {"clip": torch.randn(1, 5, 1, 16), "patch2x3": torch.randn(1, 5, 6, 16)}
    views["motion"] = torch.from_numpy(cells(5))[None]
    parts = [torch.logit(part.raw(views)) for part in (motion, probe, memory)]
    expected = sum(weight * odds for weight, odds in zip(weights.values(), parts, strict=True))
    np.testing.assert_allclose(torch.logit(blend(views).scores), expected, atol=1e-4)
    with pytest.raises(ValueError, match="motion features of different sizes"):
        Blend(
            {"motion": {}, "memory": {"feature_size": 4, "views": {"motion": 48}, "size": 2}},
            {"motion": 1, "memory": 1},
        )
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    save_checkpoint(tmp_path / "best.pt", Checkpoint.of(blend, {}, {}, {}))
    written = export_onnx(tmp_path / "best.pt", tmp_path / "model.onnx")
    assert written.inputs == {"motion": [48, 12], "clip": [1, 16], "patch2x3": [6, 16]}
    assert written.difference < 1e-5
