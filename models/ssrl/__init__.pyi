from .loss import Losses as Losses
from .loss import LossWeights as LossWeights
from .loss import MILLoss as MILLoss
from .network import SSRL as SSRL
from .network import SSRLOutput as SSRLOutput
