"""Heat: it sits where something was planted, means what it says, and is the same in chunks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ssrl_pipeline.models import SSRL, Detector, FusedDetector, PatchMemory
from ssrl_pipeline.models.memory import fit_memory
from ssrl_pipeline.models.occlusion import HeatStream, patch_heat
from ssrl_pipeline.results.heat_map import frame_heat

F, T = 16, 40
VIEWS = {"clip": 2, "patch2x3": 6, "patch3x5": 15}
CPU = torch.device("cpu")


def noise(snippets: int = T, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(1, snippets, n, F, generator=generator) for name, n in VIEWS.items()}


def ssrl(patches: str = "max", seed: int = 0) -> SSRL:
    torch.manual_seed(seed)
    model = SSRL(F, ["2x3", "3x5"], crops=2, patches=patches)
    torch.nn.init.ones_(model.relation.non_local.norm.weight)
    normal = noise(seed=2)
    for name in VIEWS:
        model.scaling.fit(name, [normal[name]])
    return model.eval()


def memory() -> PatchMemory:
    normal = {name: rows[0].numpy() for name, rows in noise(60, seed=3).items()}
    scales = {name: n for name, n in VIEWS.items() if name != "clip"}
    return fit_memory(normal.__getitem__, scales, np.arange(60) // 6)


def fused() -> FusedDetector:
    part = memory()
    arguments = {"feature_size": F, "views": part.views, "size": part.size}
    related = {"feature_size": F, "scales": ["2x3", "3x5"], "crops": 2, "patches": "max"}
    model = FusedDetector(related, arguments, weight=0.3)
    model.ssrl.load_state_dict(ssrl().state_dict())
    model.memory.load_state_dict(part.state_dict())
    return model.eval()


def log_odds(scores: Tensor) -> Tensor:
    return torch.logit(scores.double())


@pytest.mark.parametrize("patches", ["max", "relation"])
def test_ssrl_heat_is_the_log_odds_lost_without_the_patch(patches: str) -> None:
    model, views = ssrl(patches), noise()
    one_crop = {**views, "clip": views["clip"][:, :, :1]}  # of several the log odds' mean is not the score's
    heat = patch_heat(model, one_crop)
    assert {s: list(h.shape) for s, h in heat.items()} == {"2x3": [1, T, 6], "3x5": [1, T, 15]}
    before = views["patch3x5"].clone()
    with torch.no_grad():
        whole = log_odds(model(one_crop).scores)
        for position in (0, 7):
            without = views["patch3x5"].clone()
            without[:, :, position] = noise(seed=2)["patch3x5"].mean(
                dim=(0, 1, 2)
            )  # what scaling was fitted to
            lost = whole - log_odds(model({**one_crop, "patch3x5": without}).scores)
            assert (lost > 1e-3).any() and (lost < -1e-3).any()
            torch.testing.assert_close(
                heat["3x5"][..., position].double(), lost.clamp(min=0), atol=1e-4, rtol=1e-3
            )
    assert torch.equal(views["patch3x5"], before)


def test_ssrl_heat_tells_scores_that_round_to_one_apart() -> None:
    model, views = ssrl(), noise()
    before = patch_heat(model, views)
    model.head[-2].bias.data += 40
    with torch.no_grad():
        assert (model(views).scores == 1).all()
    after = patch_heat(model, views)
    assert before["2x3"].max() > 0.01
    torch.testing.assert_close(after["2x3"], before["2x3"], atol=1e-4, rtol=0)


def test_memory_heat_is_the_log_odds_lost_if_a_patch_were_as_far_as_normal_ones() -> None:
    model, views = memory(), noise()
    views["patch2x3"][0, 5, 4] += 3
    heat = patch_heat(model, views)
    assert heat["2x3"][0, 5].argmax() == 4 and heat["2x3"][0, 5, 4] > 1
    with torch.no_grad():
        out = model(views)
    z = {name: distances.double().numpy() for name, distances in out.distances.items()}
    centre, deviation = model.evidence_centre.double().numpy(), model.evidence_deviation.double().numpy()

    def odds(distances: dict[str, np.ndarray]) -> np.ndarray:
        """From the definition of the score: evidence in normal units, softsign, 0.5 at the alarm level."""
        total = sum(
            (np.log(np.exp(d).mean(-1)) - centre[i]) / deviation[i] for i, d in enumerate(distances.values())
        )
        x = 4 * (total - model.alarm.item()) / (model.alarm - model.median).item()
        score = 0.5 + 0.5 * x / (1 + np.abs(x))
        return np.log(score / (1 - score))

    np.testing.assert_allclose(odds(z), log_odds(out.scores), atol=1e-3)
    for position in (0, 4):
        normal = z["patch2x3"].copy()
        normal[..., position] = 0
        expected = np.maximum(odds(z) - odds({**z, "patch2x3": normal}), 0)
        np.testing.assert_allclose(heat["2x3"][..., position], expected, atol=1e-3)
    order = out.distances["patch2x3"][0].argsort(dim=-1)  # who is farther than another is never cooler
    assert (heat["2x3"][0].gather(1, order).diff(dim=-1) >= -1e-5).all()


def test_fused_heat_is_the_weighted_sum() -> None:
    model, views = fused(), noise()
    heat, parts = patch_heat(model, views), (patch_heat(model.ssrl, views), patch_heat(model.memory, views))
    for scale in ("2x3", "3x5"):
        assert min(part[scale].max() for part in parts) > 0.01
        torch.testing.assert_close(heat[scale], 0.3 * parts[0][scale] + 0.7 * parts[1][scale])


def test_one_scale_of_two_and_none() -> None:
    model, views = fused(), noise()
    one = FusedDetector(
        {"feature_size": F, "scales": [], "crops": 2},
        {"feature_size": F, "views": {"patch2x3": 6}, "size": model.memory.size},
    ).eval()
    assert list(patch_heat(one, views)) == ["2x3"]
    assert patch_heat(SSRL(F, [], crops=2).eval(), views) == {}
    stream = HeatStream(SSRL(F, [], crops=2).eval(), CPU)
    stream.add({"clip": views["clip"][0]})
    assert stream.heat() == {}


def test_heat_of_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        patch_heat(ssrl().train(), noise())


def streamed(model: Detector, views: dict[str, Tensor], piece: int, chunk: int) -> dict[str, Tensor]:
    stream = HeatStream(model, CPU, chunk)
    for begin in range(0, views["clip"].shape[1], piece):
        stream.add({name: rows[0, begin : begin + piece] for name, rows in views.items()})
    return stream.heat()


@pytest.mark.parametrize("piece", [1, 7, 40])
@pytest.mark.parametrize("chunk", [3, 16, 64])
def test_a_stream_gives_the_same(piece: int, chunk: int) -> None:
    """Exactly, where no mean over the whole video comes in."""
    local = ssrl()
    torch.nn.init.zeros_(local.relation.non_local.norm.weight)
    views = noise()
    for model in (local, memory()):
        heat = patch_heat(model, views)
        for scale, rows in streamed(model, views, piece, chunk).items():
            assert rows.max() > 0.01
            torch.testing.assert_close(rows, heat[scale][0], atol=1e-4, rtol=1e-4)


def test_a_stream_of_one_chunk_gives_exactly_the_same_with_the_mean_over_the_video() -> None:
    model, views = fused(), noise()
    heat = patch_heat(model, views)
    for scale, rows in streamed(model, views, 9, T).items():
        torch.testing.assert_close(rows, heat[scale][0], atol=1e-4, rtol=1e-4)


def test_a_stream_holds_little() -> None:
    model = ssrl()
    stream, held = HeatStream(model, CPU, chunk=8), 0
    for _ in range(30):
        stream.add({name: rows[0] for name, rows in noise(4).items()})
        held = max(held, sum(len(views["clip"]) for views in stream._held))
    assert held <= 8 + 3 * 5 + 4  # a chunk, neighbours to both sides, and what came last
    assert stream.heat()["2x3"].shape == (120, 6)


def test_map_of_two_scales() -> None:
    coarse, fine = np.zeros((2, 6), np.float32), np.zeros((2, 15), np.float32)
    coarse[1, 5], fine[1, 9] = 15, 6  # lower right of 2x3; the middle row's last of 3x5
    cells = frame_heat({"2x3": coarse, "3x5": fine})
    assert cells.shape == (2, 6, 15) and cells.dtype == np.float32
    expected = np.zeros((6, 15))
    expected[3:, 10:] += 1  # 3 x 5 cells
    expected[2:4, 12:] += 1  # 2 x 3 cells
    np.testing.assert_allclose(cells[1], expected)
    assert not cells[0].any()


def test_map_of_the_papers_scales_keeps_the_sum() -> None:
    rng = np.random.default_rng(0)
    heat = {s: rng.random((3, n)).astype(np.float32) for s, n in (("2x3", 6), ("3x5", 15), ("4x7", 28))}
    cells = frame_heat(heat)
    assert cells.shape == (3, 12, 105)
    np.testing.assert_allclose(cells.sum(axis=(1, 2)), sum(h.sum(axis=1) for h in heat.values()), rtol=1e-5)


def test_maps_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no heat"):
        frame_heat({})
    with pytest.raises(ValueError, match=r"heat of 3x5 is \[2, 15\], not \[2, 14\]"):
        frame_heat({"2x3": np.zeros((2, 6)), "3x5": np.zeros((2, 14))})
