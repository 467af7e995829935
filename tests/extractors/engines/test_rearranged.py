"""The order of I3D's sums for GPUs gives the features of the order in which it was published."""

import pytest
import torch
from torch import nn

from ssrl_pipeline.extractors.backbones.inception import InceptionI3d, MaxPool
from ssrl_pipeline.extractors.engines.fold import folded
from ssrl_pipeline.extractors.engines.rearranged import RearrangedI3d, pool


@pytest.fixture(scope="module")
def network() -> InceptionI3d:
    torch.manual_seed(0)
    network = InceptionI3d().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.bias, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    (fast,) = folded(nn.Sequential(network)).children()
    assert isinstance(fast, InceptionI3d)
    return fast


@pytest.mark.parametrize("size", [(16, 32, 32), (16, 45, 38), (5, 33, 64)])
def test_features_are_those_of_the_published_order(network: InceptionI3d, size: tuple[int, ...]) -> None:
    clips = torch.randn(2, 3, *size).to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        expected, found = network.feature_map(clips), RearrangedI3d(network).feature_map(clips)
    assert found.shape == expected.shape
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))],
)
@pytest.mark.parametrize("size", [(4, 6, 5), (3, 5, 8), (1, 1, 1), (7, 4, 4)])
def test_pooling_is_the_same_to_the_last_bit(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, ...]
) -> None:
    layer = MaxPool(kernel, stride)
    x = torch.randn(2, 8, *size).relu().to(memory_format=torch.channels_last_3d)
    assert torch.equal(pool(x, layer), layer(x))
