"""On a GPU: its features are the CPU's, and it goes on where its memory ends."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.extract import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.engines import why_not
from ssrl_pipeline.extractors.snippets import snippets
from ssrl_pipeline.extractors.views import Resize
from ssrl_pipeline.store import FeatureStore

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NEAR = {"float32": 1e-2, "bfloat16": 5e-2, "float16": 2e-2}  # of the largest; float32 may be TF32


def make(device: str, **options: object) -> FeatureExtractor:
    return FeatureExtractor("i3d", "live", device=device, weights="random", **options)  # type: ignore


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [80, 96, 128, 3]: smooth, different everywhere."""
    coarse = np.random.default_rng(0).integers(0, 256, (80, 6, 8, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 16, axis=1), 16, axis=2)


@pytest.fixture(scope="module")
def by_cpu(frames: np.ndarray) -> dict[str, np.ndarray]:
    return make("cpu", engine="eager")(frames)


def assert_near(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], share: float) -> None:
    for name, rows in expected.items():
        assert found[name].shape == rows.shape and found[name].dtype == np.float32
        assert np.abs(found[name] - rows).max() <= share * np.abs(rows).max(), name


@pytest.mark.parametrize("precision", list(NEAR))
@pytest.mark.parametrize("engine", ["eager", pytest.param("compile", marks=pytest.mark.slow)])
def test_features_are_the_cpus(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray], engine: str, precision: str
) -> None:
    if reason := why_not(engine, torch.device("cuda")):
        pytest.skip(reason)
    assert_near(make("cuda", engine=engine, precision=precision)(frames), by_cpu, NEAR[precision])


@pytest.mark.parametrize("size", [(480, 840), 64])
def test_resized_frames_are_within_one_grey_level(frames: np.ndarray, size: int | tuple[int, int]) -> None:
    resize, pixels = Resize(size), torch.from_numpy(frames[:4]).permute(0, 3, 1, 2)
    by_gpu = resize(pixels.cuda())
    assert by_gpu.dtype == torch.uint8 and by_gpu.is_cuda
    assert (by_gpu.cpu().int() - resize(pixels).int()).abs().max() <= 1


def test_where_the_memory_ends_the_batch_is_halved(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    extractor = make("cuda", batch=5)
    network, taken = extractor.passes[0].network, []
    extractor.describe([frames[:16]])  # makes the engine
    engine = extractor._engines[network]

    def greedy(clips: torch.Tensor) -> torch.Tensor:
        if len(clips) > 2:
            everything = torch.cuda.get_device_properties(clips.device).total_memory
            taken.append(torch.empty(2 * everything, dtype=torch.uint8, device=clips.device))
        return engine(clips)

    extractor._engines[network] = greedy  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        found = extractor(frames)
    assert [message for message in caplog.messages if "out of memory" in message] and not taken
    assert_near(found, by_cpu, NEAR["float32"])


def test_snippets_of_several_videos_share_a_batch(make_video: Callable[..., Path], tmp_path: Path) -> None:
    for number, count in enumerate((70, 5, 33, 16)):
        make_video(tmp_path / "videos" / f"{number}.mp4", count, size=(64 + 16 * number, 48))
    stores: list[FeatureStore] = []
    for name, device, workers in (("cpu", "cpu", 1), ("gpu", "cuda", 3)):
        extractor = make(device, engine="eager")
        store, outcomes = extract(tmp_path / "videos", tmp_path / name, extractor, workers=workers)
        assert [outcome.snippets for outcome in outcomes] == [5, 1, 3, 1]
        stores.append(store)
    for video in stores[0].videos():
        expected, found = (dict(store.read(video)) for store in stores)
        assert_near(found, expected, NEAR["float32"])


def test_frames_lie_in_pinned_memory_that_is_used_again(
    frames: np.ndarray, by_cpu: dict[str, np.ndarray]
) -> None:
    extractor = make("cuda", batch=2)
    found = extractor(np.concatenate([frames] * 6))  # 30 snippets, two at a time
    for begin in range(0, 30, 5):
        assert_near({name: rows[begin : begin + 5] for name, rows in found.items()}, by_cpu, NEAR["float32"])
    (snippet,) = snippets(frames[:16], pending=extractor.pending())
    assert torch.from_numpy(snippet).is_pinned()
    assert extractor._transfer._pinned._bytes <= 8 << 20  # type: ignore[union-attr]  # 1 MiB a snippet


@pytest.mark.parametrize(("preset", "patches"), [("paper", "exact"), ("live", "dense"), ("gowtham", "exact")])
def test_the_start_of_a_group_waits_for_nothing(frames: np.ndarray, preset: str, patches: str) -> None:
    extractor = FeatureExtractor(
        "i3d", preset, device="cuda", weights="random", engine="eager", patches=patches
    )
    group = list(snippets(frames[:32], pending=extractor.pending()))
    expected = extractor.describe(group)  # makes the engines
    torch.cuda.set_sync_debug_mode("error")
    try:
        finish = extractor.start(group)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for found, rows in zip(finish(), expected, strict=True):
        assert_near(found, rows, NEAR["float32"])
