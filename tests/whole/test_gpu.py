"""On a GPU: features and training are the CPU's, nobody waits, and it goes on where its memory ends."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_common import PAYLOAD, WEIGHTS, relative_l2, restore_weights
from torch import Tensor, nn

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extraction.stage import extract, extract_here
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones import BACKBONES
from ssrl_pipeline.extractors.backbones.base import Backbone
from ssrl_pipeline.extractors.backbones.weights import cache_path
from ssrl_pipeline.extractors.engines.engines import ENGINES, check_engine, why_not
from ssrl_pipeline.extractors.snippets import cut_snippets
from ssrl_pipeline.extractors.views import Resize, kernels_for
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import LossSettings, ModelSettings, OptimiserSettings, TrainSettings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.ssrl import train_ssrl
from ssrl_pipeline.training.run_folder import Evaluation, read_evaluations

CHECK = Path(__file__).resolve().parents[2] / "scripts" / "gpu" / "gpu_check.py"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NEAR = {"float32": 1e-2, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 2e-2}  # of the largest
QUICK_ENGINES = [name for name in ENGINES if name not in ("auto", "openvino", "compile")]
SLEEP = 200_000_000  # cycles: a tenth of a second and more, in which any copy would be done


def need(engine: str, precision: str = "bfloat16") -> None:
    """Skips where an engine does not run, or not in a precision."""
    if reason := why_not(engine, torch.device("cuda")):
        pytest.skip(reason)
    try:
        check_engine(engine, precision, torch.device("cuda"))
    except ConfigError as error:
        pytest.skip(str(error))


def make(device: str, preset: str = "live", **options: object) -> FeatureExtractor:
    options = {"weights": "random", **options}
    return FeatureExtractor("i3d", preset, device=device, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [80, 96, 128, 3]: smooth, different everywhere."""
    coarse = np.random.default_rng(0).integers(0, 256, (80, 6, 8, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 16, axis=1), 16, axis=2)


@pytest.fixture(scope="module")
def by_cpu(frames: np.ndarray) -> dict[str, np.ndarray]:
    return make("cpu", engine="eager")(frames)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The published weights, or those of the payload: the same, rounded. None are the published ones."""
    if cache_path("i3d").exists():
        return None
    if not (PAYLOAD / WEIGHTS).exists():
        pytest.skip("no I3D weights: ssrl-pipeline weights fetch i3d, or scripts/gpu/gpu_payload.sh")
    file = tmp_path_factory.mktemp("weights") / "i3d.safetensors"
    restore_weights(PAYLOAD / WEIGHTS, file)
    return file


@pytest.fixture(scope="module")
def groups(frames: np.ndarray) -> list[list[np.ndarray]]:
    """Each snippet a group, in pinned memory: copies to the GPU return at once."""
    return [[s.pin_memory().numpy()] for s in torch.from_numpy(frames).view(5, 16, *frames.shape[1:])]


@contextmanager
def loud() -> Iterator[None]:
    """What waits for the GPU raises an error meanwhile."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def assert_near(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], share: float) -> None:
    for name, rows in expected.items():
        assert found[name].shape == rows.shape and found[name].dtype == np.float32
        assert np.abs(found[name] - rows).max() <= share * np.abs(rows).max(), name


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_features_are_the_cpus(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray], engine: str, precision: str
) -> None:
    need(engine, precision)
    assert_near(make("cuda", engine=engine, precision=precision)(frames), by_cpu, NEAR[precision])


@pytest.fixture(scope="module")
def paper(weights: Path | None) -> Callable[..., dict[str, np.ndarray]]:
    """paper(patches, device, engine, precision): features of real weights, of a frame of a camera's size."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 15, 20, 3), np.uint8)
    frames = np.repeat(np.repeat(coarse, 16, axis=1), 16, axis=2)

    @cache
    def features(patches: str, device: str, engine: str, precision: str) -> dict[str, np.ndarray]:
        options = {"patches": patches, "engine": engine, "precision": precision}
        return make(device, "paper", weights=weights, **options)(frames)

    return features


@pytest.mark.parametrize("patches", ["exact", "dense"])
@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_paper_at_full_size_in_bfloat16(
    engine: str, patches: str, paper: Callable[..., dict[str, np.ndarray]]
) -> None:
    need(engine)
    expected = paper(patches, "cpu", "eager", "float32")
    found = paper(patches, "cuda", engine, "bfloat16")
    sizes = {"clip": 10, "patch2x3": 6, "patch3x5": 15, "patch4x7": 28}
    assert {name: rows.shape for name, rows in found.items()} == {n: (1, p, 1024) for n, p in sizes.items()}
    for name, rows in expected.items():
        assert 0 < relative_l2(found[name], rows) < 3e-2, name


@pytest.mark.parametrize("size", [(480, 840), 64, (33, 47)])
def test_resized_frames_are_the_cpus(frames: np.ndarray, size: int | tuple[int, int]) -> None:
    """To the last bit by our own kernel, within one grey level by PyTorch's."""
    noise = np.random.default_rng(1).integers(0, 256, frames[:4].shape, np.uint8)
    resize, pixels = Resize(size), torch.from_numpy(noise).permute(0, 3, 1, 2)
    by_gpu = resize(pixels.cuda())
    assert by_gpu.dtype == torch.uint8 and by_gpu.is_cuda
    exact = kernels_for(by_gpu.device) and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    assert (by_gpu.cpu().int() - resize(pixels).int()).abs().max() <= (0 if exact else 1)


@pytest.mark.parametrize("patches", ["exact", "dense"])
@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_nobody_waits_while_a_group_is_begun(
    groups: list[list[np.ndarray]], engine: str, patches: str
) -> None:
    need(engine)
    extractor = make("cuda", engine=engine, precision="bfloat16", patches=patches)
    group = [snippet for (snippet,) in groups]
    expected = extractor.describe(group)  # what is done once may wait
    with loud():
        described = extractor.start(group)
    for found, rows in zip(described(), expected, strict=True):
        assert_near(found, rows, 1e-3)


@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_what_is_computed_waits_for_frames_that_come_late(
    groups: list[list[np.ndarray]], engine: str
) -> None:
    """Copies are held up on their stream, and their memory is used again: yet no frames are mistaken."""
    need(engine)
    extractor = make("cuda", engine=engine, precision="bfloat16")
    expected = [extractor.describe(group) for group in groups]
    streams = [value for value in vars(extractor._transfer).values() if isinstance(value, torch.cuda.Stream)]
    assert len(streams) == 1
    for _ in range(3):
        waiting = []
        for group in groups:
            with torch.cuda.stream(streams[0]):
                torch.cuda._sleep(SLEEP)
            waiting.append(extractor.start(group))
        assert not streams[0].query()  # they are late indeed
        for described, rows in zip(waiting, expected, strict=True):
            assert_near(described()[0], rows[0], 1e-3)


def test_where_the_memory_ends_the_batch_is_halved(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    extractor = make("cuda", batch=5)
    network, taken = extractor.passes[0].network, []
    extractor.describe([frames[:16]])  # makes the engine
    engine = extractor.networks.engines[network]

    def greedy(clips: torch.Tensor) -> torch.Tensor:
        if len(clips) > 2:
            everything = torch.cuda.get_device_properties(clips.device).total_memory
            taken.append(torch.empty(2 * everything, dtype=torch.uint8, device=clips.device))
        return engine(clips)

    extractor.networks.engines[network] = greedy  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        found = extractor(frames)
    assert [message for message in caplog.messages if "out of memory" in message] and not taken
    assert_near(found, by_cpu, NEAR["float32"])


def test_goes_on_where_the_allocator_has_no_more(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    """There is room for one snippet, and not for what the first layer makes of five."""
    extractor = make("cuda", batch=5, engine="eager", precision="float32")
    extractor.describe([frames[:16]])  # weights are there
    torch.cuda.empty_cache()
    room = 30 * 64 * (8 * 60 * 70) * 4  # bytes: five snippets' patches, channels, half of t, h and w, float32
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 0.8 * room) / total)
    try:
        with caplog.at_level(logging.WARNING):
            found = extractor(frames)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [message for message in caplog.messages if "out of memory" in message]
    assert_near(found, by_cpu, NEAR["float32"])


def test_snippets_of_several_videos_share_a_batch(make_video: Callable[..., Path], tmp_path: Path) -> None:
    for number, count in enumerate((70, 5, 33, 16)):
        make_video(tmp_path / "videos" / f"{number}.mp4", count, size=(64 + 16 * number, 48))
    stores: list[FeatureStore] = []
    for name, device, workers in (("cpu", "cpu", 1), ("gpu", "cuda", 3)):
        extractor = make(device, engine="eager")
        store, outcomes = extract(
            tmp_path / "videos", tmp_path / name, extractor, place=extract_here(workers)
        )
        assert [outcome.snippets for outcome in outcomes] == [5, 1, 3, 1]
        stores.append(store)
    for video in stores[0].videos():
        expected, found = (dict(store.read(video)) for store in stores)
        assert_near(found, expected, NEAR["float32"])


LABELS = {f"{split}{i}.mp4": Label(i % 2 == 1, split) for split in ("train", "val") for i in range(8)}


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    abnormal = [video for video, label in LABELS.items() if label.abnormal]
    return tiny_store(dict.fromkeys(LABELS, 8), dict.fromkeys(abnormal, (2, 3)))


def run_training(
    store: FeatureStore,
    run: Path,
    device: str,
    report: Callable[[Evaluation], object] = lambda evaluation: None,
    **options: object,
) -> list[Evaluation]:
    """The evaluations of every step; without chance, which differs from device to device."""
    options = {"schedule": "staged", "steps": 6, "evaluate_every": 1, **options}
    options |= {"loss": LossSettings(dropout=0), "optimiser": OptimiserSettings(lr=3e-3, warmup=1)}
    settings = TrainSettings(**options)  # type: ignore[arg-type]
    model = ModelSettings(dropout=0, patches="relation")
    train_ssrl(store, LABELS, run, model, settings, Group(torch.device(device)), report)
    return read_evaluations(run)


@pytest.mark.parametrize(("precision", "off"), [("float32", 1e-4), ("bfloat16", 4e-2)])
def test_training_steps_are_the_cpus(store: FeatureStore, tmp_path: Path, precision: str, off: float) -> None:
    """Losses sink from 0.7 to 0.04, and each but the first of a stage hangs on the steps before it."""
    by_cpu = run_training(store, tmp_path / "cpu", "cpu")
    by_gpu = run_training(store, tmp_path / "gpu", "cuda", precision=precision)
    assert len({evaluation.loss for evaluation in by_cpu}) == len(by_cpu) == 12
    assert [e.loss for e in by_gpu] == pytest.approx([e.loss for e in by_cpu], abs=off)
    assert [e.val_loss for e in by_gpu] == pytest.approx([e.val_loss for e in by_cpu], abs=off)


class Stop(Exception):
    pass


def test_a_stopped_run_goes_on_as_one_that_was_not(store: FeatureStore, tmp_path: Path) -> None:
    whole = run_training(store, tmp_path / "whole", "cuda")

    def stop(evaluation: Evaluation) -> None:
        if (evaluation.stage, evaluation.step) in ((1, 4), (2, 2)):
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            run_training(store, tmp_path / "stopped", "cuda", stop)
    resumed = run_training(store, tmp_path / "stopped", "cuda")
    assert [(e.stage, e.step) for e in resumed] == [(e.stage, e.step) for e in whole]
    # Some sums on a GPU are in no fixed order.
    assert [e.loss for e in resumed] == pytest.approx([e.loss for e in whole], rel=1e-4)


def test_a_checkpoint_is_the_same_to_a_machine_without_a_gpu(store: FeatureStore, tmp_path: Path) -> None:
    run_training(store, tmp_path / "run", "cuda")
    best = tmp_path / "run" / "best.pt"
    assert all(value.device.type == "cpu" for value in load_checkpoint(best).weights.values())
    for part in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(part)
    from ssrl_pipeline.scoring.onnx import export_onnx

    assert export_onnx(best, tmp_path / "model.onnx").difference < 1e-4


def test_nccl_with_one_process(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = [
        sys.executable,
        str(CHECK),
        "--part",
        "2",
        "--only",
        "nccl",
        "--out",
        str(out),
    ]
    done = subprocess.run([*command, "--weights", "random"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(result["status"] == "ok" for result in results), out.with_suffix(".log").read_text()
    found = {result["name"]: result["value"] for result in results}
    assert "nccl" in found["backend"] and found["barrier"] == "passed"
    assert [found[name] for name in ("all_reduce", "gradient through the group", "objects")] == ["True"] * 3


class Small(Backbone):
    """Compiled within seconds."""

    feature_size, frame_stride, mean, std = 8, 1, 127.5, 127.5

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3, 2, 1)

    def feature_map(self, clips: Tensor) -> Tensor:
        return self.conv(clips).relu()


def test_compiled_graphs_are_few(frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each size of clips one for whole groups and one for the rest; a second video makes none."""
    need("compile")
    monkeypatch.setitem(BACKBONES, "i3d", Small)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    extractor = make("cuda", engine="compile", batch=2)
    expected = make("cpu", engine="eager")(frames)
    for count in (5, 3, 4):
        assert_near(
            extractor(frames[: 16 * count]),
            {n: rows[:count] for n, rows in expected.items()},
            NEAR["float32"],
        )
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 4


@pytest.mark.slow
def test_features_of_compiled_code_are_the_cpus(frames: np.ndarray, by_cpu: dict[str, np.ndarray]) -> None:
    need("compile")
    assert_near(make("cuda", engine="compile", precision="bfloat16")(frames), by_cpu, NEAR["bfloat16"])


def test_frames_lie_in_pinned_memory_that_is_used_again(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray]
) -> None:
    extractor = make("cuda", batch=2)
    found = extractor(np.concatenate([frames] * 6))  # 30 snippets, two at a time
    for begin in range(0, 30, 5):
        assert_near({name: rows[begin : begin + 5] for name, rows in found.items()}, by_cpu, NEAR["float32"])
    (snippet,) = cut_snippets(frames[:16], pending=extractor.pending())
    assert torch.from_numpy(snippet).is_pinned()
    assert extractor._transfer._pinned._bytes <= 8 << 20  # type: ignore[union-attr]  # 1 MiB a snippet
