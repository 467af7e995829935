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
from operator_footage import Draw, Footage, auc_of_abnormal, read_footage
from sklearn.linear_model import LogisticRegression

from ssrl_pipeline.console import table
from ssrl_pipeline.data import frame_labels
from ssrl_pipeline.extractors import snippet_of_frames
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.scales import backbone_views
from ssrl_pipeline.scoring.stored import as_tensors
from ssrl_pipeline.training.kinds.linear import OF_FEATURES, read_rows

WEIGHTS = (1, 3, 10)  # of a clicked snippet, beside a whole video's 1


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


@torch.no_grad()
def aucs(store: Features, footage: Footage, draw: Draw) -> dict[str, float]:
    """Of one draw, by what is learned from."""
    train = {video: one.abnormal for video, one in draw.labels.items() if one.split == "train"}
    probe = LinearProbe(store.recipe["feature_size"], backbone_views(store.recipe))
    bags = read_rows(probe, store, train)
    snippets, anomalous, clicked = {}, [], []
    for video in train:
        views = as_tensors(probe.views, store.read(video, probe.views))
        pooled = probe.pool({name: view[None] for name, view in views.items()})[0]
        rows = snippets[video] = probe.scaled(pooled).numpy()
        frames = store.meta(video).frames
        of_frames = snippet_of_frames(frames, len(rows), store.starts(video))
        truth = frame_labels(video, draw.labels[video], footage.intervals, frames)
        anomalous += [truth[of_frames == row].mean() > 0.5 for row in range(len(rows))]
        clicked += [rows[of_frames[(a + b) // 2]] for a, b in footage.intervals.get(video, [])]

    def judged(rows: np.ndarray, abnormal: np.ndarray, weights: np.ndarray | None = None) -> float:
        fitted = LogisticRegression(C=OF_FEATURES, max_iter=2000).fit(rows, abnormal, weights)
        probe.linear.weight.copy_(torch.from_numpy(fitted.coef_))
        probe.linear.bias.copy_(torch.from_numpy(fitted.intercept_))
        return auc_of_abnormal(probe.eval(), store, draw.labels, footage.intervals)

    normal = np.concatenate([snippets[video] for video, abnormal in train.items() if not abnormal])
    found = {"whole videos": judged(bags.bags, bags.abnormal)}
    rows = np.concatenate([bags.bags, clicked, normal])
    abnormal = np.r_[bags.abnormal, np.ones(len(clicked)), np.zeros(len(normal))]
    for weight in WEIGHTS:
        even = weight * len(clicked) / len(normal)
        weights = np.r_[np.ones(len(bags.bags)), np.full(len(clicked), weight), np.full(len(normal), even)]
        found[f"the same, clicks of weight {weight}"] = judged(rows, abnormal, weights)
    found["every frame's truth"] = judged(np.concatenate(list(snippets.values())), np.array(anomalous))
    return found


if __name__ == "__main__":
    main()
