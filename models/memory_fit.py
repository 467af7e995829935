"""Fills a :class:`PatchMemory` from normal videos: chooses what to remember, and learns what is far.

Dimensions: N normal snippets, P crops or patches, M remembered snippets, F feature size.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ssrl_pipeline.models.memory import PatchMemory, ViewMemory, evidence

MOST_FOLDS = 10  # up to as many videos each is held out alone, more are held out in groups
PRIOR_VIDEOS = 20  # how many videos a position needs until its own spread counts as much as that of all
PROJECTED = 128  # directions that are enough to tell near from far when choosing what to remember
CHUNK = 256  # snippets to take statistics of at a time
LEAST = 1e-3  # a deviation, where normal videos do not differ at all


class Spread(NamedTuple):
    """What normal distances look like at each position."""

    centre: np.ndarray  # [P]
    deviation: np.ndarray  # [P]


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
            model = PatchMemory(most, views, min(limit, len(rows)), neighbours, own)
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


def coreset(rows: np.ndarray, size: int) -> np.ndarray:
    """Indices of at most `size` rows that leave no row far away.

    Greedy k-centre, as PatchCore reduces its memory (Roth et al., CVPR 2022):
    begins with the row nearest to the mean, then takes the one farthest from all
    taken before. As there, distances of long rows are those of a random projection.

    Args:
        rows: float32 [N, F].
    """
    if len(rows) <= size:
        return np.arange(len(rows))
    if rows.shape[1] > PROJECTED:
        directions = np.random.default_rng(0).standard_normal((rows.shape[1], PROJECTED), np.float32)
        rows = rows @ (directions / np.float32(np.sqrt(PROJECTED)))
    squares = np.einsum("nf,nf->n", rows, rows)
    chosen = [int(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    gap = np.full(len(rows), np.inf, np.float32)  # squared distance to the nearest chosen row
    while len(chosen) < size:
        last = chosen[-1]
        gap = np.minimum(gap, squares - 2 * rows @ rows[last] + squares[last])
        gap[last] = -np.inf
        chosen.append(int(gap.argmax()))
    return np.array(chosen)


def held_out_distances(rows: np.ndarray, videos: np.ndarray, limit: int, neighbours: int) -> np.ndarray:
    """Mean distance of every row [N, F] to its nearest neighbours among other videos' rows: [N]."""
    distances = np.empty(len(rows), np.float32)
    for held in folds(videos):
        normal = rows[~held]
        normal = normal[coreset(normal, limit)]
        index = NearestNeighbors(n_neighbors=min(neighbours, len(normal)), algorithm="brute").fit(normal)
        distances[held] = index.kneighbors(rows[held])[0].mean(axis=1)
    return distances


def folds(videos: np.ndarray) -> Iterator[np.ndarray]:
    """Masks bool [N] of the snippets to hold out in turn: a video each, or groups where there are many."""
    names = np.unique(videos)
    for group in np.array_split(names, min(len(names), MOST_FOLDS)):
        yield np.isin(videos, group)


def normal_spread(distances: np.ndarray, videos: int) -> Spread:
    """Mean and deviation at each position, drawn towards those of all positions where videos are few.

    A position's own figures weigh videos / (videos + PRIOR_VIDEOS): a quiet corner
    that hardly moved in four videos would else raise the alarm at the first leaf.

    Args:
        distances: [N, P].
        videos: how many they are of; snippets of one video are much alike.
    """
    own = videos / (videos + PRIOR_VIDEOS)
    centre = own * distances.mean(axis=0) + (1 - own) * distances.mean()
    variance = own * distances.var(axis=0) + (1 - own) * distances.var()
    return Spread(centre, np.maximum(np.sqrt(variance), LEAST))
