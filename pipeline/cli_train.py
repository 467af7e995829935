"""The command `train`."""

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.cli_options import (
    config_option,
    device_option,
    echo_json,
    features_option,
    find_intervals,
    json_option,
    labels_option,
    load_intervals,
    load_labels,
    load_settings,
    set_option,
)
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.distributed import Group
    from ssrl_pipeline.labels import Labels
    from ssrl_pipeline.released import Features
    from ssrl_pipeline.run_folder import Evaluation


@click.command()
@features_option
@labels_option
@click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
@click.option("--name", help="Folder of this run; an unfinished one goes on.  [default: date and time]")
@click.option("--seed", type=int, help="Of initial weights, batches and dropout.  [default: 0]")
@click.option(
    "--seeds", type=int, metavar="N N ...", help="One run for each, in NAME/seedN; mean and deviation."
)
@click.argument("more_seeds", nargs=-1, type=int, metavar="")
@click.option("--steps", type=int, help="Steps of each stage.")
@click.option(
    "--select-on",
    type=click.Choice(["val", "test"]),
    help="What chooses the best checkpoint; test as published code does, for comparison.  [default: val]",
)
@click.option(
    "--devices", type=click.IntRange(1), default=1, help="Processes, each on a GPU of its own or on the CPU."
)
@device_option
@config_option
@set_option
@json_option
def train(
    name: str | None,
    seeds: int | None,
    more_seeds: tuple[int, ...],
    devices: int,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Learn a detector from features and video labels.

    On several machines: torchrun ... -m ssrl_pipeline train --name NAME
    """
    sections = {"data": ("features", "labels", "runs"), "train": ("seed", "steps", "select_on")}
    settings = load_settings(config, assignments, flags, **sections)
    if more_seeds and seeds is None:
        raise click.UsageError(f"unexpected argument {more_seeds[0]}; several seeds are given with --seeds")
    if name is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("under torchrun give the run a --name, by which all processes find it")
    name = name or time.strftime("%Y%m%d-%H%M%S")
    chosen = [] if seeds is None else [seeds, *more_seeds]
    if devices > 1:
        _launch(devices, settings, name, chosen, device, as_json)
        return
    from ssrl_pipeline.distributed import join
    from ssrl_pipeline.released import open_features

    with join(device) as group:
        store = open_features(Path(settings.data.features), settings.data.layout)
        labels = load_labels(settings, store)
        run = Path(settings.data.runs) / name
        if chosen:
            _train_seeds(chosen, store, labels, run, settings, group, as_json)
        else:
            _train_one(store, labels, run, settings, group, as_json)


def _train_one(
    store: "Features", labels: "Labels", run: Path, settings: Settings, group: "Group", as_json: bool
) -> None:
    from ssrl_pipeline import train as stage
    from ssrl_pipeline.terminal import say, table

    intervals = load_intervals(settings) if settings.train.select_on == "test" else None
    result = stage.train(store, labels, run, settings.model, settings.train, group, _report, intervals)
    if not group.is_main:
        return
    if not result.split.val and settings.train.select_on == "val":
        say("too few videos to keep some for validation: the last step of each stage counts as its best")
    last = {e.stage: e for e in result.evaluations if e.best}
    if as_json:
        echo_json({"checkpoint": str(result.best), "stages": [e._asdict() for e in last.values()]})
        return
    rows = [(e.stage, e.step, e.loss, _number(e.val_loss), _number(e.test_auc)) for e in last.values()]
    click.echo(table(rows, ("stage", "best step", "loss", "validation", "test AUC")))
    click.echo(f"{result.best}")


def _train_seeds(
    seeds: list[int],
    store: "Features",
    labels: "Labels",
    run: Path,
    settings: Settings,
    group: "Group",
    as_json: bool,
) -> None:
    from ssrl_pipeline.seeds import train_seeds
    from ssrl_pipeline.terminal import table

    intervals = find_intervals(settings)
    found = train_seeds(seeds, store, labels, run, settings.model, settings.train, group, _report, intervals)
    if not group.is_main:
        return
    if as_json:
        echo_json({"runs": [r._asdict() | {"best": str(r.best)} for r in found.runs], **found.summary()})
        return
    header = ("", "best step", "validation", "test AUC", "test AUC, abnormal videos")
    rows: list[tuple[object, ...]] = [
        (f"seed {r.seed}", r.step, *map(_number, (r.val_loss, r.auc, r.abnormal_auc))) for r in found.runs
    ]
    for title, figures in found.summary().items():
        rows.append((title, "", *(_number(figures[key]) for key in ("val_loss", "auc", "abnormal_auc"))))
    click.echo(table(rows, header))
    click.echo(f"{run}")


def _report(e: "Evaluation") -> None:
    from ssrl_pipeline.terminal import say

    judged = "" if e.val_loss is None else f"  validation {e.val_loss:.4f}"
    judged += "" if e.test_auc is None else f"  test AUC {e.test_auc:.4f}"
    best = "  best" if e.best and judged else ""
    say(f"stage {e.stage}  step {e.step:4d}  loss {e.loss:.4f}  bags {e.bags:.4f}{judged}{best}")


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _launch(
    devices: int, settings: Settings, name: str, seeds: list[int], device: str, as_json: bool
) -> None:
    """The same command, in several processes; the settings reach them as a file."""
    from ssrl_pipeline.distributed import launch
    from ssrl_pipeline.train import check_shares

    check_shares(settings.train, devices)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(to_yaml(to_tree(settings)), encoding="utf-8")
        arguments = ["train", "-c", str(config), "--name", name, "--device", device]
        if seeds:
            arguments += ["--seeds", *map(str, seeds)]
        launch(devices, arguments + ["--json"] * as_json)
