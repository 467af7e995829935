"""The command line with means of pixels as features: they cost nothing, and tell one frame from another.

python tests/helpers/pixel_features.py extract --videos videos/ --weights random --engine eager
"""

import itertools
import os
import time
from pathlib import Path

import torch

from ssrl_pipeline.extractors.backbones.inception import InceptionI3d

GATE = "GATE_OF_QUICK_NETWORK"  # a file: while it is there, no process makes more than FREE calls
FREE = 12
_POOL = torch.nn.AdaptiveAvgPool3d((1, 32, 32))
_gate = os.environ.get(GATE)
_calls = itertools.count(1)


def forward(self: InceptionI3d, clips: torch.Tensor) -> torch.Tensor:
    """[B, 3, t, h, w] -> [B, 1024]: grey levels from -1 to 1."""
    if _gate and next(_calls) > FREE:
        while Path(_gate).exists():
            time.sleep(0.02)
    return _POOL(clips.mean(1, keepdim=True)).flatten(1)


if __name__ == "__main__":
    from ssrl_pipeline.cli.main import main

    InceptionI3d.forward = forward
    main()
