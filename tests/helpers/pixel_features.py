"""The command line with means of pixels as features: they cost nothing, and tell one frame from another.

python tests/helpers/pixel_features.py extract --videos videos/ --weights random --engine eager
"""

import torch

from ssrl_pipeline.extractors.backbones.inception import InceptionI3d

_POOL = torch.nn.AdaptiveAvgPool3d((1, 32, 32))


def forward(self: InceptionI3d, clips: torch.Tensor) -> torch.Tensor:
    """[B, 3, t, h, w] -> [B, 1024]: grey levels from -1 to 1."""
    return _POOL(clips.mean(1, keepdim=True)).flatten(1)


if __name__ == "__main__":
    from ssrl_pipeline.cli.main import main

    InceptionI3d.forward = forward
    main()
