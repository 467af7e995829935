"""Where: what each patch of a snippet adds to its score, by occlusion.

One measure for all models, in one unit: the log odds that a snippet's score loses
when the patch looks normal. For SSRL that is the patch's feature replaced by the
mean normal one at this position in all snippets, so that neighbours do not give
away what was there; for the memory a distance that is the average normal one; for
both fused their weighted sum, as their log odds are summed. Occlusion (Zeiler and
Fergus, ECCV 2014) asks the model itself and fits any patch branch. It costs a pass
behind the backbone for each patch, little beside the backbone's own. Measured by the
share of UCSD Ped2's anomalous snippets whose hottest patch of 3x5 touches what is
anomalous (scripts/ped2/ped2_where.py; a random patch: 21 %), gradient times input reaches
82 % and occlusion 87 % where the greatest value stands for a scale's patches. With
the paper's branch, over three draws, it is 73 % and 70 %: no clear difference.

Dimensions: B videos, T snippets, P patches, C crops, F feature size.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.scales import scale_of
from ssrl_pipeline.tf32 import allow_tf32

CHUNK = 64  # snippets that a stream looks at at once


@torch.no_grad()
def patch_heat(model: Detector, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each patch of each scale adds to the score of its snippet.

    Args:
        model: in evaluation mode.
        views: as the model's forward takes them, of whole videos.

    Returns:
        scale, as "3x5" -> [B, T, P], log odds, 0 where the score would not sink.
        Nothing of models that look at crops alone, and of kinds that cannot tell.

    Raises:
        ValueError: the model is in training mode; a view is missing or has another shape.
    """
    if model.training:
        raise ValueError("heat is that of a model in evaluation mode: call eval() first")
    return model.heat(views)


class HeatStream:
    """The heat of one video as its features come; about two chunks of them are held.

    SSRL relates neighbours, so a chunk is looked at with as many snippets to
    either side as its convolutions reach. Its non-local block takes the mean over
    the whole video; here it gets that over the chunk and these neighbours. So the
    heat of up to `chunk` snippets is exactly that of the whole video, that of more
    nearly: over 304 snippets of UCSD Ped2 in a row it differed by 1e-4 of its mean,
    and every hottest patch was the same. The memory's is exact at any length.

    Args:
        model: on `device` and in evaluation mode.
        device: where chunks are computed.
        chunk: snippets that are looked at at once.
    """

    def __init__(self, model: Detector, device: torch.device, chunk: int = CHUNK):
        self.model, self.device, self.chunk = model, device, chunk
        self._has_patches = any(map(scale_of, model.views))
        self._margin = model.reach
        self._held: list[Mapping[str, Tensor]] = []
        self._count = self._done = 0  # snippets held; how many of them, the first, are looked at already
        self._heat: list[dict[str, Tensor]] = []  # on the device, which nobody waits for until the end

    def add(self, views: Mapping[str, Tensor]) -> None:
        """The next snippets: view name -> [n, P, F]."""
        if not self._has_patches:
            return
        self._held.append(views)
        self._count += len(next(iter(views.values())))
        while self._count - self._done > self.chunk + self._margin:
            self._look(self.chunk)

    def heat(self) -> dict[str, Tensor]:
        """Scale -> [T, P] of the whole video, as :func:`patch_heat` has it, on the CPU; to be asked last."""
        if self._count > self._done:
            self._look(self._count - self._done)
        scales = self._heat[0] if self._heat else ()
        return {scale: torch.cat([part[scale] for part in self._heat]).cpu() for scale in scales}

    def _look(self, count: int) -> None:
        """At the next `count` snippets, with their neighbours; then lets go of what no later one needs."""
        joined = {name: torch.cat([views[name] for views in self._held]) for name in self.model.views}
        end = self._done + count
        seen = {n: rows[None, : end + self._margin].to(self.device) for n, rows in joined.items()}
        with allow_tf32(False, self.device):
            heat = patch_heat(self.model, seen)
        self._heat.append({scale: rows[0, self._done : end].clone() for scale, rows in heat.items()})
        first = max(end - self._margin, 0)
        self._held = [{name: rows[first:] for name, rows in joined.items()}]
        self._count, self._done = self._count - first, end - first
