"""Stage two's networks: SSRL and its loss, the memory of normal patches, and both together."""

from typing import Any

from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.models.fused import FusedDetector, FusedOutput
from ssrl_pipeline.models.loss import Losses, LossWeights, MILLoss
from ssrl_pipeline.models.memory import MemoryOutput, PatchMemory
from ssrl_pipeline.models.ssrl import SSRL, SSRLOutput

__all__ = [
    "KINDS",
    "SSRL",
    "Detector",
    "FusedDetector",
    "FusedOutput",
    "LossWeights",
    "Losses",
    "MILLoss",
    "MemoryOutput",
    "PatchMemory",
    "SSRLOutput",
    "build_model",
]

KINDS: dict[str, type[Detector]] = {kind.kind: kind for kind in (SSRL, PatchMemory, FusedDetector)}


def build_model(kind: str = SSRL.kind, **arguments: Any) -> Detector:
    """A detector that knows nothing yet.

    Args:
        kind: one of KINDS.
        arguments: of its class, as a checkpoint keeps them.

    Raises:
        ValueError: no such kind, or an argument does not fit.
        TypeError: an argument is missing or unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no model {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind](**arguments)
