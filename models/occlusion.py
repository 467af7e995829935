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

from ssrl_pipeline.models.fused import FusedDetector
from ssrl_pipeline.models.long_video import reach
from ssrl_pipeline.models.memory import STEEPNESS, PatchMemory, evidence
from ssrl_pipeline.models.ssrl import SSRL
from ssrl_pipeline.scales import scale_of, view_of
from ssrl_pipeline.tf32 import allow_tf32

CHUNK = 64  # snippets that a stream looks at at once


@torch.no_grad()
def patch_heat(model: SSRL | PatchMemory | FusedDetector, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each patch of each scale adds to the score of its snippet.

    Args:
        model: in evaluation mode.
        views: as the model's forward takes them, of whole videos.

    Returns:
        scale, as "3x5" -> [B, T, P], log odds, 0 where the score would not sink.
        Nothing of models that look at crops alone.

    Raises:
        ValueError: the model is in training mode; a view is missing or has another shape.
    """
    if model.training:
        raise ValueError("heat is that of a model in evaluation mode: call eval() first")
    if isinstance(model, FusedDetector):
        heat: dict[str, Tensor] = {}
        for weight, part in ((model.weight, model.ssrl), (1 - model.weight, model.memory)):
            for scale, its in patch_heat(part, views).items():
                heat[scale] = heat[scale] + weight * its if scale in heat else weight * its
        return heat
    lost = _lost_by_memory(model, views) if isinstance(model, PatchMemory) else _lost_by_ssrl(model, views)
    return {scale: heat.clamp(min=0) for scale, heat in lost.items()}


def _lost_by_ssrl(model: SSRL, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Log odds lost without each patch: scale -> [B, T, P]."""
    whole = _log_odds(model, views)  # also checks the views
    branches = {scale: model.branch(scale, views[view_of(scale)]) for scale in model.scales}
    lost = {}
    for scale in model.scales:
        name = view_of(scale)
        patches, normal = views[name].clone(), model.scaling.get_buffer(f"{name}_mean")
        without = []
        for position in range(patches.shape[2]):
            patches[:, :, position] = normal
            occluded = model.branch(scale, patches)
            without.append(_log_odds(model, {"clip": views["clip"], **branches, scale: occluded}))
            patches[:, :, position] = views[name][:, :, position]
        lost[scale] = whole[..., None] - torch.stack(without, dim=-1)
    return lost


def _log_odds(model: SSRL, views: Mapping[str, Tensor]) -> Tensor:
    """Of the scores, where these are so near 1 that they do not tell any more: [B, T], mean over crops."""
    return model.head.log_odds(model(views).features).squeeze(-1).mean(dim=1)


def _lost_by_memory(model: PatchMemory, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Log odds lost if each patch were as far as normal ones are: scale -> [B, T, P]."""
    distances = model(views).distances
    evidences = {name: evidence(z) for name, z in distances.items()}  # view -> [B, T]
    whole = _memory_log_odds(model, evidences)
    lost = {}
    for name, z in distances.items():
        scale = scale_of(name)
        if scale is None:
            continue
        without = []
        for position in range(z.shape[2]):
            occluded = z.clone()
            occluded[:, :, position] = 0  # the centre of held-out normal distances
            without.append(_memory_log_odds(model, {**evidences, name: evidence(occluded)}))
        lost[scale] = whole[..., None] - torch.stack(without, dim=-1)
    return lost


def _memory_log_odds(model: PatchMemory, evidences: Mapping[str, Tensor]) -> Tensor:
    """Of the score that the views' evidence gives, (1 + softsign(x)) / 2: log(1 + 2x) where x > 0. [B, T]."""
    alarm, median = model.get_buffer("alarm"), model.get_buffer("median")
    total = model.total(torch.stack([evidences[name] for name in model.views], dim=-1))
    x = STEEPNESS * (total - alarm) / (alarm - median)
    return x.sign() * (2 * x.abs()).log1p()


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

    def __init__(self, model: SSRL | PatchMemory | FusedDetector, device: torch.device, chunk: int = CHUNK):
        self.model, self.device, self.chunk = model, device, chunk
        self._has_patches = any(map(scale_of, model.views))
        related = model.ssrl if isinstance(model, FusedDetector) else model
        self._margin = reach(related.relation) if isinstance(related, SSRL) else 0
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
