"""The product on a device that plays CUDA: it gives what the CPU gives, and seldom waits.

What may wait for the device, and does not:

- extraction: once for each group of snippets;
- training: once a step, for its losses, beside evaluations;
- scoring: once for each chunk of snippets that SSRL sums up, never for the memory and for heat;
  and once for the result of each;
- watch: once for the features and once for the scores of all cameras' snippets of a round.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_cuda import fake_cuda
from helpers.fake_device import FakeCuda
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.disk.files import write_json
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.extraction.stage import extract, extract_here
from ssrl_pipeline.extractors import FeatureExtractor, extractor
from ssrl_pipeline.extractors.backbones import BACKBONES, load_backbone
from ssrl_pipeline.extractors.backbones.base import Backbone
from ssrl_pipeline.extractors.presets import PRESETS, Preset
from ssrl_pipeline.extractors.views import Crops, Grid, Resize
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import build_model
from ssrl_pipeline.models import occlusion as heat
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.long_video import CHUNK
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.settings import ModelSettings, Settings, TrainSettings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.run_folder import Evaluation
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (64, 96)  # of frames that the tiny preset takes as they are
TINY = Preset("live", (Crops("clip", Resize(64), 64, "centre"), Grid(2, 3, Resize(SIZE))))
NEAR = 1e-5  # of the greatest
GREY_LEVEL = 2e-2  # where frames are resized: a CPU rounds twice


class Small(Backbone):
    """Quick; 16 features."""

    feature_size, frame_stride, mean, std = 16, 1, 127.5, 127.5

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, self.feature_size, (4, 8, 8), stride=(4, 8, 8))
        self.norm = nn.BatchNorm3d(self.feature_size)

    def feature_map(self, clips: Tensor) -> Tensor:
        return self.norm(self.conv(clips)).relu()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is compared to the last bit is summed in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    with fake_cuda() as device:
        yield device


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "live", TINY)


@pytest.fixture
def small(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "i3d", Small)


def make(device: str, backbone: str = "i3d", **options: Any) -> FeatureExtractor:
    return FeatureExtractor(backbone, "live", device=device, weights="random", engine="eager", **options)


def noise(snippets: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    rng = np.random.default_rng(snippets)
    return list(rng.integers(0, 256, (snippets, 16, *size, 3), np.uint8))


def assert_near(found: Any, expected: Any, share: float = NEAR) -> None:
    assert found.keys() == expected.keys() and expected
    for name, rows in expected.items():
        assert found[name].shape == rows.shape and found[name].dtype == np.float32
        assert np.abs(found[name] - rows).max() <= share * np.abs(rows).max(), name


def each_adds(
    short: Callable[[], object], long: Callable[[], object], cuda: FakeCuda, more: int
) -> tuple[float, float]:
    """Waits and uploads that each of the `more` things adds which `long` does and `short` does not."""
    counts = []
    for do in (short, long):
        cuda.forget()
        do()
        counts.append((len(cuda.waits), len(cuda.uploads)))
    (waits, uploads), (more_waits, more_uploads) = counts
    return (more_waits - waits) / more, (more_uploads - uploads) / more


# Extraction


@pytest.mark.parametrize("patches", ["exact", "dense"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_features_of_each_backbone(
    cuda: FakeCuda, tiny: None, monkeypatch: pytest.MonkeyPatch, backbone: str, patches: str
) -> None:
    loaded = load_backbone(backbone, "random")
    monkeypatch.setattr(extractor, "load_backbone", lambda *_: copy.deepcopy(loaded))
    snippets = noise(3)
    there, here = (make(device, backbone, patches=patches) for device in ("cuda", "cpu"))
    found = there.describe(snippets[:1])
    cuda.forget()
    found += there.describe(snippets[1:])
    assert len(cuda.waits) == 1 and cuda.uploads == []
    for snippet, features in zip(snippets, found, strict=True):
        assert_near(features, here.describe([snippet])[0])


def test_snippets_of_several_sizes_are_one_group(cuda: FakeCuda, small: None) -> None:
    snippets = noise(2) + noise(2, (48, 64)) + noise(1, (90, 70))
    there, here = make("cuda"), make("cpu")
    there.describe(snippets[:1])
    cuda.forget()
    found = there.describe(snippets)
    assert len(cuda.waits) == 1 and cuda.uploads == []
    for snippet, features in zip(snippets, found, strict=True):
        assert_near(features, here.describe([snippet])[0], NEAR if snippet.shape[1:3] == SIZE else GREY_LEVEL)


def test_groups_are_begun_without_a_wait(cuda: FakeCuda, small: None) -> None:
    there, snippets = make("cuda"), noise(4)
    there.describe(snippets[:1])
    cuda.forget()
    begun = [there.start(snippets[:2]), there.start(snippets[2:])]
    assert cuda.waits == []
    for group, expected in zip(begun, (snippets[:2], snippets[2:]), strict=True):
        for features, other in zip(group(), make("cpu").describe(expected), strict=True):
            assert_near(features, other)
    assert len(cuda.waits) == 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(cuda: FakeCuda, small: None, precision: str) -> None:
    snippets = noise(2)
    found, whole = make("cuda", precision=precision).describe(snippets), make("cpu").describe(snippets)
    for one, other in zip(found, whole, strict=True):
        assert_near(one, other, 3e-2)
        assert not np.allclose(one["clip"], other["clip"], rtol=0, atol=NEAR * other["clip"].max())


def test_a_folder_of_videos(
    cuda: FakeCuda,
    small: None,
    make_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, frames in enumerate((70, 5, 33, 16)):
        make_video(tmp_path / "videos" / f"{number}.mp4", frames, size=(SIZE[1], SIZE[0]))
    there, groups = make("cuda", batch=3), []
    start = there.start
    monkeypatch.setattr(
        there, "start", lambda snippets, wanted: (groups.append(len(snippets)), start(snippets, wanted))[1]
    )
    there.describe(noise(1))  # makes the engine
    groups.clear(), cuda.forget()
    found, outcomes = extract(tmp_path / "videos", tmp_path / "there", there, place=extract_here(2))
    assert [outcome.snippets for outcome in outcomes] == [5, 1, 3, 1] and sum(groups) == 10
    assert len(cuda.waits) <= len(groups) <= 5 and cuda.uploads == []
    expected, _ = extract(tmp_path / "videos", tmp_path / "here", make("cpu"))
    for video in expected.videos():
        assert_near(dict(found.read(video)), dict(expected.read(video)))


def test_where_the_memory_ends_groups_are_halved(cuda: FakeCuda, small: None) -> None:
    snippets, there = noise(8), make("cuda", batch=8)
    there.describe(snippets[:1])
    settled = cuda.allocated[0]
    cuda.forget()
    expected = there.describe(snippets)
    cuda.memory = settled + (cuda.peak[0] - settled) * 2 // 3
    cuda.forget()
    for _ in range(2):
        for one, other in zip(there.describe(snippets), expected, strict=True):
            assert_near(one, other)
    assert there.batch < 8 and cuda.peak[0] <= cuda.memory
    cuda.memory = settled + 1000
    with pytest.raises(PipelineError, match="^cuda: not enough memory for one clip of preset live [^\n]*$"):
        there.describe(snippets[:1])


def test_the_device_that_is_named_and_no_other(cuda: FakeCuda, small: None) -> None:
    found = make("cuda:1").describe(noise(1))
    assert cuda.allocated[0] == 0 < cuda.peak[1] and cuda.touched <= {1}
    assert_near(found[0], make("cpu").describe(noise(1))[0])
    with pytest.raises(PipelineError, match="'cuda:2' is missing: PyTorch finds 2 CUDA devices"):
        make("cuda:2")
    assert make("auto").device.type == "cuda"


# Training

VIDEOS = {f"{split}{i}": i % 2 == 1 for split in ("train", "val") for i in range(6)}
LABELS: Labels = {video: Label(abnormal, video[:-1]) for video, abnormal in VIDEOS.items()}
SETTINGS = TrainSettings(steps=6, evaluate_every=2, batch_size=2, segments=6)


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    planted = {video: (2, 3) for video, abnormal in VIDEOS.items() if abnormal}
    return tiny_store(dict.fromkeys(VIDEOS, 6), planted)


def train(
    store: FeatureStore,
    run: Path,
    device: str,
    settings: TrainSettings = SETTINGS,
    kind: str = "ssrl",
    evidence: bool = True,
    **options: Any,
) -> Checkpoint:
    model = ModelSettings(kind=kind, dropout=0.2, patches="relation", evidence=evidence)
    task = Task(
        Settings(model=model, train=settings), run, store, LABELS, Group(torch.device(device)), **options
    )
    return load_checkpoint(train_detector(task))


def assert_same_weights(found: Checkpoint, expected: Checkpoint, limit: float) -> None:
    assert found.weights.keys() == expected.weights.keys()
    assert (
        max((found.weights[n].double() - w.double()).abs().max() for n, w in expected.weights.items())
        <= limit
    )


@pytest.mark.parametrize(
    ("kind", "schedule", "precision", "limit"),
    [
        ("ssrl", "joint", "float32", 1e-6),
        ("ssrl", "staged", "float32", 1e-6),
        ("ssrl", "joint", "bfloat16", 1e-2),  # CPU and CUDA round at other places
        ("memory", "joint", "float32", 0.0),
        ("fused", "joint", "float32", 1e-6),
    ],
)
def test_training_of_each_kind(
    cuda: FakeCuda,
    store: FeatureStore,
    tmp_path: Path,
    kind: str,
    schedule: str,
    precision: str,
    limit: float,
) -> None:
    settings = replace(SETTINGS, schedule=schedule, precision=precision)
    found = train(store, tmp_path / "there", "cuda", settings, kind)
    assert cuda.peak[0] > 0  # a memory is made on the CPU, but scores to be calibrated
    assert_same_weights(found, train(store, tmp_path / "here", "cpu", settings, kind), limit)
    assert cuda.touched <= {0}


def test_a_step_waits_once(cuda: FakeCuda, store: FeatureStore, tmp_path: Path) -> None:
    def run(steps: int) -> Callable[[], object]:
        settings = replace(SETTINGS, steps=steps, evaluate_every=steps)
        # Without evidence, for then each has one checkpoint that is the best so far, and saved.
        return lambda: train(store, tmp_path / str(steps), "cuda", settings, evidence=False)

    assert each_adds(run(4), run(14), cuda, 10) == (1, 0)


class Stop(Exception):
    pass


@pytest.mark.parametrize("schedule", ["joint", "staged"])
def test_a_stopped_training_ends_as_one_that_was_not(
    cuda: FakeCuda, store: FeatureStore, tmp_path: Path, schedule: str
) -> None:
    settings, told = replace(SETTINGS, schedule=schedule, precision="bfloat16"), []

    def stop(evaluation: Evaluation) -> None:
        told.append(evaluation)
        if len(told) == 2:
            raise Stop

    train(store, tmp_path / "whole", "cuda", settings)
    with pytest.raises(Stop):
        train(store, tmp_path / "stopped", "cuda", settings, report=stop)
    train(store, tmp_path / "stopped", "cuda", settings)
    for file in ("best.pt", "last.pt"):
        found, expected = (
            tree_leaves(torch.load(tmp_path / run / file, weights_only=True)) for run in ("stopped", "whole")
        )
        assert len(found) == len(expected) and all(
            torch.equal(one, other) if isinstance(other, Tensor) else one == other
            for one, other in zip(found, expected, strict=True)
        )


# What is done with a detector

MODELS: dict[str, dict[str, Any]] = {
    "ssrl": {"feature_size": 16, "scales": ["2x3"], "crops": 1},
    "memory": {"kind": "memory", "feature_size": 16, "views": {"patch2x3": 6}, "size": 9},
}
MODELS["fused"] = {"kind": "fused", "weight": 0.6, "ssrl": MODELS["ssrl"], "memory": {**MODELS["memory"]}}
MODELS["fused"]["memory"].pop("kind")
CHUNK_WAITS = {"ssrl": 1, "memory": 0, "fused": 1}  # for each CHUNK of snippets
RESULT_WAITS = {"ssrl": 2, "memory": 2, "fused": 3}  # scores of each part; heat of one scale


@pytest.fixture(params=list(MODELS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def detector(kind: str) -> nn.Module:
    """Untrained, with statistics that do something."""
    torch.manual_seed(0)
    model = build_model(**MODELS[kind])
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_var", "norm.weight", "_deviation", "alarm")):
            tensor.uniform_(0.5, 3)
        elif name.endswith(("running_mean", "norm.bias", "_mean", "normal")):
            tensor.normal_(std=0.5)
    return model.eval()


def save(path: Path, kind: str, recipe: dict[str, Any]) -> Path:
    save_checkpoint(path, Checkpoint(detector(kind).state_dict(), MODELS[kind], recipe, {}, {}))
    return path


def made_up(snippets: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(snippets)
    return {n: torch.randn(snippets, p, 16, generator=generator) for n, p in (("clip", 1), ("patch2x3", 6))}


def test_a_video_is_scored(
    cuda: FakeCuda, small: None, make_video: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    video = make_video(tmp_path / "v.mp4", 150, size=(SIZE[1], SIZE[0]))
    path = save(tmp_path / "best.pt", kind, make("cpu").recipe)
    there = Scorer(path, "cuda")
    there.extractor.memory.batch = 4
    cuda.forget()
    found, expected = there.score(video), Scorer(path, "cpu").score(video)
    assert found.snippet_scores.shape == (10,) and expected.snippet_scores.std() > 1e-4
    np.testing.assert_allclose(found.snippet_scores, expected.snippet_scores, atol=1e-5)
    assert_near(found.heat, expected.heat, 1e-3)
    assert len(cuda.waits) <= 3 + CHUNK_WAITS[kind] + RESULT_WAITS[kind], cuda.waits


def test_stored_features_of_a_long_video_are_scored(
    cuda: FakeCuda, small: None, tiny_store: Callable[..., FeatureStore], tmp_path: Path, kind: str
) -> None:
    recipe = make("cpu").recipe
    root = Path(tiny_store({"short": CHUNK, "long": 2 * CHUNK}).root)
    write_json(root / "store.json", {"recipe": recipe, "dtype": "float32"})
    store, path = open_store(root), save(tmp_path / "best.pt", kind, recipe)
    there, here = Scorer(path, "cuda"), Scorer(path, "cpu")
    found, expected = (scorer.score_from(store, "long", "long.mp4") for scorer in (there, here))
    np.testing.assert_allclose(found.snippet_scores, expected.snippet_scores, atol=1e-5)
    assert_near(found.heat, expected.heat, 1e-3)
    short, long = (lambda name=name: there.score_from(store, name, "v.mp4") for name in ("short", "long"))
    assert each_adds(short, long, cuda, 1)[0] == CHUNK_WAITS[kind]
    assert len(cuda.waits) == 2 * CHUNK_WAITS[kind] + RESULT_WAITS[kind]


def test_heat_is_not_waited_for(cuda: FakeCuda, kind: str) -> None:
    views = {name: rows[None] for name, rows in made_up(5).items()}
    there = {name: rows.to("cuda") for name, rows in views.items()}
    model = detector(kind).to("cuda")
    cuda.forget()
    found = heat.patch_heat(model, there)
    assert (cuda.waits, cuda.uploads) == ([], [])
    for scale, expected in heat.patch_heat(detector(kind), views).items():
        torch.testing.assert_close(found[scale].cpu(), expected, atol=1e-4, rtol=1e-3)


def test_cameras_are_scored_with_one_wait_for_all(cuda: FakeCuda, kind: str) -> None:
    there, here = (WindowScorer(detector(kind).to(device), device, size=4, delay=1) for device in (CUDA, CPU))
    windows = [[scorer.window() for _ in range(3)] for scorer in (there, here)]
    for turn in range(6):
        views = made_up(3 + turn)  # a camera each
        views = {name: rows[:3] for name, rows in views.items()}
        cuda.forget()
        found, expected = (scorer.add(own, views) for scorer, own in zip((there, here), windows, strict=True))
        assert len(cuda.waits) <= 1, cuda.waits
        assert found == ([None] * 3 if turn == 0 else pytest.approx(expected, abs=1e-5))
    assert there.finish(windows[0][0]) == pytest.approx(here.finish(windows[1][0]), abs=1e-5)


def test_stored_videos_are_judged(cuda: FakeCuda, store: FeatureStore, kind: str) -> None:
    checkpoint = Checkpoint(detector(kind).state_dict(), MODELS[kind], store.recipe, {}, {})
    intervals = {video: [(32, 64)] for video, abnormal in VIDEOS.items() if abnormal}
    arguments = (checkpoint, store, LABELS, intervals, "val")
    found, expected = (evaluate_checkpoint(*arguments, device) for device in (CUDA, CPU))
    assert found.metrics.auc == pytest.approx(expected.metrics.auc, abs=1e-6)
    for video, scores in expected.scores.items():
        np.testing.assert_allclose(found.scores[video], scores, atol=1e-5)


# From videos to scores, as a user types it


def test_every_command_takes_the_device(
    cuda: FakeCuda,
    small: None,
    make_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        for kind in ("normal", "abnormal"):
            frames = 48 + 8 * number + 4 * (kind == "abnormal")
            make_video(tmp_path / "videos" / kind / f"{number}.mp4", frames, size=(SIZE[1], SIZE[0]))
    split = [
        f"{kind}/{n}.mp4,{kind},{'train' if n < 4 else 'val' if n < 6 else 'test'}"
        for n in range(8)
        for kind in ("normal", "abnormal")
    ]
    Path("labels.csv").write_text("\n".join(["video,label,split", *split]))
    Path("intervals.csv").write_text("video,start,end\nabnormal/6.mp4,16,48\nabnormal/7.mp4,16,48\n")

    def run(*arguments: str) -> str:
        capsys.readouterr()
        cli.main(args=[*arguments], standalone_mode=False)
        return capsys.readouterr().out

    assert "made up" in run("info")  # the name of the card
    quick = ("--preset", "live", "--weights", "random", "--device", "cuda")
    run("extract", *quick, "--dry-run")
    run("extract", *quick)
    run("train", "--name", "a", "--model", "fused", "--device", "cuda", "-o", "train.steps=4")
    assert cuda.peak[0] > 0
    checkpoint = ("--checkpoint", "runs/a/best.pt")
    by_device: dict[str, list[list[float]]] = {}
    for device in ("cuda", "cpu"):
        judged = json.loads(run("evaluate", *checkpoint, "--device", device, "--bootstrap", "0", "--json"))
        run("calibrate", *checkpoint, "--device", device, "--false-alarms", "0.2")
        run(
            "score",
            "videos/abnormal/6.mp4",
            *checkpoint,
            "--device",
            device,
            "--out",
            device,
            "--no-contact-sheet",
        )
        (file,) = Path(device).glob("**/scores.npz")
        lines = map(
            json.loads, run("watch", "videos/abnormal/7.mp4", *checkpoint, "--device", device).splitlines()
        )
        watched = [line["score"] for line in lines if line["type"] == "score"]
        by_device[device] = [[judged["auc"]], np.load(file)["scores"], watched]
    for found, expected in zip(by_device["cuda"], by_device["cpu"], strict=True):
        assert len(expected) > 0
        np.testing.assert_allclose(found, expected, atol=1e-4)
    pytest.importorskip("onnxruntime")
    run("export", "model.onnx", *checkpoint)
    assert Path("model.onnx").stat().st_size > 0
