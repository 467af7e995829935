"""A made-up classifier of Kinetics-400's actions, and features that show one of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from helpers.stores import made_up_meta
from safetensors.numpy import save_file

from ssrl_pipeline.extractors.backbones import action_names, content_sha256
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore

SIZE = 16  # of a feature
HEAD = "params/Logits/Conv3d_0c_1x1/Conv_0"
Shown = tuple[int, int, str]  # snippet, patch, name of an action


def save_head(path: Path) -> str:
    """Writes weights that are this classifier alone; gives the hash of their content."""
    kernel = np.ascontiguousarray(_weight().T[None, None, None], np.float32)  # or it is saved awry
    arrays = {
        f"{HEAD}/kernel": kernel,
        f"{HEAD}/bias": np.zeros(400, np.float32),
    }
    save_file(arrays, path)
    return content_sha256(arrays)


def _weight() -> np.ndarray:
    """[400, F], rows of length 1."""
    weight = np.random.default_rng(1).standard_normal((400, SIZE))
    return weight / np.linalg.norm(weight, axis=1, keepdims=True)


def patches(snippets: int, shown: Sequence[Shown], seed: int = 0) -> np.ndarray:
    """float32 [T, 6, F]: noise, and actions that fill a patch each."""
    weight = _weight()
    values = np.random.default_rng(seed).standard_normal((snippets, 6, SIZE))
    for snippet, patch, name in shown:
        values[snippet, patch] = 40 * weight[action_names().index(name)]
    return values.astype(np.float32)


def store_of(
    root: Path, weights_sha256: str, videos: Mapping[str, int], shown: Mapping[str, Sequence[Shown]]
) -> FeatureStore:
    """Videos of so many snippets at 8 frames a second, and what is shown in them."""
    recipe = {
        "preset": "live",
        "backbone": "i3d",
        "weights_sha256": weights_sha256,
        "feature_size": SIZE,
        "views": {"clip": 1, "patch2x3": 6},
        "geometry": {"clip": "made up", "patch2x3": "made up"},
    }
    store = create_store(root, recipe)
    for seed, (video, snippets) in enumerate(videos.items()):
        rows = patches(snippets, shown.get(video, ()), seed)
        with store.writer(video) as writer:
            writer.append({"clip": rows.mean(axis=1, keepdims=True), "patch2x3": rows})
            writer.meta = made_up_meta(snippets, fps=8.0)
    return store
