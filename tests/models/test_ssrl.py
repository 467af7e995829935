"""The model against the published code's values, and against mathematics."""

import numpy as np
import pytest
import torch
from helpers import golden
from torch import Tensor, nn

from ssrl_pipeline.models import SSRL, LossWeights, MILLoss
from ssrl_pipeline.models.ssrl.reference import reference_name
from ssrl_pipeline.models.ssrl.relation import NonLocal, RelationBlock

VIEWS = {"clip": 10, "patch2x3": 6, "patch3x5": 15, "patch4x7": 28}


def golden_views(name: str, stage: int, batch: int, snippets: int) -> dict[str, Tensor]:
    draw, _ = golden.filler()
    counts = dict(list(VIEWS.items())[:stage])
    values = np.abs(draw(name, (batch, sum(counts.values()), snippets, 2048))) * 0.3
    parts = torch.from_numpy(values).split(list(counts.values()), dim=1)
    return {view: part.transpose(1, 2) for view, part in zip(counts, parts, strict=True)}


@golden.needs_golden
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_evaluation_agrees_with_the_published_code(stage: int) -> None:
    values = golden.load("ssrl")
    model = SSRL.from_reference_state_dict(golden.filled(values[f"state_keys_stage{stage}"])).eval()
    assert len(model.scales) == stage - 1
    for t in (7, 33):
        with torch.inference_mode():
            out = model(golden_views(f"dev.features.stage{stage}.T{t}", stage, 1, t))
        expected = values[f"eval_stage{stage}_T{t}_scores"], values[f"eval_stage{stage}_T{t}_magnitudes"]
        assert golden.relative_error(out.scores[0].numpy(), expected[0]) < 1e-5
        assert golden.relative_error(out.magnitudes[0].numpy(), expected[1]) < 1e-5


@golden.needs_golden
@pytest.mark.parametrize("stage", [1, 2])
def test_training_agrees_with_the_published_code(stage: int) -> None:
    """The first loss exactly; gradients and later losses as far as float32 lets them.

    In float64 all gradient norms are within 2e-4 of the golden ones; in float32 the
    sums over patches round to within 2e-3. From the second step on, Adam turns the
    rounding of gradients near zero into steps of full size: in float64 stage 2's
    second loss is 0.2 % off the golden one.
    """
    values = golden.load("ssrl")
    model = SSRL.from_reference_state_dict(golden.filled(values[f"state_keys_stage{stage}"])).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    loss = MILLoss(LossWeights(dropout=0.0), across_videos=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-3)
    labels = torch.tensor([False, False, True, True])
    for step, expected in enumerate(values[f"train_stage{stage}_cost"]):
        normal, abnormal = (
            golden_views(f"dev.train.stage{stage}.step{step}.{kind}", stage, 2, 32)
            for kind in ("normal", "abnormal")
        )
        views = {name: torch.cat([normal[name], abnormal[name]]) for name in normal}
        total = loss(model(views), labels).total
        assert total.item() == pytest.approx(expected, rel=1e-6 if step == 0 else 1e-2)
        optimiser.zero_grad()
        total.backward()
        if step == 0:
            check_gradients(model, values, stage)
        optimiser.step()


def check_gradients(model: SSRL, values: dict[str, np.ndarray], stage: int) -> None:
    compared = 0
    for name, parameter in model.named_parameters():
        expected = float(values[f"train_stage{stage}_gradnorm/{reference_name(name)}"])
        if name.endswith("non_local.out.bias"):  # a bias before a batch norm: its true gradient is zero
            assert expected < 1e-4 and parameter.grad is not None and parameter.grad.norm() < 1e-4
            continue
        assert parameter.grad is not None and parameter.grad.norm().item() == pytest.approx(
            expected, rel=5e-3
        )
        compared += 1
    assert compared > 25


def sure(log_odds: float, scales: tuple[str, ...] = ("2x3",)) -> tuple[SSRL, dict[str, Tensor], Tensor]:
    """A model that gives all about these log odds, four videos, and which of them are abnormal."""
    torch.manual_seed(0)
    model = SSRL(16, scales, crops=2, dropout=0.0)
    model.head[-2].bias.data += log_odds
    views = {name: torch.randn(4, 8, count, 16) for name, count in model.views.items()}
    return model, views, torch.tensor([False, True, False, True])


@pytest.mark.parametrize("log_odds", [0.0, 7.0, 12.0])
def test_it_learns_in_bfloat16_what_it_learns_in_float32(log_odds: float) -> None:
    """In bfloat16 a sigmoid is exactly 1 from 6.3 on: the loss would be 100, the gradient 0."""
    model, views, labels = sure(log_odds)
    losses, gradients = [], []
    for mixed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = model(views)
        losses.append(MILLoss(LossWeights(dropout=0.0), top=0.5)(output, labels).total)
        losses[-1].backward()
        parameters = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat(parameters))
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-2)
    assert losses[1] > log_odds / 2  # half of the bags are not what the model is sure that they are
    exact, rough = gradients
    assert exact.norm() > 1e-2
    assert (rough - exact).norm() < 0.1 * exact.norm()
    assert {values.dtype for values in output if values is not None} == {torch.float32}


def test_reference_checkpoint_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="classfier.fc1.weight"):
        SSRL.from_reference_state_dict({"something": torch.zeros(1)})
    state = {reference_name(k): v for k, v in SSRL(16, ["2x3"]).state_dict().items() if "scaling" not in k}
    assert SSRL.from_reference_state_dict(state).scales == ("2x3",)
    with pytest.raises(ValueError, match="unknown parameter extra"):
        SSRL.from_reference_state_dict({**state, "extra": torch.zeros(1)})
    del state["Aggregate_clip.conv_1.0.bias"]
    with pytest.raises(ValueError, match="no Aggregate_clip.conv_1.0.bias"):
        SSRL.from_reference_state_dict(state)


def test_both_orders_of_the_non_local_product_are_equal() -> None:
    block = NonLocal(8).eval()  # inner size 4: N = 3 takes one order, N = 50 the other
    nn.init.ones_(block.norm.weight)
    for n in (3, 50):
        x = torch.randn(2, 8, n)
        theta, phi, g = block.theta(x), block.phi(x), block.g(x)
        y = torch.einsum("bin,bim,bjm->bjn", theta, phi, g) / n
        torch.testing.assert_close(block(x), x + block.norm(block.out(y)))


def test_relation_block_starts_with_an_idle_non_local_block() -> None:
    x = torch.randn(2, 4, 20)
    torch.testing.assert_close(NonLocal(4)(x), x)
    assert RelationBlock(16)(torch.randn(3, 5, 16)).shape == (3, 5, 16)


@pytest.mark.parametrize("scales", [(), ("2x3",), ("4x7", "1x1"), ("3x3", "5x2")])
def test_any_scales_and_crops(scales: tuple[str, ...]) -> None:
    model = SSRL(feature_size=16, scales=scales, crops=3).eval()
    views = {name: torch.randn(2, 5, count, 16) for name, count in model.views.items()}
    out = model(views)
    assert out.scores.shape == out.magnitudes.shape == (2, 5)
    assert out.features.shape == (2, 3, 5, 16)
    assert ((out.scores > 0) & (out.scores < 1)).all()
    torch.testing.assert_close(out.magnitudes, out.features.pow(2).sum(-1).sqrt().mean(1))


def test_views_that_do_not_fit_are_refused() -> None:
    model = SSRL(16, ["2x3"], crops=1)
    with pytest.raises(ValueError, match="'patch2x3' is missing"):
        model({"clip": torch.zeros(1, 4, 1, 16)})
    with pytest.raises(ValueError, match=r"'patch2x3' is \[B, T, 6, 16\]"):
        model({"clip": torch.zeros(1, 4, 1, 16), "patch2x3": torch.zeros(1, 4, 5, 16)})
    for scale in ("2", "axb", "0x3", "2x"):
        with pytest.raises(ValueError, match="patch scale"):
            SSRL(16, [scale])
    with pytest.raises(ValueError, match="multiple of 8"):
        SSRL(12)


def test_scaling_gives_normal_features_mean_zero_and_like_deviation() -> None:
    model = SSRL(16, [], crops=1)
    normal = torch.randn(200, 1, 16) * torch.linspace(0.5, 2, 16) + 3
    model.scaling.fit("clip", normal, floor=0.0)
    scaled = model.scaling("clip", normal)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 1), correction=0), torch.ones(16), atol=1e-3, rtol=0)


def test_a_branch_computed_before_stands_in_for_its_patches() -> None:
    model = SSRL(16, ["2x3", "3x5"], crops=2).eval()
    views = {name: torch.randn(2, 5, n, 16) for name, n in model.views.items()}
    known = {name: view for name, view in views.items() if name != "patch2x3"}
    known["2x3"] = model.branch("2x3", views["patch2x3"])
    assert torch.equal(model(known).scores, model(views).scores)
    known["2x3"] = known["2x3"] + 1
    assert not torch.equal(model(known).scores, model(views).scores)


def test_a_relation_block_shared_by_the_scales() -> None:
    """At the published sizes: 24 million parameters a block (3 F/4 x 3F + F F/4 + ... + 3 F F)."""

    def millions(**arguments: bool) -> float:
        with torch.device("meta"):
            return sum(p.numel() for p in SSRL(2048, **arguments).parameters()) / 1e6

    block = (
        3 * (2048 * 512 * 3 + 3 * 512)
        + 2048 * 512
        + 4 * 512 * 256
        + 3 * 256
        + 3 * 512
        + 3 * 2048 * 2048
        + 2 * 2048
    )
    assert millions() - millions(share_relation=True) == pytest.approx(2 * block / 1e6, rel=1e-9)
    assert millions() == pytest.approx(192, abs=1)
    model = SSRL(16, ["2x3", "3x5"], share_relation=True)
    assert model.patches["2x3"].relation is model.patches["3x5"].relation
    again = SSRL(16, ["2x3", "3x5"], share_relation=True)
    again.load_state_dict(model.state_dict())
    views = {name: torch.randn(1, 4, n, 16) for name, n in model.views.items()}
    assert torch.equal(model.eval()(views).scores, again.eval()(views).scores)


def test_the_greatest_value_may_stand_for_a_scales_patches() -> None:
    model = SSRL(16, ["2x3", "3x5"], crops=1, patches="max").eval()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in SSRL(16, []).parameters())
    views = {name: torch.randn(2, 5, n, 16) for name, n in model.views.items()}
    by_hand = views["patch2x3"].max(dim=2).values
    torch.testing.assert_close(model.branch("2x3", views["patch2x3"]), by_hand)
    alone = SSRL(16, [], crops=1).eval()
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if "patch" not in k})
    summed = views["clip"] + (by_hand + views["patch3x5"].max(dim=2).values)[:, :, None]
    torch.testing.assert_close(model(views).scores, alone({"clip": summed}).scores)
    with pytest.raises(ValueError, match="patches is relation or max, not 'mean'"):
        SSRL(16, ["2x3"], patches="mean")
