"""What else the same features could be asked on UCSD Ped2: other evidence for the memory and the probe.

    python scripts/ped2/ped2_evidence.py --data ped2 --features features

Features are changed before a detector learns from them, or its scores are afterwards. The data folder is
as ped2.py wants it, and all videos are in the store. It gives mean AUCs over the frames of all 18 test
videos and of abnormal ones alone, over ten draws; and, of the memory, the AUC under the one-class protocol
(the 16 normal training videos are remembered, the 12 others are the test).

Dimensions: T snippets, P crops or patches, F feature size, N frames.
"""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ped2_common import options, read_draws, split
from scipy.ndimage import gaussian_filter1d
from scipy.special import logit

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.console import table
from ssrl_pipeline.data import Intervals, Labels, frame_labels, read_intervals, read_labels
from ssrl_pipeline.evaluation import frame_metrics
from ssrl_pipeline.extractors.backbones import action_head
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import frame_scores, score_snippets
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training import Group, Task, train_detector

CPU = torch.device("cpu")
WHITENED = 128  # directions of the greatest variance that are kept
KINDS = ("memory", "probe")

Change = Callable[[str, np.ndarray], np.ndarray]  # of a view's features [T, P, F]
Smooth = Callable[[np.ndarray], np.ndarray]  # of log odds [T]


class Try(NamedTuple):
    name: str
    change: Callable[[Features, Collection[str]], Change]  # given the store and the normal training videos
    smooth: Smooth = lambda odds: odds


class Changed:
    """A store whose features are changed when they are read."""

    def __init__(self, store: Features, change: Change):
        self._store, self._change = store, change
        nothing = np.zeros((1, 2, store.recipe["feature_size"]), np.float32)
        size = change("patch2x3", nothing).shape[-1]
        self.recipe = {**store.recipe, "feature_size": size, "weights_sha256": "changed"}  # nothing has words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(
        self, video: str, views: Collection[str] | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray]:
        found = self._store.read(video, views, check=check)
        return {name: self._change(name, np.array(rows, np.float32)) for name, rows in found.items()}


def as_they_come(store: Features, normal: Collection[str]) -> Change:
    return lambda view, rows: rows


def less_the_median(store: Features, normal: Collection[str]) -> Change:
    """Of the video, at each position: what changes in the scene."""
    return lambda view, rows: rows - np.median(rows, axis=0)


def less_the_others(store: Features, normal: Collection[str]) -> Change:
    """Of each patch less the mean of the other patches at that moment."""

    def change(view: str, rows: np.ndarray) -> np.ndarray:
        count = rows.shape[1]
        return rows if count == 1 else (rows - rows.mean(axis=1, keepdims=True)) * (count / (count - 1))

    return change


def whitened(store: Features, normal: Collection[str]) -> Change:
    """In units of the principal directions of normal training features; zeros where there are fewer."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def change(view: str, rows: np.ndarray) -> np.ndarray:
        if view not in found:
            own = np.concatenate([store.read(v, [view])[view].reshape(-1, rows.shape[2]) for v in normal])
            _, sizes, directions = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
            count = min(WHITENED, len(sizes))
            scale = np.sqrt(len(own)) / np.maximum(sizes[:count], 1e-6)
            found[view] = own.mean(axis=0), (directions[:count] * scale[:, None]).T
        mean, directions = found[view]
        changed = np.zeros((*rows.shape[:-1], WHITENED), np.float32)
        changed[..., : directions.shape[1]] = (rows - mean) @ directions
        return changed

    return change


def actions(store: Features, normal: Collection[str]) -> Change:
    """What I3D's Kinetics head makes of the features: log probabilities of 400 actions in their place."""
    head = action_head("i3d", store.recipe["weights_sha256"])
    return lambda view, rows: head.log_probabilities(torch.from_numpy(rows)).numpy()


def beside_actions(store: Features, normal: Collection[str]) -> Change:
    only = actions(store, normal)
    return lambda view, rows: np.concatenate([rows, only(view, rows)], axis=-1)


def smoothed(snippets: float) -> Smooth:
    return lambda odds: gaussian_filter1d(odds, snippets, mode="nearest")


TRIES = (
    Try("as they come", as_they_come),
    Try("less the video's median", less_the_median),
    Try("less the other patches", less_the_others),
    Try(f"whitened, {WHITENED} directions", whitened),
    Try("action logits in their place", actions),
    Try("action logits beside them", beside_actions),
    *(
        Try(f"scores smoothed, {16 * snippets:g} frames", as_they_come, smoothed(snippets))
        for snippets in (0.25, 0.5, 1.0)
    ),
)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--draws", type=int, nargs="*", help="all where none are named")
    a = parser.parse_args()
    store = open_features(str(a.features), "store")
    labels, intervals = read_labels(a.data / "labels.csv"), read_intervals(a.data / "intervals.csv")
    draws = read_draws(a.data)
    splits = [split(labels, draws[number]) for number in a.draws or range(len(draws))]
    one_class = split(labels, [video for video, label in labels.items() if not label.abnormal])
    rows = []
    for one in TRIES:
        row: list[object] = [one.name]
        for kind in KINDS:
            found = [figures(one, kind, store, drawn, intervals) for drawn in splits]
            row += [f"{mean:.3f}" for mean in np.mean(found, axis=0)]
        row.append(f"{figures(one, 'memory', store, one_class, intervals)[1]:.3f}")
        rows.append(row)
        print(*row, flush=True)
    names = [f"{kind}, {which}" for kind in KINDS for which in ("all", "abnormal")]
    print(table(rows, ("evidence", *names, "one-class")))


def figures(
    one: Try, kind: str, store: Features, labels: Labels, intervals: Intervals
) -> tuple[float, float]:
    """AUC over the frames of all test videos, and of abnormal ones."""
    learned = [video for video, label in labels.items() if label.split == "train"]
    change = one.change(store, [video for video in learned if not labels[video].abnormal])
    changed: Features = Changed(store, change)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_config(Settings, None, [], {"model.kind": kind})
        best = train_detector(Task(settings, Path(folder) / "run", changed, labels, Group(CPU)))
        model = load_checkpoint(best).at_level(0).build()
    truth: dict[str, np.ndarray] = {}
    scores: dict[str, np.ndarray] = {}
    for video in labels.keys() - learned:
        own = score_snippets(video, model, changed.read(video, model.views), CPU).astype(np.float64)
        frames = store.meta(video).frames
        odds = one.smooth(logit(own.clip(1e-6, 1 - 1e-6))).astype(np.float32)
        scores[video] = frame_scores(odds, frames, store.starts(video))
        truth[video] = frame_labels(video, labels[video], intervals, frames)
    metrics = frame_metrics(scores, truth)
    return metrics.auc, metrics.abnormal_auc


if __name__ == "__main__":
    main()
