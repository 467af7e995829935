"""Training bags: videos of any length as a fixed number of segments, held in memory.

Dimensions: V videos, T snippets or segments, P crops or patches, F feature size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.store import FeatureStore


@dataclass(frozen=True)
class Bags:
    """Videos as bags of segments."""

    videos: list[str]
    abnormal: Tensor  # bool [V]
    views: dict[str, Tensor]  # view name -> float32 [V, T, P, F]

    def batch(self, index: Sequence[int], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
        """The bags at `index`: views [len(index), T, P, F] and labels bool [len(index)]."""
        rows = torch.as_tensor(index)
        views = {name: view[rows].to(device) for name, view in self.views.items()}
        return views, self.abnormal[rows].to(device)


def load_bags(store: FeatureStore, labels: dict[str, bool], views: Sequence[str], segments: int) -> Bags:
    """Reads videos (name -> whether abnormal) from the store.

    Raises:
        StoreError: a video is missing or damaged.
    """
    packed: dict[str, list[np.ndarray]] = {name: [] for name in views}
    for video in labels:
        features = store.read(video)
        for name in views:
            packed[name].append(segment_means(features[name], segments))
    return Bags(
        videos=list(labels),
        abnormal=torch.tensor(list(labels.values()), dtype=torch.bool),
        views={name: torch.from_numpy(np.stack(arrays)) for name, arrays in packed.items()},
    )


def segment_means(features: np.ndarray, segments: int) -> np.ndarray:
    """[N, P, F] -> float32 [segments, P, F]: means over equal parts of the video.

    Parts are linspace(0, N, segments + 1) truncated to whole snippets; an empty
    one repeats the snippet at which it stands (Sultani et al., CVPR 2018, as in
    RTFM's and SSRL's code).
    """
    edges = np.linspace(0, len(features), segments + 1).astype(int)
    parts = (features[a : max(a + 1, b)] for a, b in pairwise(edges))
    return np.stack([np.asarray(part, np.float32).mean(axis=0) for part in parts])


def balanced_batches(abnormal: Tensor, batch_size: int, seed: int, stage: int) -> Iterator[list[int]]:
    """Endless batches of `batch_size` normal bags, then as many abnormal ones.

    Each kind is gone through in a new random order again and again, so that
    classes of different size meet equally often and no bag is left out.
    """
    kinds = [torch.nonzero(~abnormal).flatten(), torch.nonzero(abnormal).flatten()]
    streams = [
        _shuffled(kind.tolist(), np.random.default_rng([seed, stage, i])) for i, kind in enumerate(kinds)
    ]
    while True:
        yield [next(stream) for stream in streams for _ in range(batch_size)]


def _shuffled(items: list[int], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (items[i] for i in rng.permutation(len(items)))
