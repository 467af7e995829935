"""Scores in a sliding window, against the model that is given each window as a whole video."""

import pytest
import torch
from torch import Tensor, nn

from ssrl_pipeline.models import SSRL, Detector, FusedDetector, PatchMemory
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.long_video import score_long

CPU = torch.device("cpu")
VIEWS = {"clip": 2, "patch2x3": 6}
F = 16


def lively(model: Detector) -> Detector:
    """Untrained, with batch norms that do something and scores that differ."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


@pytest.fixture(params=["ssrl", "relation", "memory", "fused"])
def model(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    ssrl = {"feature_size": F, "scales": ["2x3"], "crops": 2, "patches": "max"}
    memory = {"feature_size": F, "views": {"patch2x3": 6}, "size": 5}
    made: dict[str, Detector] = {
        "ssrl": SSRL(**ssrl),
        "relation": SSRL(**{**ssrl, "patches": "relation"}),
        "memory": PatchMemory(**memory),
        "fused": FusedDetector(ssrl, memory, 0.3),
    }
    return lively(made[request.param])


def made_up(snippets: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(snippets, count, F, generator=generator) for name, count in VIEWS.items()}


@torch.inference_mode()
def expected(model: Detector, views: dict[str, Tensor], size: int, delay: int) -> list[float]:
    """Snippet t in the window that ends `delay` snippets later, or with the last there is."""
    length, scores = len(views["clip"]), []
    for t in range(length):
        end = min(t + delay, length - 1) + 1
        begin = max(end - size, 0)
        window = {name: rows[None, begin:end] for name, rows in views.items()}
        scores.append(model(window).scores[0, t - begin].item())
    return scores


@pytest.mark.parametrize(("size", "delay"), [(1, 0), (4, 0), (4, 3), (7, 2), (50, 5)])
def test_scores_are_those_of_the_model_over_each_window(model: Detector, size: int, delay: int) -> None:
    scorer = WindowScorer(model, CPU, size, delay)
    windows = [scorer.window() for _ in range(3)]
    videos = [made_up(12, 0), made_up(9, 1), made_up(12, 2)]
    found: list[list[float]] = [[], [], []]
    for t in range(12):  # the second camera misses turns, so that windows of several lengths meet
        turn = [i for i in range(3) if 0 <= t - 3 * (i == 1) < len(videos[i]["clip"])]
        turn = turn[::-1] if t % 2 else turn
        rows = {n: torch.stack([videos[i][n][t - 3 * (i == 1)] for i in turn]) for n in VIEWS}
        for i, score in zip(turn, scorer.add([windows[i] for i in turn], rows), strict=True):
            found[i] += [] if score is None else [score]
    for i, window in enumerate(windows):
        assert len(found[i]) == max(0, len(videos[i]["clip"]) - delay)
        found[i] += scorer.finish(window)
        assert found[i] == pytest.approx(expected(model, videos[i], size, delay), abs=1e-6)
        assert len(set(found[i])) > 3
        assert scorer.finish(window) == []


def test_nothing_is_left_of_what_was_before_a_finish(model: Detector) -> None:
    scorer = WindowScorer(model, CPU, size=6, delay=2)
    window, views = scorer.window(), made_up(8, 3)
    for _ in range(2):
        scores = [
            scorer.add([window], {n: rows[t : t + 1] for n, rows in views.items()})[0] for t in range(8)
        ]
        scores = [score for score in scores if score is not None] + scorer.finish(window)
        assert scores == pytest.approx(expected(model, views, 6, 2), abs=1e-6)


def test_what_does_not_go_together_is_refused() -> None:
    model = SSRL(F, (), crops=1)
    with pytest.raises(ValueError, match="training"):
        WindowScorer(model, CPU, 4)
    for size, delay in ((4, 4), (4, -1), (0, 0)):
        with pytest.raises(ValueError, match="delay"):
            WindowScorer(model.eval(), CPU, size, delay)


def test_scores_near_one_differ_under_autocast_too(model: Detector) -> None:
    """Of the whole video, in chunks and in windows: in bfloat16 they would all be exactly 1."""
    for name, parameter in model.named_parameters():
        if name.endswith("head.6.bias"):
            parameter.data += 9
    views = made_up(12, 0)

    def log_odds() -> Tensor:
        """[ways, 12]"""
        scorer = WindowScorer(model, CPU, 50)
        window, rows = scorer.window(), [{name: v[t : t + 1] for name, v in views.items()} for t in range(12)]
        with torch.inference_mode():
            whole = model({name: v[None] for name, v in views.items()}).scores[0]
            chunks = score_long(model, rows, CPU)
            latest = torch.tensor([scorer.add([window], row)[0] for row in rows])
        return torch.stack([whole, chunks, latest]).logit()

    exact = log_odds()
    with torch.autocast("cpu", torch.bfloat16):
        rough = log_odds()
    assert (rough - exact).abs().max() < 0.1
    assert isinstance(model, PatchMemory) or exact.min() > 2
    assert (rough.std(dim=1) > 0.5 * exact.std(dim=1)).all()
