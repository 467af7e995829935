"""What the commands share: options, and settings, labels and ground truth as the options name them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.config import load_config
from ssrl_pipeline.labels import Intervals, Labels, labels_from_folders, read_intervals, read_labels
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.store import FeatureStore


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
checkpoint_option = click.option(
    "--checkpoint", type=PATH, help="Checkpoint.  [default: best.pt of the newest run]"
)
weights_option = click.option(
    "--weights", metavar="FILE", help="Backbone weights.  [default: the published ones, fetched once]"
)


def echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def load_settings(
    config: str | None, assignments: tuple[str, ...], flags: dict[str, Any], **sections: tuple[str, ...]
) -> Settings:
    """Defaults < file < --set < named flags; `sections` says in which section a flag belongs."""
    named = {f"{section}.{name}": flags[name] for section, names in sections.items() for name in names}
    return load_config(Settings, config, assignments, named)


def load_labels(settings: Settings, store: "FeatureStore") -> Labels:
    path = find_labels(settings)
    return read_labels(path) if path else labels_from_folders(store.videos())


def find_labels(settings: Settings) -> Path | None:
    if settings.data.labels:
        return Path(settings.data.labels)
    candidates = (Path("labels.csv"), Path(settings.data.videos, "labels.csv"))
    return next((path for path in candidates if path.is_file()), None)


def load_intervals(settings: Settings) -> Intervals:
    if settings.data.intervals:
        return read_intervals(Path(settings.data.intervals))
    labels = find_labels(settings)
    return read_intervals((labels.parent if labels else Path(settings.data.videos)) / "intervals.csv")
