"""Detectors that are made of others, whose log odds they add up."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssrl_pipeline.models.detector import Detector, Footage, Hidden
from ssrl_pipeline.models.lessons import Lesson
from ssrl_pipeline.models.linear import LinearProbe, MotionDetector
from ssrl_pipeline.models.memory import PatchMemory
from ssrl_pipeline.models.ssrl import SSRL

EPS = 1e-6  # scores nearer to 0 or 1 count as this near
PARTS: dict[str, type[Detector]] = {
    kind.kind: kind for kind in (SSRL, PatchMemory, LinearProbe, MotionDetector)
}


class BlendOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1
    parts: dict[str, Tensor]  # kind -> [B, T], its scores


class Blend(Detector):
    """The weighted sum of several detectors' scores, in log odds.

    Log odds, because what one is sure of lies so near 1 that another could not rank it otherwise.

    Args:
        parts: kind -> arguments of its class; each kind once.
        weights: kind -> its weight, zero or more.
    """

    kind: ClassVar[str] = "blend"

    def __init__(self, parts: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]):
        super().__init__()
        if not parts or parts.keys() != weights.keys():
            raise ValueError(f"every part has a weight: {', '.join(parts)} and {', '.join(weights)}")
        if min(weights.values()) < 0:
            raise ValueError(f"weights are zero or more, not {min(weights.values())}")
        for kind, arguments in parts.items():
            if kind not in PARTS:
                raise ValueError(f"{kind!r} is no part of a blend; there are {', '.join(PARTS)}")
            self.add_module(kind, PARTS[kind](**arguments))
        self.weights = dict(weights)
        self.feature_size = max(part.feature_size for part in self.parts)
        self.views = {name: count for part in self.parts for name, count in part.views.items()}
        for name in self.views:
            sizes = [part.sizes[name] for part in self.parts if name in part.views]
            if len(set(sizes)) > 1:
                raise ValueError(f"the parts take {name} features of different sizes: {sizes}")

    @classmethod
    def of(cls, trained: Sequence[Detector], weights: Mapping[str, float]) -> "Blend":
        """Of trained detectors, with whose weights it works; `weights` name their kinds in this order."""
        arguments = {part.kind: part.arguments for part in trained}
        with torch.device("meta"):
            model = cls._like(arguments, weights)
        for part, known in zip(model.parts, trained, strict=True):
            part.load_state_dict(known.state_dict(), assign=True)
        return model.eval()

    @classmethod
    def _like(cls, parts: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]) -> "Blend":
        return cls(parts, weights)

    @property
    def arguments(self) -> dict[str, Any]:
        parts = {kind: part.arguments for kind, part in zip(self.weights, self.parts, strict=True)}
        return {"parts": parts, "weights": self.weights}

    @property
    def sizes(self) -> dict[str, int]:
        return {name: size for part in self.parts for name, size in part.sizes.items()}

    def forward(self, views: Mapping[str, Tensor]) -> BlendOutput:
        """Scores snippets; `views` as of all parts, which raise ValueError where one does not fit."""
        scores = {kind: part(views).scores for kind, part in zip(self.weights, self.parts, strict=True)}
        return BlendOutput(self.combine(list(scores.values())), scores)

    def learn(self, lessons: Sequence[Lesson]) -> bool:
        return any([part.learn(lessons) for part in self.parts])

    def raw(self, views: Mapping[str, Tensor], hidden: Hidden | None = None) -> Tensor:
        """As of every detector; each part hides patches in its own way."""
        return self.combine([part.calibrated(part.raw(views, hidden)) for part in self.parts])

    def hide(self, views: Mapping[str, Tensor], hidden: Hidden) -> Mapping[str, Tensor]:
        """As of its parts: of the memory where it looks, for it knows what is normal at each position."""
        for part in sorted(self.parts, key=lambda part: part.kind == PatchMemory.kind):
            own = {name: which for name, which in hidden.items() if name in part.views}
            views = part.hide(views, own) if own else views
        return views

    def adapted(self, footage: Footage) -> "Blend":
        """Each part adapted by itself; they count as they did."""
        return type(self).of([part.adapted(footage) for part in self.parts], self.weights)

    @property
    def parts(self) -> tuple[Detector, ...]:
        return tuple(self.get_submodule(kind) for kind in self.weights)  # type: ignore[misc]

    def combine(self, scores: Sequence[Tensor]) -> Tensor:
        return add_odds(scores, list(self.weights.values()))

    @property
    def reach(self) -> int:
        return max(part.reach for part in self.parts)

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts' weighted sum, as their log odds are summed."""
        heat: dict[str, Tensor] = {}
        for weight, part in zip(self.weights.values(), self.parts, strict=True):
            for scale, its in part.heat(views).items():
                heat[scale] = heat[scale] + weight * its if scale in heat else weight * its
        return heat


class FusedDetector(Blend):
    """SSRL and the memory, the weights of which are shares.

    Both have their alarm level at 0.5: SSRL's score is trained as a probability, the memory's is a
    quantile of normal snippets.

    Args:
        ssrl: arguments of :class:`SSRL`.
        memory: arguments of :class:`PatchMemory`.
        weight: of SSRL, 0 to 1.
    """

    kind: ClassVar[str] = "fused"

    def __init__(self, ssrl: Mapping[str, Any], memory: Mapping[str, Any], weight: float = 0.5):
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is 0 to 1, not {weight}")
        super().__init__({"ssrl": ssrl, "memory": memory}, {"ssrl": weight, "memory": 1 - weight})

    @classmethod
    def _like(cls, parts: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]) -> "FusedDetector":
        return cls(parts["ssrl"], parts["memory"], weights["ssrl"])

    @property
    def arguments(self) -> dict[str, Any]:
        ssrl, memory = self.parts
        return {"ssrl": ssrl.arguments, "memory": memory.arguments, "weight": self.weights["ssrl"]}


def add_odds(scores: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Scores of several detectors, of one shape, as one: the weighted sum of their log odds."""
    weighted = [w * torch.logit(s, EPS) for w, s in zip(weights, scores, strict=True)]
    return torch.stack(weighted).sum(dim=0).sigmoid()
