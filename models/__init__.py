"""Stage two's network: SSRL and its loss."""

from ssrl_pipeline.models.loss import Losses, LossWeights, MILLoss
from ssrl_pipeline.models.ssrl import SSRL, SSRLOutput

__all__ = ["SSRL", "LossWeights", "Losses", "MILLoss", "SSRLOutput"]
