"""Kinetics-400's names, and I3D's classifier beside its features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

from ssrl_pipeline.errors import ConfigError, WeightsError
from ssrl_pipeline.extractors.backbones import InceptionI3d, content_sha256
from ssrl_pipeline.extractors.backbones import weights as published
from ssrl_pipeline.extractors.backbones.kinetics import (
    ActionHead,
    action_head,
    action_names,
    find_actions,
    match_actions,
    read_head,
)

HEAD = "params/Logits/Conv3d_0c_1x1/Conv_0"


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"{HEAD}/kernel": random.standard_normal((1, 1, 1, 1024, 400)).astype(np.float32) / 30,
        f"{HEAD}/bias": random.standard_normal(400).astype(np.float32),
    }


def test_the_names_are_those_of_the_head_in_its_order(shared: Path) -> None:
    assert list(action_names()) == (shared / "data" / "kinetics400_labels.txt").read_text().splitlines()


def test_there_are_400_different_ones_in_order() -> None:
    assert len(set(action_names())) == 400 and list(action_names()) == sorted(action_names())


def test_log_probabilities_of_averaged_features_are_those_of_the_whole_network(arrays) -> None:
    """The network as published: the head as a convolution, then the mean over its map."""
    torch.manual_seed(0)
    network, head = InceptionI3d().eval(), read_head(arrays)
    clips = torch.randn(2, 3, 16, 64, 96)
    kernel = torch.from_numpy(arrays[f"{HEAD}/kernel"]).permute(4, 3, 0, 1, 2)
    with torch.inference_mode():
        logits = F.conv3d(network.feature_map(clips), kernel, torch.from_numpy(arrays[f"{HEAD}/bias"]))
        found = head.log_probabilities(network(clips))
    expected = logits.mean(dim=(2, 3, 4)).log_softmax(dim=-1)
    assert found.shape == (2, 400) and found.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_half_precision_features_are_taken() -> None:
    head = ActionHead(torch.eye(3), torch.zeros(3))
    found = head.log_probabilities(torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float16))
    assert found.exp().sum().item() == pytest.approx(1)
    assert found[0, 0].item() == pytest.approx(2 - np.log(np.e**2 + 2), abs=1e-6)


def test_weights_without_it(arrays) -> None:
    assert read_head({}) is None
    assert read_head({**arrays, f"{HEAD}/kernel": arrays[f"{HEAD}/kernel"][..., :174]}) is None


def test_whose_head_belongs_to_features(arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, bare = tmp_path / "own.safetensors", tmp_path / "bare.safetensors"
    save_file(arrays, own)
    save_file({"a": np.zeros(3, np.float32)}, bare)
    head = action_head("i3d", content_sha256(arrays), own)
    np.testing.assert_array_equal(head.weight.T.numpy(), arrays[f"{HEAD}/kernel"][0, 0, 0])
    with pytest.raises(WeightsError, match="need features of i3d, .* not i3d_r50"):
        action_head("i3d_r50", None)
    with pytest.raises(WeightsError, match="features were made with others .*--weights"):
        action_head("i3d", "random")
    with pytest.raises(WeightsError, match="own.safetensors: not the weights that the features"):
        action_head("i3d", "0123", own)
    with pytest.raises(WeightsError, match="bare.safetensors: without I3D's classifier"):
        action_head("i3d", content_sha256({"a": np.zeros(3, np.float32)}), bare)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "nothing"))
    with pytest.raises(WeightsError, match="is not there; get it with `ssrl-pipeline weights fetch i3d`"):
        action_head("i3d", published.PUBLISHED["i3d"].content_sha256)


def test_exact_names() -> None:
    names = action_names()
    found = find_actions(["Riding a  bike", "abseiling", "riding a bike"])
    assert [names[place] for place in found] == ["abseiling", "riding a bike"]
    with pytest.raises(ConfigError, match="'riding a bik'; nearest: riding a bike, "):
        find_actions(["abseiling", "riding a bik"])
    with pytest.raises(ConfigError, match="'punching'; nearest: punching bag, punching person"):
        find_actions(["punching"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("riding a bike", ["riding a bike"]),
        ("bikes", ["biking through snow", "riding a bike", "riding mountain bike"]),
        ("PUNCHING", ["punching bag", "punching person (boxing)"]),
        ("run", ["running on treadmill"]),
        ("ridng a bike", ["riding a bike"]),
    ],
)
def test_names_that_a_text_may_mean(text: str, expected: list[str]) -> None:
    assert [action_names()[place] for place in match_actions(text)] == expected


@pytest.mark.parametrize("text", ["burglary", "", "   "])
def test_a_text_that_means_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no action is called .*; nearest: .*, .*, .*, .*, "):
        match_actions(text)
