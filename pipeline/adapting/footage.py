"""The normal footage of one camera: which snippets are looked at, and what is held out of what.

Dimensions: N snippets that are looked at, T snippets of a video, P crops or patches, F feature size.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.features import Features
from ssrl_pipeline.training import draw_snippets, reader

SHORTEST, LONGEST = 8, 96  # snippets of a part: 5 seconds and a minute at 25 frames a second
PARTS = 20  # that there should be at least
FEWEST = 5  # parts, with fewer of which nothing can be held out
FOLDS = 5


class Part(NamedTuple):
    """A stretch of time."""

    video: str
    begin: int  # of the video's snippets
    end: int


class StoredFootage:
    """Some snippets of stored videos; fulfils :class:`ssrl_pipeline.models.Footage`."""

    def __init__(self, store: Features, rows: Mapping[str, np.ndarray], parts: np.ndarray):
        self._store, self._rows, self.parts = store, dict(rows), parts

    def read(self, view: str) -> Tensor:
        """float32 [N, P, F]."""
        return torch.from_numpy(reader(self._store, self._rows)(view))


def cut(lengths: Mapping[str, int]) -> list[Part]:
    """Videos (name -> T, in order of time) as parts of about a minute, shorter ones where there is little.

    Raises:
        PipelineError: there are too few snippets for FEWEST parts.
    """
    total = sum(lengths.values())
    size = max(SHORTEST, min(LONGEST, total // PARTS))
    parts = []
    for video, count in lengths.items():
        ends = np.linspace(0, count, max(1, count // size) + 1).astype(int).tolist()
        parts += [Part(video, *ends) for ends in itertools.pairwise(ends) if ends[1] > ends[0]]
    if len(parts) < FEWEST:
        raise PipelineError(
            f"{total} snippets of {len(lengths)} normal videos are too few to adapt to: it takes "
            f"{FEWEST * SHORTEST} of one video, half a minute, or {FEWEST} videos, and says more with hours"
        )
    return parts


def folds(parts: list[Part]) -> Iterator[tuple[list[int], list[int]]]:
    """What is held out, and what is learned from then: numbers of parts.

    Parts that lie together are held out together, and those of the same video that adjoin them are neither:
    what is a second away would be told by its neighbour.
    """
    for block in np.array_split(np.arange(len(parts)), min(FOLDS, len(parts))):
        held = block.tolist()
        first, last = held[0], held[-1]
        beside = {
            other
            for other, own in ((first - 1, first), (last + 1, last))
            if 0 <= other < len(parts) and parts[other].video == parts[own].video
        }
        yield held, [number for number in range(len(parts)) if number not in {*held, *beside}]


def footage(
    store: Features, parts: list[Part], chosen: Collection[int], most: int, seed: int
) -> StoredFootage:
    """At most so many snippets of the chosen parts, each as likely as any other."""
    lengths = {str(number): parts[number].end - parts[number].begin for number in sorted(chosen)}
    rows: dict[str, list[np.ndarray]] = {}
    numbers = []
    for name, index in draw_snippets(lengths, most, seed).items():
        part = parts[int(name)]
        rows.setdefault(part.video, []).append(part.begin + index)
        numbers.append(np.full(len(index), int(name)))
    joined = {video: np.concatenate(pieces) for video, pieces in rows.items()}
    return StoredFootage(store, joined, np.concatenate(numbers))
