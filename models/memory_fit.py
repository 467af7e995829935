"""What a memory of normal patches is made of: which of them to remember, and how far normal ones are.

Dimensions: N normal snippets, P crops or patches, M remembered snippets, F feature size.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MOST_FOLDS = 10  # up to as many videos each is held out alone, more are held out in groups
PRIOR_VIDEOS = 20  # how many videos a position needs until its own spread counts as much as that of all
PROJECTED = 128  # directions that are enough to tell near from far when choosing what to remember
LEAST = 1e-3  # a deviation, where normal videos do not differ at all


class Spread(NamedTuple):
    """What normal distances look like at each position."""

    centre: np.ndarray  # [P]
    deviation: np.ndarray  # [P]


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
    from sklearn.neighbors import NearestNeighbors  # takes long to load, and only training is here

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
