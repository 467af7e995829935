"""The extractor as its users see it."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.errors import ConfigError, PipelineError, WeightsError
from ssrl_pipeline.extractors import FeatureExtractor, Wanted
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.engines.networks import BATCH, BATCH_PIXELS


@pytest.fixture(scope="module")
def live() -> FeatureExtractor:
    return FeatureExtractor("i3d", "live", device="cpu", weights="random")


def test_video_and_frames_give_the_same(live: FeatureExtractor, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=20, size=(64, 48))
    features = live.from_video(path)
    assert {name: value.shape for name, value in features.items()} == {
        "clip": (2, 1, 1024),
        "patch2x3": (2, 6, 1024),
    }
    frames = np.stack(list(open_video(path).frames))
    looped = np.concatenate([frames[16:]] * 4)  # 4 frames of the second snippet, again and again
    for name, value in live(looped).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value[0], features[name][1], rtol=1e-4, atol=1e-5)


def test_batches_of_any_size_give_the_same(live: FeatureExtractor) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), np.uint8)
    one_by_one = FeatureExtractor("i3d", "live", device="cpu", weights="random", batch_pixels=1)(frames)
    for name, value in live(frames).items():
        np.testing.assert_allclose(one_by_one[name], value, rtol=1e-4, atol=1e-5)


def test_snippets_of_several_videos_described_together_are_as_each_alone(live: FeatureExtractor) -> None:
    rng = np.random.default_rng(1)
    snippets = [rng.integers(0, 256, (16, *size, 3), np.uint8) for size in ((48, 64), (64, 48), (30, 90))]
    together = live.describe(snippets)
    assert len(together) == 3
    for snippet, features in zip(snippets, together, strict=True):
        (alone,) = live.describe([snippet])
        assert {name: value.shape for name, value in features.items()} == {
            "clip": (1, 1, 1024),
            "patch2x3": (1, 6, 1024),
        }
        for name, value in features.items():
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, alone[name], rtol=0, atol=1e-5 * value.max())
    difference = np.abs(together[0]["clip"] - together[1]["clip"])
    assert difference.max() > 1e-3 * together[0]["clip"].max()  # what differs stays apart
    assert live.describe([]) == []


def test_unknown_names(tmp_path: Path) -> None:
    for arguments, found in (
        ({"backbone": "i4d"}, "'i4d'; there are i3d"),
        ({"preset": "slow"}, "'slow'; there are paper"),
        ({"patches": "thick"}, "'thick'; there are exact, dense"),
        ({"device": "tpu:0"}, "'tpu:0'"),
        ({"device": "nonsense"}, "'nonsense'"),
    ):
        with pytest.raises(ConfigError, match=found):
            FeatureExtractor(**{"weights": "random", **arguments})
    with pytest.raises(PipelineError, match="'cuda:99' is missing"):
        FeatureExtractor(weights="random", device="cuda:99")
    with pytest.raises(WeightsError, match="no such weights file"):
        FeatureExtractor(weights=tmp_path / "none.pkl")


@pytest.mark.parametrize(
    "frames",
    [np.zeros((16, 8, 8, 3)), np.zeros((16, 8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_frames_that_are_none(live: FeatureExtractor, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 \\[N, H, W, 3\\]"):
        live(frames)


def test_recipe_tells_weights_apart(live: FeatureExtractor) -> None:
    recipe = live.recipe
    assert recipe["weights_sha256"] == "random" and recipe["views"] == {"clip": 1, "patch2x3": 6}
    assert recipe["geometry"]["patch2x3"] == "240x420 bilinear, grid 2x3"


TOO_LITTLE = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
BY_CUDNN = RuntimeError("GET was unable to find an engine to execute this computation")


class SmallDevice:
    """An engine that has the memory for so many clips at once."""

    name = "small"

    def __init__(self, clips: int, error: Exception = TOO_LITTLE):
        self.clips, self.error = clips, error
        self.sizes: list[int] = []

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(clips))
        if len(clips) > self.clips:
            raise self.error
        return clips.float().mean((1, 3, 4)).repeat(1, 64)


def with_engine(engine: SmallDevice, batch: int = 4) -> FeatureExtractor:
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random", batch=batch)
    extractor.networks.engines = dict.fromkeys((one.network for one in extractor.passes), engine)  # type: ignore
    return extractor


@pytest.mark.parametrize("error", [TOO_LITTLE, BY_CUDNN, MemoryError()])
def test_out_of_memory_halves_the_batch_and_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(2)
    snippets = [rng.integers(0, 256, (16, 48, 64, 3), np.uint8) for _ in range(4)]
    expected = with_engine(SmallDevice(1000)).describe(snippets)
    small = SmallDevice(3, error)
    extractor = with_engine(small)
    with caplog.at_level(logging.WARNING):
        found = extractor.describe(snippets)
        first = len(small.sizes)
        extractor.describe(snippets[:1])
    assert caplog.messages == ["cpu: out of memory, going on with smaller batches"]
    for one, other in zip(found, expected, strict=True):
        assert [np.array_equal(one[name], other[name]) for name in other] == [True, True]
    assert small.sizes[:2] == [4, 2]  # four clips; then patches, of which 3 would fit
    assert max(small.sizes[first:]) <= 3  # it remembers
    assert extractor.batch == 2


def test_no_memory_for_one_clip_is_an_error_of_one_line(make_video, tmp_path: Path) -> None:
    extractor = with_engine(SmallDevice(0, BY_CUDNN))
    with pytest.raises(
        PipelineError, match="^cpu: not enough memory for one clip of preset live [^\n]*$"
    ) as e:
        extractor.from_video(make_video(tmp_path / "v.mp4", frames=40, size=(64, 48)))
    assert extractor.batch == 1
    assert str(e.value).endswith(str(BY_CUDNN))  # which may have another reason


def test_another_fault_of_the_device_is_told_as_it_is() -> None:
    fault = RuntimeError("CUDA error: an illegal memory access was encountered")
    small = SmallDevice(0, fault)
    extractor = with_engine(small)
    with pytest.raises(RuntimeError) as caught:
        extractor(np.zeros((64, 48, 64, 3), np.uint8))
    assert caught.value is fault
    assert small.sizes == [4] and extractor.batch == 4  # it was not tried again


def test_a_smaller_group_is_tried_before_one_clip_is_too_much() -> None:
    """Views that wait for their turn take memory, too."""
    extractor = with_engine(SmallDevice(1000))
    rows, groups = extractor._rows, []

    def scarce(cut):
        groups.append(len(cut[0]))
        if len(cut[0]) > 1:
            raise BY_CUDNN
        return rows(cut)

    extractor._rows = scarce  # type: ignore[method-assign]
    frames = np.random.default_rng(3).integers(0, 256, (48, 48, 64, 3), np.uint8)
    found = extractor(frames)
    assert groups == [3, 1, 2, 1, 1]
    extractor.describe([frames[:16]] * 3)
    assert groups[5:] == [1, 1, 1]  # it remembers
    np.testing.assert_array_equal(found["clip"], with_engine(SmallDevice(1000))(frames)["clip"])


def test_the_next_views_are_cut_while_the_network_describes_the_last() -> None:
    extractor = with_engine(SmallDevice(1000), batch=2)
    cut, rows = extractor._cut, extractor._rows
    sizes: list[int] = []
    cut_next, waited = threading.Event(), []

    def cutting(snippets, wanted):
        sizes.append(len(snippets))
        if len(sizes) == 2:
            cut_next.set()
        return cut(snippets, wanted)

    def describing(cuts):
        waited.append(cut_next.wait(10))
        return rows(cuts)

    extractor._cut, extractor._rows = cutting, describing  # type: ignore[method-assign]
    frames = np.random.default_rng(4).integers(0, 256, (80, 48, 64, 3), np.uint8)
    found = extractor.describe([frames[i : i + 16] for i in range(0, 80, 16)])
    assert waited == [True] * 3 and sizes == [2, 2, 1]
    expected = with_engine(SmallDevice(1000))(frames)
    np.testing.assert_array_equal(np.concatenate([one["clip"] for one in found]), expected["clip"])


@pytest.mark.parametrize("device", list(BATCH))
def test_the_views_of_a_group_pass_in_few_batches(device: str) -> None:
    """A view of `paper` in one, on tensors of fewer elements than 2^31, which is where libraries end."""
    paper = FeatureExtractor("i3d", "paper", device="cpu", weights="random")
    snippet = np.zeros((16, 256, 340, 3), np.uint8)
    cut = paper._cut([snippet], [Wanted.everything(paper.passes)])
    pixels = [clips[:, 0].numel() for (clips,) in cut]
    assert max(pixels) * BATCH[device] <= BATCH_PIXELS[device]
    values = 8  # a pixel, of the first convolution's 64 maps at half the size in all three directions
    assert values * BATCH_PIXELS[device] < 1 << 31
