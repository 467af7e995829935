"""What the commands share: options, and settings, labels and ground truth as the options name them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ssrl_pipeline.config import load_config
from ssrl_pipeline.data.labels import Intervals, Labels, labels_from_folders, read_intervals, read_labels
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.cluster.ray import ClusterOptions
    from ssrl_pipeline.data.annotations import Dataset
    from ssrl_pipeline.features.reading import Features

T = TypeVar("T")
PATH = click.Path(path_type=Path)

config_option = click.option(
    "-c", "--config", metavar="FILE", help="YAML file of settings, or a ready one's name."
)
set_option = click.option(
    *("-o", "--set", "assignments"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one setting, as in -o train.steps=200.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
features_option = click.option("--features", metavar="DIR", help="Feature store.  [default: features]")
labels_option = click.option(
    "--labels",
    metavar="FILE",
    help="Table video,label[,split].  [default: labels.csv here or in videos/, else the folders' names]",
)
runs_option = click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
checkpoint_option = click.option(
    *("--checkpoint", "checkpoint"),
    type=PATH,
    help="Checkpoint, or a run's folder for its best.pt.  [default: the newest run]",
)
weights_option = click.option(
    "--weights", metavar="FILE", help="Backbone weights.  [default: the published ones, fetched once]"
)

engine_option = click.option(
    "--engine", help="What runs the backbone: auto, openvino, triton, compile or eager.  [default: auto]"
)
precision_option = click.option(
    "--precision",
    help="Of the backbone: float32; on a GPU also tf32, bfloat16 or float16. auto is the precision that a "
    "checkpoint was trained with, else a GPU's tf32, else float32.  [default: auto]",
)

frames_option = click.option(
    "--frames",
    type=click.FloatRange(0, 1000, min_open=True),
    metavar="FPS",
    help="Folders of pictures are videos, too, of so many frames a second.",
)

_CLUSTER = (
    click.option("--cluster", type=click.Choice(["ray"]), help="A task per video on a Ray cluster."),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Of the cluster's head.  [default: RAY_ADDRESS, else this machine's cluster, or a new one here]",
    ),
    click.option("--task-cpus", type=click.IntRange(1), help="Cores of a task.  [default: 1]"),
)

_SCORER = (
    checkpoint_option,
    runs_option,
    weights_option,
    device_option,
    engine_option,
    precision_option,
)


def scorer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What says which model scores, and what runs it."""
    for option in reversed(_SCORER):
        command = option(command)
    return command


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--cluster, --address and --task-cpus; :func:`read_cluster` makes one of them."""
    for option in reversed(_CLUSTER):
        command = option(command)
    return command


def read_cluster(flags: Mapping[str, Any]) -> "ClusterOptions | None":
    """Where the work goes; None: it stays here."""
    from ssrl_pipeline.cluster.ray import ClusterOptions

    if flags["cluster"] is None:
        if flags["address"] or flags["task_cpus"]:
            raise click.UsageError("--address and --task-cpus are of a cluster: say --cluster ray with them")
        return None
    return ClusterOptions(flags["address"], flags["task_cpus"] or 1)


def echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def load_settings(
    config: str | None, assignments: tuple[str, ...], flags: dict[str, Any], **sections: tuple[str, ...]
) -> Settings:
    """Defaults < file < --set < named flags; `sections` says in which section a flag belongs."""
    named = {f"{section}.{name}": flags[name] for section, names in sections.items() for name in names}
    return load_config(Settings, config, assignments, named)


def find_checkpoint(given: Path | None, settings: Settings) -> Path:
    """The file that --checkpoint means, or the best of the newest run."""
    from ssrl_pipeline.checkpoint import checkpoint_file, newest_checkpoint

    return newest_checkpoint(Path(settings.data.runs)) if given is None else checkpoint_file(given)


def open_dataset(settings: Settings, features: "Features | None") -> "Dataset":
    """All that annotations say: of one of the field's datasets, or by labels.csv and intervals.csv."""
    from ssrl_pipeline.data.annotations import Dataset
    from ssrl_pipeline.data.datasets import load_dataset

    if settings.data.dataset:
        return load_dataset(settings.data.dataset, Path(settings.data.annotations), features)
    labels = load_labels(settings, features)
    if not labels:
        raise LabelError("neither a labels.csv nor features; set data.labels, data.features or data.dataset")
    return Dataset(labels, find_intervals(settings) or {}, exact=True)


def load_labels(settings: Settings, features: "Features | None") -> Labels:
    if settings.data.dataset and not settings.data.labels:
        return open_dataset(settings, features).labels
    path = find_labels(settings)
    if path is None:
        return labels_from_folders(features.videos() if features else [])
    return _named_as_in(features, settings.data.layout, read_labels(path))


def find_labels(settings: Settings) -> Path | None:
    if settings.data.labels:
        return Path(settings.data.labels)
    candidates = (Path("labels.csv"), Path(settings.data.videos, "labels.csv"))
    return next((path for path in candidates if path.is_file()), None)


def load_intervals(settings: Settings) -> Intervals:
    from ssrl_pipeline.data.datasets import cut_to_length
    from ssrl_pipeline.features.opening import open_features

    data = settings.data
    if data.dataset and not data.intervals:
        features = open_features(data.features, data.layout)
        return cut_to_length(open_dataset(settings, features).intervals, features)
    intervals = read_intervals(_intervals_path(settings))
    released = open_features(data.features, data.layout) if data.layout == "released" else None
    return _named_as_in(released, data.layout, intervals)


def find_intervals(settings: Settings) -> Intervals | None:
    """Ground truth of frames, where there is any; a file that is named must be there."""
    there = settings.data.intervals or settings.data.dataset or _intervals_path(settings).is_file()
    return load_intervals(settings) if there else None


def _intervals_path(settings: Settings) -> Path:
    if settings.data.intervals:
        return Path(settings.data.intervals)
    labels = find_labels(settings)
    return (labels.parent if labels else Path(settings.data.videos)) / "intervals.csv"


def _named_as_in(features: "Features | None", layout: str, table: dict[str, T]) -> dict[str, T]:
    """Released features know videos by their bare names, tables of ours by paths."""
    if features is None or layout != "released":
        return table
    from ssrl_pipeline.data.datasets import StoredNames

    stored = StoredNames(features.videos())
    return {stored.find(video) or video: value for video, value in table.items()}
