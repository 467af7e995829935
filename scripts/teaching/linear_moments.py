"""What moments could add to a linear detector on Ped2: none, a click an event, or every frame's truth.

    python scripts/teaching/linear_moments.py features ped2

Logistic regression on pooled `fast` features, as `train --model probe`: of whole training videos; the same
with rows of clicked snippets and of the normal videos' snippets, at several weights; and of the snippets of
the training videos, each labelled by the ground truth, which no number of clicks can better. AUC over the
frames of abnormal test videos, mean and deviation over ten draws.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from operator_footage import Draw, Footage, read_footage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.console import table
from ssrl_pipeline.data import frame_labels
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.scales import backbone_views
from ssrl_pipeline.training.kinds.linear import OF_FEATURES, read_rows

WEIGHTS = (1, 3, 10)  # of a clicked snippet, beside a whole video's 1
SNIPPET = 16  # frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", help="a store")
    parser.add_argument("ped2", type=Path)
    parser.add_argument("--draws", type=int, nargs="*", default=range(10))
    given = parser.parse_args()
    store = open_features(given.features, "store")
    footage = read_footage(store, given.ped2, given.draws)
    found: dict[str, list[float]] = {}
    for draw in footage.draws:
        for name, auc in aucs(store, footage, draw).items():
            found.setdefault(name, []).append(auc)
    rows = [(name, f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}") for name, values in found.items()]
    print(table(rows, ("learned from", "AUC")))


def aucs(store: Features, footage: Footage, draw: Draw) -> dict[str, float]:
    """Of one draw, by what is learned from."""
    labels = draw.labels
    train = {video: one.abnormal for video, one in labels.items() if one.split == "train"}
    probe = LinearProbe(store.recipe["feature_size"], backbone_views(store.recipe))
    bags = read_rows(probe, store, train)

    def snippets(video: str) -> np.ndarray:
        views = {
            name: torch.from_numpy(np.array(view))[None]
            for name, view in store.read(video, probe.views).items()
        }
        with torch.no_grad():
            return probe.scaled(probe.pool(views)[0]).numpy()

    def truth(video: str) -> np.ndarray:
        return frame_labels(video, labels[video], footage.intervals, store.meta(video).frames)

    def judged(rows: np.ndarray, abnormal: np.ndarray, weights: np.ndarray | None = None) -> float:
        fitted = LogisticRegression(C=OF_FEATURES, max_iter=2000).fit(rows, abnormal, weights)
        known, scores = [], []
        for video in (v for v, one in labels.items() if one.split == "test" and one.abnormal):
            known.append(truth(video))
            frames = fitted.decision_function(snippets(video)).repeat(SNIPPET)
            scores.append(np.pad(frames, (0, max(0, len(known[-1]) - len(frames))), "edge")[: len(known[-1])])
        return float(roc_auc_score(np.concatenate(known), np.concatenate(scores)))

    normal = np.concatenate([snippets(video) for video, abnormal in train.items() if not abnormal])
    clicked = []
    for video in (v for v, abnormal in train.items() if abnormal):
        rows = snippets(video)
        clicked += [rows[min((a + b) // 2 // SNIPPET, len(rows) - 1)] for a, b in footage.intervals[video]]
    found = {"whole videos": judged(bags.bags, bags.abnormal)}
    rows = np.concatenate([bags.bags, clicked, normal])
    abnormal = np.r_[bags.abnormal, np.ones(len(clicked)), np.zeros(len(normal))]
    for weight in WEIGHTS:
        even = weight * len(clicked) / len(normal)
        weights = np.r_[np.ones(len(bags.bags)), np.full(len(clicked), weight), np.full(len(normal), even)]
        found[f"the same, clicks of weight {weight}"] = judged(rows, abnormal, weights)
    every = {video: snippets(video) for video in train}
    known = [
        np.array_split(truth(v), np.arange(SNIPPET, SNIPPET * len(rows), SNIPPET))
        for v, rows in every.items()
    ]
    mostly = np.array([part.mean() > 0.5 for parts in known for part in parts])
    found["every frame's truth"] = judged(np.concatenate(list(every.values())), mostly)
    return found


if __name__ == "__main__":
    main()
