"""UCSD Ped2 from raw videos to a table: 6 abnormal and 4 normal videos train, the other 18 test, ten draws.

    python scripts/ped2/ped2.py --data ped2 --features features --runs runs
    python scripts/ped2/ped2.py --data ped2 --draws-file tevad.json --models auto

The data folder holds the videos, labels.csv, intervals.csv and draws.json, a list of {"train":
[videos]}. The script trains SSRL, the memory of normal patches and both fused, each with more and
more scales; other kinds with all at once. It gives means and deviations over the draws of the AUC
over the frames of all 18 test videos, and of abnormal ones alone. What is already extracted or
trained is not done again.
"""

import dataclasses
from pathlib import Path

import numpy as np
from ped2_common import describe, options, read_draws, split

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import Intervals, Labels, read_intervals, read_labels
from ssrl_pipeline.data.stored import store_scales
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.extraction.stage import ExtractorOptions
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.scales import view_of
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

KINDS = ("ssrl", "memory", "fused")  # what a table has
MORE = ("probe", "motion", "auto")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--draws", type=int, nargs="*", help="all where none are named")
    parser.add_argument("--draws-file", default="draws.json", help="in the data folder")
    parser.add_argument("--models", nargs="*", choices=(*KINDS, *MORE), default=KINDS)
    parser.add_argument("--all-scales", action="store_true", help="all at once alone, not more and more")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("-c", "--config", help="YAML file or a ready configuration")
    parser.add_argument("-o", "--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    settings = load_config(Settings, arguments.config, arguments.set, {})
    chosen = settings.extract
    how = ExtractorOptions(chosen.backbone, arguments.preset, chosen.weights, chosen.patches)
    how = how._replace(precision=chosen.precision, calibration=chosen.calibration)
    extractor = how.settled(arguments.features, [arguments.device]).build(arguments.device)
    store = describe(arguments.data, arguments.features, extractor)
    group = Group(extractor.device)
    labels = read_labels(arguments.data / "labels.csv")
    intervals = read_intervals(arguments.data / "intervals.csv")
    draws = read_draws(arguments.data, arguments.draws_file)
    numbers = arguments.draws or range(len(draws))
    scales = store_scales(store)
    rows = []
    for kind in arguments.models:
        least = len(scales) if arguments.all_scales or kind in MORE else 1 if kind == "fused" else 0
        for count in range(least, len(scales) + 1):
            figures = []
            for draw in numbers:
                drawn = split(labels, draws[draw])
                run = arguments.runs / f"{kind}-{'+'.join(('clip', *scales[:count]))}" / f"draw{draw}"
                best = _train(kind, scales[:count], store, drawn, run, settings, group)
                figures.append(measure(best, store, drawn, intervals, group))
            rows.append(_row(kind, scales[:count], np.array(figures)))
            print(*rows[-1], flush=True)
    names = [f"draw {draw}" for draw in numbers]
    print(table(rows, ("model", "views", "AUC, all", "deviation", "AUC, abnormal", "deviation", *names)))


def _train(
    kind: str,
    scales: tuple[str, ...],
    store: FeatureStore,
    labels: Labels,
    run: Path,
    settings: Settings,
    group: Group,
) -> Path:
    model = dataclasses.replace(settings.model, kind=kind, scales=scales)
    views = tuple(view_of(scale) for scale in scales) or ("clip",)
    memory = dataclasses.replace(settings.memory, views=views)
    own = dataclasses.replace(settings, model=model, memory=memory)
    return train_detector(Task(own, run, store, labels, group))


def measure(
    best: Path, store: FeatureStore, labels: Labels, intervals: Intervals, group: Group
) -> tuple[float, float]:
    m = evaluate_checkpoint(load_checkpoint(best), store, labels, intervals, "test", group.device).metrics
    return m.auc, m.abnormal_auc


def _row(kind: str, scales: tuple[str, ...], figures: np.ndarray) -> tuple[object, ...]:
    views = scales or ("clip",) if kind == "memory" else ("clip", *scales)
    (auc, alone), (auc_deviation, alone_deviation) = figures.mean(axis=0), figures.std(axis=0)
    pairs = [f"{a:.3f} {b:.3f}" for a, b in figures]
    return (kind, "+".join(views), auc, auc_deviation, alone, alone_deviation, *pairs)


if __name__ == "__main__":
    main()
