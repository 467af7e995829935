"""The ways that the benchmark compares do the same work; otherwise its ratios would mean nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
from benchmark_features import matrix_product
from benchmark_model import with_plain_order
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.presets import Normalisation
from ssrl_pipeline.models import SSRL


@pytest.mark.usefixtures("quick_network")
@pytest.mark.parametrize("preset", ["live", "gowtham"])
def test_the_plain_way_gives_our_features(
    preset: str, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = make_video(tmp_path / "a.avi", frames=16, size=(96, 72))
    extractor = FeatureExtractor(preset=preset, device="cpu", weights="random")
    paths = plain.write_images(video, tmp_path, ".png")
    assert len(paths) == 16
    theirs = plain.extract(paths, extractor.preset, extractor.backbone, extractor.normalisation)
    ours = extractor.from_video(video)
    for name, features in theirs.items():
        assert features.shape == ours[name].shape
        assert np.linalg.norm(features - ours[name]) < 1e-2 * np.linalg.norm(ours[name])


def test_the_plain_way_brings_clips_to_where_its_network_is() -> None:
    class Elsewhere(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            assert clips.device == self.weight.device
            return torch.ones(1, 4)

    clip = tuple(Image.new("RGB", (8, 8)) for _ in range(16))
    assert plain._describe(clip, Elsewhere(), Normalisation(127.5, 127.5)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("precision", "dtype", "arithmetic"),
    [
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
        ("float16", torch.float16, "highest"),
    ],
)
def test_a_peak_is_of_its_precision(precision: str, dtype: torch.dtype, arithmetic: str) -> None:
    multiply = matrix_product(precision, torch.device("cpu"), 32)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            seen.append((str(function), arguments[0].dtype, torch.get_float32_matmul_precision()))
            return function(*arguments, **(options or {}))

    with Watch():
        product = multiply()
    assert seen == [("aten.mm.default", dtype, arithmetic)] and product.shape == (32, 32)
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_published_order_of_products_gives_our_scores() -> None:
    model = SSRL(16, ["2x3"], crops=2).eval()
    torch.nn.init.ones_(model.relation.non_local.norm.weight)  # zero in a new one: nothing would be related
    views = {name: torch.rand(2, 9, n, 16) for name, n in model.views.items()}
    with torch.inference_mode():
        torch.testing.assert_close(with_plain_order(model)(views).scores, model(views).scores)
