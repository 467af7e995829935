"""Batch norms folded into the convolutions before them, for inference."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, without the batch norms that follow a convolution.

    A module's children stand in the order in which it runs them: what is beside
    it in :mod:`ssrl_pipeline.extractors` and PyTorchVideo's blocks keep to that.
    """
    result = copy.deepcopy(network).requires_grad_(False)
    for module in result.modules():
        last: tuple[str, nn.Conv3d] | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv3d):
                last = name, child
            elif isinstance(child, nn.BatchNorm3d) and last and last[1].out_channels == child.num_features:
                setattr(module, last[0], fuse_conv_bn_eval(last[1], child))
                setattr(module, name, nn.Identity())
                last = None
            elif next(child.parameters(), None) is not None:
                last = None
    return result
