"""The backbones by name, and one of them with its weights."""

from pathlib import Path

import torch
from torch import nn

from ssrl_pipeline.errors import WeightsError
from ssrl_pipeline.extractors.backbones.base import Backbone
from ssrl_pipeline.extractors.backbones.formats import read_weights
from ssrl_pipeline.extractors.backbones.inception import InceptionI3d
from ssrl_pipeline.extractors.backbones.kinetics import ActionHead, read_head
from ssrl_pipeline.extractors.backbones.resnet import I3dR50, I3dR50NL
from ssrl_pipeline.extractors.backbones.weights import content_sha256, published_weights

BACKBONES: dict[str, type[Backbone]] = {"i3d": InceptionI3d, "i3d_r50": I3dR50, "i3d_r50_nl": I3dR50NL}


def load_backbone(name: str, weights: str | Path | None) -> tuple[Backbone, str, ActionHead | None]:
    """The network in evaluation mode, what identifies its weights, and the classifier that they may hold.

    Args:
        name: of :data:`BACKBONES`.
        weights: None for the published ones (fetched once), a file, or "random" for tests.

    Raises:
        WeightsError: they cannot be had, or are not of this network.
    """
    if weights == "random":
        with torch.random.fork_rng(devices=[]):  # it is made on the CPU: no GPU needs to be touched
            torch.default_generator.manual_seed(0)
            network = BACKBONES[name]().eval()
            for module in network.modules():
                if isinstance(module, nn.Conv3d):  # PyTorch's own start would fade out over the layers
                    nn.init.kaiming_normal_(module.weight)
            return network, "random", None
    network = BACKBONES[name]().eval()
    arrays = published_weights(name) if weights is None else read_weights(Path(weights))
    try:
        network.load_reference_state_dict(arrays)
    except WeightsError as error:
        raise WeightsError(f"{weights or 'cache'}: {error}") from error
    return network.eval(), content_sha256(arrays), read_head(arrays)
