"""How long a training on many videos takes on this machine, part by part.

    python scripts/bench/train_many.py --features features --labels labels.csv --videos 1600 --made many

The videos are made up of a real store's: each has snippets drawn from the videos of its class, an abnormal
one a quarter from abnormal videos. So it is the time that means something, not the AUC.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ssrl_pipeline.config import load_config
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import Label, Labels, read_labels
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.features.opening import create_store, open_features
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.run_folder import Evaluation
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

ABNORMAL_SHARE = 0.25  # of an abnormal video's snippets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=Path, required=True, help="of real videos")
    parser.add_argument("--labels", type=Path, required=True, help="theirs")
    parser.add_argument("--videos", type=int, default=1600)
    parser.add_argument("--snippets", type=int, default=32)
    parser.add_argument("--made", type=Path, default=Path("train_many"), help="where they are made")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--set", action="append", default=[], metavar="KEY=VALUE")
    a = parser.parse_args()

    begun = time.monotonic()
    store, labels = make(a.features, read_labels(a.labels), a.made / "features", a.videos, a.snippets)
    rows: list[tuple[str, float]] = [("making the videos up", time.monotonic() - begun)]
    since = time.monotonic()

    def told(what: str) -> None:
        nonlocal since
        rows.append((what, time.monotonic() - since))
        since = time.monotonic()
        print(f"{what}: {rows[-1][1] / 60:.1f} minutes", flush=True)

    def report(evaluation: Evaluation) -> None:
        told(f"until the evaluation of step {evaluation.step}")

    settings = load_config(Settings, None, a.set, {})
    train_detector(
        Task(settings, a.made / "run", store, labels, Group(torch.device(a.device)), report=report)
    )
    told("calibrating")
    print(table([(what, f"{seconds / 60:.1f}") for what, seconds in rows], ("part", "minutes")))


def make(
    source: Path, labels: Labels, target: Path, videos: int, snippets: int
) -> tuple[FeatureStore, Labels]:
    """A store of made-up videos, every second one abnormal, and their labels."""
    real = open_features(source, "store")
    store = create_store(target, real.recipe, "float16")
    rng, views = np.random.default_rng(0), list(real.recipe["views"])
    pools = [[v for v in labels if labels[v].abnormal == abnormal] for abnormal in (False, True)]
    rows = [
        {view: np.concatenate([real.read(v, [view])[view] for v in pool]) for view in views} for pool in pools
    ]
    meta = real.meta(pools[0][0])
    made: Labels = {}
    for number in range(videos):
        name, abnormal = f"{number:05}.mp4", number % 2 == 1
        made[name] = Label(abnormal, "train")
        from_abnormal = rng.random(snippets) < ABNORMAL_SHARE * abnormal
        picks = [rng.integers(len(pool[views[0]]), size=snippets) for pool in rows]
        with store.writer(name) as writer:
            writer.append(
                {
                    view: np.where(
                        from_abnormal[:, None, None], rows[1][view][picks[1]], rows[0][view][picks[0]]
                    )
                    for view in views
                }
            )
            writer.meta = replace(meta, frames=snippets * SNIPPET_FRAMES, snippets=snippets, repeats={})
    return store, made


if __name__ == "__main__":
    main()
