"""What every backbone is: a network from clips to features, and how it takes weights."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import WeightsError


def for_sums(dtype: torch.dtype) -> torch.dtype:
    """What to add up many numbers of a type in: float32, or the type itself where it is more precise."""
    return torch.promote_types(dtype, torch.float32)


class Backbone(nn.Module):
    """A video network without its classifier: [B, 3, t, h, w] -> [B, feature_size]."""

    feature_size: ClassVar[int]
    frame_stride: ClassVar[int]  # it takes every frame_stride-th frame of a snippet
    mean: ClassVar[float]  # pixels 0 to 255 are given to it as (x - mean) / std
    std: ClassVar[float]

    def feature_map(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, h, w] -> the last feature map [B, feature_size, t', h', w']."""
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised float [B, 3, t, h, w] -> features [B, feature_size], the average of the last map.

        It is taken in float32 at least, and given so, whatever precision the map has.
        """
        last = self.feature_map(clips)
        return last.mean(dim=(2, 3, 4), dtype=for_sums(last.dtype))

    def own_state_dict(self, mapping: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published weights under this module's names and shapes."""
        raise NotImplementedError

    def load_reference_state_dict(self, mapping: Mapping[str, np.ndarray | Tensor]) -> None:
        """Loads weights under the names under which they were published.

        Args:
            mapping: name -> array; what the network has no use for (its
                classifier) is passed over.

        Raises:
            WeightsError: a name is missing or unknown, or a shape does not fit.
        """
        tensors = {name: torch.as_tensor(value) for name, value in mapping.items()}
        try:
            state = self.own_state_dict(tensors)
            missing, unknown = self.load_state_dict(state, strict=False)
        except (RuntimeError, KeyError, ValueError) as error:
            line = str(error).splitlines()[-1].strip()
            raise WeightsError(f"not weights of {type(self).__name__}: {line}") from error
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unknown:
            kind, names = ("no", missing) if missing else ("unknown", unknown)
            raise WeightsError(f"not weights of {type(self).__name__}: {kind} {names[0]}")
