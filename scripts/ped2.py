"""UCSD Ped2 under the weakly supervised protocol: 6 abnormal and 4 normal videos train, the other 18 test.

    ssrl-pipeline extract --videos ped2 --preset fast --features features
    python scripts/ped2.py --data ped2 --features features --draws 0 1 2

The data folder holds labels.csv, intervals.csv and draws.json, a list of
{"train": [videos]}. Prints the AUC of every draw, then mean and deviation.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.distributed import Group
from ssrl_pipeline.evaluate import evaluate
from ssrl_pipeline.extractors.extractor import find_device
from ssrl_pipeline.labels import Label, read_intervals, read_labels
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.store import FeatureStore
from ssrl_pipeline.terminal import table
from ssrl_pipeline.train import train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--draws", type=int, nargs="*", help="all where none are named")
    parser.add_argument("-c", "--config", help="YAML file or a ready configuration")
    parser.add_argument("-o", "--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    settings = load_config(Settings, arguments.config, arguments.set, {})
    device = find_device(arguments.device)
    store = FeatureStore.open(arguments.features)
    labels = read_labels(arguments.data / "labels.csv")
    intervals = read_intervals(arguments.data / "intervals.csv")
    draws = json.loads((arguments.data / "draws.json").read_text())
    rows: list[tuple[str, float, float]] = []
    for draw in arguments.draws or range(len(draws)):
        chosen = set(draws[draw]["train"])
        split = {v: Label(label.abnormal, "train" if v in chosen else "test") for v, label in labels.items()}
        run = arguments.runs / f"draw{draw}"
        result = train(store, split, run, settings.model, settings.train, Group(device))
        metrics = evaluate(load_checkpoint(result.best), store, split, intervals, "test", device).metrics
        rows.append((f"draw {draw}", metrics.auc, metrics.abnormal_auc))
        print(*rows[-1], flush=True)
    values = np.array([row[1:] for row in rows])
    rows += [("mean", *values.mean(axis=0)), ("deviation", *values.std(axis=0))]
    print(table(rows, ("", "AUC, 18 test videos", "AUC, abnormal ones alone")))


if __name__ == "__main__":
    main()
