"""How often the hottest patch is where the anomaly is: UCSD Ped2's pixel masks, after scripts/ped2/ped2.py.

    python scripts/ped2/ped2_where.py --data ped2 --features features --runs runs

The data folder is that of scripts/ped2/ped2.py with pixel_masks.npz in it: for each test
video, NAME is packed bits [N, H, W / 8] and NAME_shape is (N, H, W). Only those snippets of
each draw's test videos count that have anomalous pixels. A patch hits if it touches a pixel
that is anomalous in any of the snippet's frames. In the map of all scales, every overlap of
one patch of each scale has one heat; these regions, smaller than patches, are judged like
patches. The hits of all draws are averaged; the deviation is that between draws.

Dimensions: N frames, T snippets, P patches, h x w cells, H x W pixels.
"""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from ped2_common import options, read_draws

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models.occlusion import HeatStream
from ssrl_pipeline.results.heat_map import frame_heat
from ssrl_pipeline.scales import parse_scale

CPU = torch.device("cpu")


def main() -> None:
    arguments = options(__doc__).parse_args()

    store = open_store(arguments.features)
    masks = read_masks(arguments.data / "pixel_masks.npz")
    draws = read_draws(arguments.data)
    rows = []
    for run in sorted(path for path in arguments.runs.iterdir() if path.is_dir()):
        per_draw: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for draw, train in enumerate(draws):
            best = run / f"draw{draw}" / "best.pt"
            tested = [v for v in store.videos() if v not in train and Path(v).stem in masks]
            if best.is_file():
                for where, hits in judge(best, store, tested, masks).items():
                    per_draw[where].append(hits)
        for where, draws_hits in per_draw.items():
            hits, chance = (np.concatenate(parts) for parts in zip(*draws_hits, strict=True))
            deviation = np.std([part.mean() for part, _ in draws_hits])
            rows.append((run.name, where, hits.mean(), deviation, chance.mean(), len(hits)))
    print(table(rows, ("model", "scale", "hottest hits", "deviation", "random hits", "snippets")))


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """Video -> which pixels are anomalous in a snippet: bool [T, H, W]."""
    found = {}
    with np.load(path) as content:
        for name in (key for key in content.files if not key.endswith("_shape")):
            frames, _, width = content[f"{name}_shape"]
            mask = np.unpackbits(content[name], axis=-1)[..., :width].astype(bool)
            starts = np.arange(0, frames, SNIPPET_FRAMES)
            found[name] = np.logical_or.reduceat(mask, starts, axis=0)
    return found


def touched(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """bool [T, H, W] -> bool [T, rows * columns]: which patches hold an anomalous pixel, cut ones too."""
    _, height, width = mask.shape
    parts = []
    for i in range(rows):
        top, bottom = i * height // rows, -(-(i + 1) * height // rows)
        for j in range(columns):
            left, right = j * width // columns, -(-(j + 1) * width // columns)
            parts.append(mask[:, top:bottom, left:right].any(axis=(1, 2)))
    return np.stack(parts, axis=1)


def judge(
    best: Path, store: FeatureStore, videos: list[str], masks: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scale, or "map" -> of each anomalous snippet, whether the hottest hits, and how likely a random one."""
    model = load_checkpoint(best).build()
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for video in videos:
        stream = HeatStream(model, CPU)
        features = store.read(video)
        stream.add({name: torch.from_numpy(np.array(features[name], np.float32)) for name in model.views})
        heat = {scale: rows.numpy() for scale, rows in stream.heat().items()}
        mask = masks[Path(video).stem]
        anomalous = mask.any(axis=(1, 2))
        for scale, patches in heat.items():
            truth = touched(mask, *parse_scale(scale))
            found[scale].append((_hits(patches, truth)[anomalous], truth.mean(axis=1)[anomalous]))
        if len(heat) > 1:
            cells = frame_heat(heat)
            truth = _whole_regions(touched(mask, *cells.shape[1:]), list(heat))
            hits = _hits(cells.reshape(len(cells), -1), truth)
            found["map"].append((hits[anomalous], truth.mean(axis=1)[anomalous]))
    return {
        where: (np.concatenate([hits for hits, _ in parts]), np.concatenate([chance for _, chance in parts]))
        for where, parts in found.items()
    }


def _whole_regions(truth: np.ndarray, scales: list[str]) -> np.ndarray:
    """bool [T, h * w] -> the same, true of all cells of a region where it is of one."""
    rng = np.random.default_rng(0)  # numbers of which no two sums are the same
    numbers = {scale: rng.random((1, math.prod(parse_scale(scale)))) for scale in scales}
    _, region = np.unique(frame_heat(numbers), return_inverse=True)
    region = region.ravel()
    hit = np.zeros((len(truth), region.max() + 1), bool)
    for cell, number in enumerate(region):
        hit[:, number] |= truth[:, cell]
    return hit[:, region]


def _hits(heat: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[T]: the share of the hottest of [T, P] that touch; 0 where nothing is hot. A region is many cells."""
    hottest = (heat == heat.max(axis=1, keepdims=True)) & (heat > 0)
    return (hottest & truth).sum(axis=1) / np.maximum(hottest.sum(axis=1), 1)


if __name__ == "__main__":
    main()
