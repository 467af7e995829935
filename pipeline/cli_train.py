"""The command `train`."""

import time
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline.cli_options import (
    config_option,
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    load_labels,
    load_settings,
    set_option,
)


@click.command()
@features_option
@labels_option
@click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
@click.option("--name", help="Folder of this run; an unfinished one goes on.  [default: date and time]")
@click.option("--seed", type=int, help="Of initial weights, batches and dropout.  [default: 0]")
@click.option("--steps", type=int, help="Steps of each stage.")
@device_option
@config_option
@set_option
@json_option
def train(
    name: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Learn a detector from features and video labels."""
    settings = load_settings(
        config, assignments, flags, data=("features", "labels", "runs"), train=("seed", "steps")
    )
    from ssrl_pipeline import train as stage
    from ssrl_pipeline.extractors.extractor import find_device
    from ssrl_pipeline.store import FeatureStore
    from ssrl_pipeline.terminal import say, table

    store = FeatureStore.open(Path(settings.data.features))
    labels = load_labels(settings, store)
    run = Path(settings.data.runs) / (name or time.strftime("%Y%m%d-%H%M%S"))

    def report(e: stage.Evaluation) -> None:
        val = "" if e.val_loss is None else f"  validation {e.val_loss:.4f}{'  best' if e.best else ''}"
        say(f"stage {e.stage}  step {e.step:4d}  loss {e.loss:.4f}  bags {e.bags:.4f}{val}")

    result = stage.train(store, labels, run, settings.model, settings.train, find_device(device), report)
    if not result.split.val:
        say("too few videos to keep some for validation: the last step of each stage counts as its best")
    last = {e.stage: e for e in result.evaluations if e.best}
    if as_json:
        echo_json({"checkpoint": str(result.best), "stages": [e._asdict() for e in last.values()]})
        return
    rows = [
        (e.stage, e.step, e.loss, float("nan") if e.val_loss is None else e.val_loss) for e in last.values()
    ]
    click.echo(table(rows, ("stage", "best step", "loss", "validation")))
    click.echo(f"{result.best}")
