"""A kind of detector that is defined here alone goes wherever a detector goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssrl_pipeline import Scorer
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import CheckpointError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import KINDS, Detector, MemoryOutput, build_model
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.long_video import ScoreStream, score_long
from ssrl_pipeline.models.occlusion import HeatStream, patch_heat
from ssrl_pipeline.scoring.onnx import export_onnx
from ssrl_pipeline.scoring.stored import score_stored
from ssrl_pipeline.settings import Kind
from ssrl_pipeline.training.train import TRAINERS

pytestmark = pytest.mark.usefixtures("quick_network")

CPU = torch.device("cpu")
VIEWS = {"clip": 1, "patch2x3": 6}


class Probe(Detector):
    """A linear layer over the mean of all crops and patches."""

    kind: ClassVar[str] = "plain"

    def __init__(self, feature_size: int, views: Mapping[str, int]):
        super().__init__()
        self.feature_size, self.views = feature_size, dict(views)
        self.linear = nn.Linear(feature_size, 1)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"feature_size": self.feature_size, "views": self.views}

    def forward(self, views: Mapping[str, Tensor]) -> MemoryOutput:
        seen = torch.cat([views[name] for name in self.views], dim=2).mean(dim=2)
        return MemoryOutput(self.linear(seen).squeeze(-1).sigmoid(), {})


class Mean(Probe):
    """The same, less the mean of the whole video's log odds, and smoothed over two neighbours."""

    kind: ClassVar[str] = "mean"
    related: ClassVar[bool] = True
    reach = 1

    def forward(self, views: Mapping[str, Tensor]) -> MemoryOutput:
        return MemoryOutput(self.score(self.relate(self.summarise(views))), {})

    def summarise(self, views: Mapping[str, Tensor]) -> Tensor:
        seen = torch.cat([views[name] for name in self.views], dim=2).mean(dim=2)
        return self.linear(seen)[:, None]  # [B, 1, T, 1]

    def gather(self, summary: Tensor) -> Tensor:
        return summary.sum(dim=2, keepdim=True)

    def relate(self, summary: Tensor, gathered: Tensor | None = None) -> Tensor:
        mean = self.gather(summary) / summary.shape[2] if gathered is None else gathered
        middle = (summary - mean).squeeze(1).transpose(1, 2)  # [B, 1, T]
        smooth = nn.functional.avg_pool1d(middle, 3, stride=1, padding=1)
        return smooth.transpose(1, 2)[:, None]

    def score(self, related: Tensor) -> Tensor:
        return related[:, 0, ..., 0].sigmoid()


@pytest.fixture(params=[(Probe, 0.0), (Mean, 0.0), (Probe, -2.0), (Mean, 2.0)])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Detector:
    """Of a kind that is in the registry, and nowhere else; calibrated or not."""
    kind, level = request.param
    monkeypatch.setitem(KINDS, kind.kind, kind)
    torch.manual_seed(0)
    return build_model(kind.kind, level, feature_size=16, views=VIEWS).eval()


def save(model: Detector, recipe: dict[str, Any], path: Path) -> Path:
    save_checkpoint(path, Checkpoint.of(model, recipe, {"train": {}}, {"val_videos": ["a"]}))
    return path


def by_hand(model: Detector, views: Mapping[str, np.ndarray]) -> np.ndarray:
    """[T]: the scores of a whole video, in NumPy."""
    weight, bias = (values.detach().double().numpy() for values in model.linear.parameters())
    seen = np.concatenate([views["clip"], views["patch2x3"]], axis=1).astype(float)
    odds = seen.mean(axis=1) @ weight[0] + bias[0]
    if model.kind == "mean":
        odds = np.convolve(odds - odds.mean(), [1 / 3] * 3)[1:-1]
    return 1 / (1 + np.exp(model.level - odds))


def made_up(snippets: int) -> dict[str, Tensor]:
    torch.manual_seed(snippets)
    return {name: 3 * torch.randn(snippets, count, 16) for name, count in VIEWS.items()}


def test_a_checkpoint_keeps_it(model: Detector, tmp_path: Path) -> None:
    loaded = load_checkpoint(save(model, {}, tmp_path / "best.pt"))
    assert loaded.kind == model.kind and loaded.videos("val") == ["a"]
    built = loaded.build()
    assert type(built) is type(model) and not built.training
    assert built.arguments == model.arguments
    assert torch.equal(built.linear.weight, model.linear.weight)
    assert built.level == loaded.level == model.level
    loaded.weights.pop("linear.bias")
    with pytest.raises(CheckpointError, match="weights and model of the checkpoint differ"):
        loaded.build()


def test_a_long_video_is_scored_in_chunks(model: Detector) -> None:
    views = made_up(29)
    expected = by_hand(model, {name: rows.numpy() for name, rows in views.items()})
    assert np.ptp(expected) > 0.1
    pieces = [{name: rows[t : t + 5] for name, rows in views.items()} for t in range(0, 29, 5)]
    np.testing.assert_allclose(score_long(model, pieces, CPU), expected, atol=1e-6)
    with ScoreStream(model, CPU, chunk=4) as stream:
        for piece in pieces:
            stream.add(piece)
        np.testing.assert_allclose(stream.scores(), expected, atol=1e-6)


def test_cameras_are_scored_in_windows(model: Detector) -> None:
    views, scorer = made_up(9), WindowScorer(model, CPU, size=4, delay=1)
    window, found = scorer.window(), []
    for t in range(9):
        found += scorer.add([window], {name: rows[t : t + 1] for name, rows in views.items()})
    found = found[1:] + scorer.finish(window)
    ends = [min(t + 1, 8) for t in range(9)]  # of the window that a snippet is scored in
    for t, end in enumerate(ends):
        begin = max(end - 3, 0)
        scores = by_hand(model, {name: rows[begin : end + 1].numpy() for name, rows in views.items()})
        assert found[t] == pytest.approx(scores[t - begin], abs=1e-6)


def test_called_it_gives_calibrated_scores(model: Detector) -> None:
    views = made_up(9)
    expected = by_hand(model, {name: rows.numpy() for name, rows in views.items()})
    found = model({name: rows[None] for name, rows in views.items()}).scores[0]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)


def test_it_has_no_heat(model: Detector) -> None:
    views, stream = made_up(9), HeatStream(model, CPU, chunk=4)
    assert patch_heat(model, {name: rows[None] for name, rows in views.items()}) == {}
    stream.add(views)
    assert stream.heat() == {}


def test_it_is_exported(model: Detector, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    written = export_onnx(save(model, {}, tmp_path / "best.pt"), tmp_path / "model.onnx")
    assert written.kind == model.kind and written.difference < 1e-5
    session = onnxruntime.InferenceSession(written.file, providers=["CPUExecutionProvider"])
    views = {name: rows.numpy() for name, rows in made_up(11).items()}
    (scores,) = session.run(["scores"], {name: rows[None] for name, rows in views.items()})
    np.testing.assert_allclose(scores[0], by_hand(model, views), atol=1e-5)


def test_stored_videos_are_scored_and_judged(model: Detector, tiny_store, tmp_path: Path) -> None:
    store = tiny_store({"a": 20, "b": 20}, {"b": [3, 4, 5]})
    expected = by_hand(model, store.read("b"))
    np.testing.assert_allclose(score_stored("b", model, store, CPU), np.repeat(expected, 16), atol=1e-6)
    checkpoint = load_checkpoint(save(model, store.recipe, tmp_path / "best.pt"))
    labels = {"a": Label(False, "test"), "b": Label(True, "test")}
    result = evaluate_checkpoint(checkpoint, store, labels, {"b": [(48, 96)]}, "test", CPU)
    np.testing.assert_allclose(result.scores["b"], np.repeat(expected, 16), atol=1e-6)


def test_a_video_is_scored(model: Detector, make_video, tmp_path: Path) -> None:
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    model = build_model(model.kind, model.level, feature_size=1024, views=VIEWS)
    scorer = Scorer(save(model, recipe, tmp_path / "best.pt"), device="cpu")
    video = make_video(tmp_path / "v.mp4", frames=48, size=(64, 48), fps=8)
    result = scorer.score(video)
    features = scorer.extractor.from_video(video)
    np.testing.assert_allclose(result.snippet_scores, by_hand(model, features), atol=1e-5)
    assert np.ptp(result.snippet_scores) > 1e-4 and not result.heat
    result.save(tmp_path / "out")
    assert {"scores.csv", "events.csv", "timeline.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert f": {model.kind} on " in repr(scorer)


def test_every_kind_is_trained_by_something_that_the_settings_name() -> None:
    assert set(TRAINERS) == set(get_args(Kind))
    assert set(KINDS) - {"blend"} == set(TRAINERS) - {"auto"}, "auto may give a blend"
    for kind, model in KINDS.items():
        assert model.kind == kind
