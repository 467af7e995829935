"""The level of a detector: scores move together, keep their order, and a checkpoint keeps it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.errors import CheckpointError
from ssrl_pipeline.models import SSRL, FusedDetector, PatchMemory


def small() -> SSRL:
    torch.manual_seed(0)
    return SSRL(8, ["2x3"], crops=1, patches="max").eval()


@pytest.mark.parametrize("level", [-60.0, -7.25, -0.1, 0.1, 7.25, 60.0])
def test_scores_keep_their_order_at_any_level(level: float) -> None:
    random = np.random.default_rng(0)
    odds = random.uniform(-80, 20, 100_000)
    raw = np.concatenate([[0, 1], 1 / (1 + np.exp(-odds)), random.random(100_000)]).astype(np.float32)
    raw.sort()
    model = small()
    model.level = level
    scores = model.calibrated(torch.from_numpy(raw)).numpy()
    assert scores[0] == 0 and scores[-1] == 1 and scores.dtype == np.float32
    assert (np.diff(scores) >= 0).all()
    exact = raw.astype(float)
    exact = exact / (exact + (1 - exact) * math.exp(level))
    np.testing.assert_allclose(scores, exact, rtol=1e-5, atol=1e-37)


def test_the_level_is_what_scores_a_half() -> None:
    model = small()
    model.level = math.log(0.2 / 0.8)
    assert model.calibrated(torch.tensor([0.2, 0.8])).tolist() == pytest.approx([0.5, 16 / 17])


def test_a_checkpoint_with_a_level_is_another_one(tmp_path: Path) -> None:
    plain = Checkpoint.of(small(), {}, {}, {})
    assert "level" not in plain.model  # as versions before had it
    assert plain.level == 0 and plain.build().level == 0
    lifted = plain.at_level(1.5)
    save_checkpoint(tmp_path / "best.pt", lifted)
    loaded = load_checkpoint(tmp_path / "best.pt")
    assert loaded.level == loaded.build().level == 1.5
    assert loaded.sha256 == lifted.sha256 != plain.sha256
    assert Checkpoint.of(loaded.build(), {}, {}, {}).sha256 == loaded.sha256
    assert lifted.at_level(0).sha256 == plain.sha256
    for wrong in (math.nan, 1e6, "high"):
        with pytest.raises(CheckpointError, match="weights and model of the checkpoint differ"):
            plain.at_level(wrong).build()


def test_parts_count_by_their_own_levels() -> None:
    """As a detector made of others gives when it is called, so do streams."""
    memory = PatchMemory(8, {"patch2x3": 6}, 4).eval()
    fused = FusedDetector.of((small(), memory), {"ssrl": 0.25, "memory": 0.75})
    fused.ssrl.level, fused.level = 2.0, -1.0
    views = {"clip": torch.randn(1, 5, 1, 8), "patch2x3": torch.randn(1, 5, 6, 8)}
    with torch.inference_mode():
        odds = [torch.logit(part.raw(views)) for part in fused.parts]
        expected = torch.sigmoid(0.25 * (odds[0] - 2) + 0.75 * odds[1] + 1)
        torch.testing.assert_close(fused(views).scores, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            fused.outward([part.raw(views) for part in fused.parts]), expected, rtol=0, atol=1e-5
        )
