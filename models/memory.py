"""A memory of normal patches: the nearest neighbours of each patch's feature at its own position.

Learns from normal videos alone, see :func:`fit_memory`. A bounded memory of
patch features as in PatchCore (Roth et al., CVPR 2022), here one for each position of a fixed camera.

Dimensions: B videos, T snippets, P crops or patches, M remembered snippets, F feature size.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssrl_pipeline.models.detector import Detector, Footage, Hidden
from ssrl_pipeline.models.lessons import Lesson
from ssrl_pipeline.models.memory_fit import LEAST, coreset, held_out_distances, normal_spread
from ssrl_pipeline.models.scaling import FeatureScaling
from ssrl_pipeline.scales import scale_of

CHUNK = 256  # snippets to take statistics of at a time

FAR = 1e3  # a feature, in deviations, that nothing is near to
MOST_LEARNT = 256  # patches that people called normal, remembered at each position
STEEPNESS = 4.0  # makes the median normal snippet score 0.1


class MemoryOutput(NamedTuple):
    scores: Tensor  # [B, T], 0 to 1; 0.5 is the alarm level, see PatchMemory
    distances: dict[str, Tensor]  # view -> [B, T, P]: deviations above what normal patches are away


class ViewMemory(nn.Module):
    """One view: how far each patch is from the normal ones remembered at its position.

    Args:
        view: its name.
        positions: P.
        size: M, remembered snippets at each position.
        feature_size: F.
        neighbours: whose mean distance counts.
        learnt: patches at each position that people called normal; the nearest of them counts.
    """

    def __init__(
        self, view: str, positions: int, size: int, feature_size: int, neighbours: int = 1, learnt: int = 0
    ):
        super().__init__()
        self.view, self.size, self.neighbours = view, size, neighbours
        self.scaling = FeatureScaling([view], feature_size)
        self.register_buffer("normal", torch.zeros(positions, size, feature_size))  # standardised
        if learnt:  # standardised, too; where a position has fewer, the others are FAR
            self.register_buffer("learnt", torch.full((positions, learnt, feature_size), FAR))
        self.register_buffer("centre", torch.zeros(positions))  # of held-out normal distances
        self.register_buffer("deviation", torch.ones(positions))

    def forward(self, patches: Tensor) -> Tensor:
        """[B, T, P, F] -> [B, T, P]: distances less their normal centre, in normal deviations."""
        b, t, p, f = patches.shape
        rows, normal = patches.reshape(b * t, p, f), self.get_buffer("normal")
        learnt = getattr(self, "learnt", None)
        nearest = torch.empty(p, b * t, device=patches.device)
        for position in range(p):  # all at once would need P times the memory in a long video
            queries = self.scaling(self.view, rows[:, position])
            nearest[position] = _nearest(queries, normal[position], self.neighbours)
            if learnt is not None:
                known = _nearest(queries, learnt[position], 1)
                nearest[position] = torch.minimum(nearest[position], known)
        distances = nearest.T.view(b, t, p)
        return (distances - self.get_buffer("centre")) / self.get_buffer("deviation")


class PatchMemory(Detector):
    """Scores the snippets of videos by what was never near in normal videos.

    A view's evidence is the log of the mean of exp(distance) over its patches:
    one patch far away is enough, several count more. The views' evidence is put
    in units of held-out normal snippets and added up. A score of 0.5 is the alarm
    level: the quantile of held-out normal snippets that was chosen when fitting
    (`alarm`, 0.99). The median one scores 0.1; what is as far above the alarm level
    as the median is below it scores 0.9. Scores approach 1 slowly, so that the
    strange and the stranger still differ.

    Args:
        feature_size: F.
        views: view name -> P.
        size: M, remembered snippets at each position.
        neighbours: whose mean distance counts.
        learnt: view name -> patches at each position that people called normal; none where left out.
        sizes: F of the views that have one of their own.
    """

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        feature_size: int,
        views: Mapping[str, int],
        size: int,
        neighbours: int = 1,
        learnt: Mapping[str, int] | None = None,
        sizes: Mapping[str, int] | None = None,
    ):
        super().__init__()
        if not views:
            raise ValueError("a memory needs at least one view")
        for name, value in {"feature_size": feature_size, "size": size, "neighbours": neighbours}.items():
            if value < 1:
                raise ValueError(f"{name} is 1 or more, not {value}")
        self.feature_size, self.size, self.neighbours = feature_size, size, neighbours
        self.views, self._own_sizes = dict(views), dict(sizes or {})
        self.learnt = dict(learnt or {})
        self.memories = nn.ModuleDict(
            {
                name: ViewMemory(name, count, size, self.sizes[name], neighbours, self.learnt.get(name, 0))
                for name, count in views.items()
            }
        )
        self.register_buffer("evidence_centre", torch.zeros(len(views)))  # of held-out normal snippets
        self.register_buffer("evidence_deviation", torch.ones(len(views)))
        self.register_buffer("median", torch.tensor(-1.0))  # of the views' sum, held-out normal snippets
        self.register_buffer("alarm", torch.tensor(0.0))  # the quantile of the same

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "feature_size": self.feature_size,
            "views": self.views,
            "size": self.size,
            "neighbours": self.neighbours,
            **({"learnt": self.learnt} if self.learnt else {}),
            **({"sizes": self._own_sizes} if self._own_sizes else {}),
        }

    @property
    def sizes(self) -> dict[str, int]:
        return {name: self._own_sizes.get(name, self.feature_size) for name in self.views}

    def forward(self, views: Mapping[str, Tensor]) -> MemoryOutput:
        """Scores snippets.

        Args:
            views: each of :attr:`views` as [B, T, P, F]; others are not looked at.

        Raises:
            ValueError: a view is missing or has another shape.
        """
        distances = self._distances(views)
        return MemoryOutput(self._score(distances, {}), distances)

    def _distances(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.require(views)
        return {name: memory(views[name]) for name, memory in self.memories.items()}

    def _score(self, distances: Mapping[str, Tensor], hidden: Hidden) -> Tensor:
        found = [evidence(z, hidden.get(name)) for name, z in distances.items()]
        total = self.total(torch.stack(found, dim=-1))
        alarm = self.get_buffer("alarm")
        beyond = (total - alarm) / (alarm - self.get_buffer("median"))
        return 0.5 + 0.5 * F.softsign(STEEPNESS * beyond)

    def raw(self, views: Mapping[str, Tensor], hidden: Hidden | None = None) -> Tensor:
        """As of every detector; hidden patches are left out of the mean of exp(distance)."""
        return self._score(self._distances(views), hidden or {})

    def hide(self, views: Mapping[str, Tensor], hidden: Hidden) -> Mapping[str, Tensor]:
        """As of every detector, nearly: a hidden patch is one that is remembered at its position.

        So it adds next to nothing; :meth:`raw` leaves it out.
        """
        shown = dict(views)
        for name in hidden.keys() & self.views.keys():
            memory, which = self.memories.get_submodule(name), hidden[name][:, None, :, None]
            mean, deviation = (memory.get_buffer(f"scaling.{name}_{what}") for what in ("mean", "deviation"))
            shown[name] = torch.where(
                which, memory.get_buffer("normal")[:, 0] * deviation + mean, views[name]
            )
        return shown

    def heat(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log odds lost if a patch were as far as normal ones are on average."""
        distances = self(views).distances
        evidences = {name: evidence(z) for name, z in distances.items()}  # view -> [B, T]
        whole = self._log_odds(evidences)
        lost = {}
        for name, z in distances.items():
            scale = scale_of(name)
            if scale is None:
                continue
            without = []
            for position in range(z.shape[2]):
                occluded = z.clone()
                occluded[:, :, position] = 0  # the centre of held-out normal distances
                without.append(self._log_odds({**evidences, name: evidence(occluded)}))
            lost[scale] = (whole[..., None] - torch.stack(without, dim=-1)).clamp(min=0)
        return lost

    @torch.no_grad()
    def learn(self, lessons: Sequence[Lesson]) -> bool:
        """Remembers patches that were called normal, the latest MOST_LEARNT at each position."""
        for name, memory in self.memories.items():
            scaling = cast(ViewMemory, memory).scaling
            rows: list[list[tuple[int, Tensor]]] = [[] for _ in range(self.views[name])]
            for lesson in (one for one in lessons if name in one.normal):
                for snippet, position in lesson.normal[name].nonzero().tolist():
                    number = int(lesson.normal[name][snippet, position])
                    rows[position].append((number, lesson.views[name][snippet, position]))
            if not (most := min(MOST_LEARNT, max(map(len, rows)))):
                continue
            learnt = torch.full((len(rows), most, self.sizes[name]), FAR)
            for position, known in enumerate(rows):
                latest = sorted(known, key=lambda pair: pair[0])[-most:]
                for place, (_, row) in enumerate(latest):
                    learnt[position, place] = scaling(name, row)
            self.learnt[name] = most
            memory.register_buffer("learnt", learnt)
        return bool(self.learnt)

    def _log_odds(self, evidences: Mapping[str, Tensor]) -> Tensor:
        """[B, T] of the score that the evidence gives, (1 + softsign(x)) / 2: log(1 + 2x) where x > 0."""
        alarm, median = self.get_buffer("alarm"), self.get_buffer("median")
        total = self.total(torch.stack([evidences[name] for name in self.views], dim=-1))
        x = STEEPNESS * (total - alarm) / (alarm - median)
        return x.sign() * (2 * x.abs()).log1p()

    def adapted(self, footage: Footage) -> "PatchMemory":
        """One of the camera's own patches instead."""
        return fit_memory(
            lambda name: footage.read(name).numpy(),
            self.views,
            footage.parts,
            neighbours=self.neighbours,
            sizes=self.sizes,
        )

    def total(self, evidence_of_views: Tensor) -> Tensor:
        """[..., V], in the order of the views -> [...]: their sum in units of normal snippets."""
        centred = evidence_of_views - self.get_buffer("evidence_centre")
        return (centred / self.get_buffer("evidence_deviation")).sum(dim=-1)


def _nearest(queries: Tensor, known: Tensor, neighbours: int) -> Tensor:
    """The mean distance of each query [N, F] to the nearest of what is known [M, F]: [N].

    By |q|^2 - 2qk + |k|^2, as torch.cdist does, but of the nearest alone: two thirds of its time.
    """
    apart = torch.addmm(known.square().sum(dim=1), queries, known.T, alpha=-2)  # [N, M], less |q|^2
    if neighbours == 1:
        nearest = apart.amin(dim=1, keepdim=True)
    else:
        nearest = apart.topk(min(neighbours, len(known)), largest=False).values
    return (nearest + queries.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt().mean(dim=1)


def evidence(distances: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Log of the mean of exp over the patches: [..., P] -> [...].

    With `hidden`, bool [B, P], of [B, T, P], over those that are not.
    """
    if hidden is None:
        return distances.logsumexp(dim=-1) - math.log(distances.shape[-1])
    seen = distances.masked_fill(hidden[:, None], -math.inf).logsumexp(dim=-1)  # [B, T]
    return seen - (~hidden).sum(dim=-1, keepdim=True).log()


@torch.no_grad()
def fit_memory(
    read: Callable[[str], np.ndarray],
    views: Mapping[str, int],
    videos: np.ndarray,
    limit: int = 256,
    neighbours: int = 1,
    alarm: float = 0.99,
    sizes: Mapping[str, int] | None = None,
) -> PatchMemory:
    """A memory of normal snippets.

    What is normal distance is measured on held-out videos: each is compared with
    a memory made of the others, so that a patch never meets its own video.

    Args:
        read: view name -> its features [N, P, F]; called once a view, and one
            view is held at a time.
        views: view name -> P.
        videos: int [N], which video a snippet is of; two or more.
        limit: the most snippets to remember at each position.
        neighbours: whose mean distance counts.
        alarm: the quantile of held-out normal snippets that scores 0.5.
        sizes: view name -> F; None: that of all views is the first one's.

    Raises:
        ValueError: all snippets are of one video.
    """
    if len(np.unique(videos)) < 2:
        raise ValueError("normal snippets of two videos or more are needed, to hold one out")
    model: PatchMemory | None = None
    evidences = []
    for name in views:
        rows = torch.from_numpy(np.ascontiguousarray(read(name), np.float32))
        if model is None:
            sizes = sizes or dict.fromkeys(views, rows.shape[2])
            most = max(sizes.values())
            own = {view: size for view, size in sizes.items() if size != most}
            model = PatchMemory(most, views, min(limit, len(rows)), neighbours, sizes=own)
        memory = cast(ViewMemory, model.memories[name])
        evidences.append(evidence(_fit_view(memory, rows, videos)))
    assert model is not None
    _fit_alarm(model, torch.stack(evidences, dim=-1), alarm)
    return model.eval()


def _fit_view(memory: ViewMemory, rows: Tensor, videos: np.ndarray) -> Tensor:
    """Fills the memory of one view; the distances of the held-out snippets, as it gives them: [N, P]."""
    memory.scaling.fit(memory.view, rows.split(CHUNK))
    distances = np.empty(rows.shape[:2], np.float32)
    for position in range(rows.shape[1]):
        here = memory.scaling(memory.view, rows[:, position]).numpy()
        distances[:, position] = held_out_distances(here, videos, memory.size, memory.neighbours)
        memory.get_buffer("normal")[position] = torch.from_numpy(here[coreset(here, memory.size)])
    spread = normal_spread(distances, len(np.unique(videos)))
    memory.get_buffer("centre").copy_(torch.from_numpy(spread.centre))
    memory.get_buffer("deviation").copy_(torch.from_numpy(spread.deviation))
    return torch.from_numpy((distances - spread.centre) / spread.deviation)


def _fit_alarm(model: PatchMemory, evidences: Tensor, alarm: float) -> None:
    """Learns the units and the alarm level from the evidence [N, V] of held-out normal snippets."""
    model.get_buffer("evidence_centre").copy_(evidences.mean(dim=0))
    model.get_buffer("evidence_deviation").copy_(evidences.std(dim=0, correction=0).clamp(min=LEAST))
    total = model.total(evidences).numpy()
    median, level = np.quantile(total, [0.5, alarm])
    model.get_buffer("median").fill_(median)
    model.get_buffer("alarm").fill_(max(level, median + LEAST))
