"""The command `train`."""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.cli.options import (
    config_option,
    device_option,
    echo_json,
    features_option,
    find_intervals,
    find_labels,
    json_option,
    labels_option,
    load_labels,
    load_settings,
    runs_option,
    set_option,
)
from ssrl_pipeline.config import to_tree, to_yaml
from ssrl_pipeline.disk.files import require_writable
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.data.labels import Labels
    from ssrl_pipeline.features.reading import Features
    from ssrl_pipeline.training.run_folder import Evaluation
    from ssrl_pipeline.training.seeds import SeedRuns


@click.command()
@features_option
@labels_option
@runs_option
@click.option("--name", help="Folder of this run; an unfinished one goes on.  [default: date and time]")
@click.option("--seed", type=int, help="Of initial weights, batches and dropout.  [default: 0]")
@click.option(
    "--seeds", type=int, metavar="N N ...", help="One run for each, in NAME/seedN; mean and deviation."
)
@click.argument("more_seeds", nargs=-1, type=int, metavar="")
@click.option(
    *("--model", "kind"),
    type=click.Choice(["ssrl", "memory", "fused"]),
    help="ssrl; memory, which learns from normal videos alone; or fused, both.  [default: ssrl]",
)
@click.option("--steps", type=int, help="Steps of each stage.")
@click.option(
    "--select-on",
    type=click.Choice(["val", "test"]),
    help="What chooses the best checkpoint; test as published code does, for comparison.  [default: val]",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out labelled videos without features, and name them."
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
    skip_missing: bool,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Learn a detector from features and video labels.

    With --model memory, normal videos are enough.

    On several machines: torchrun ... -m ssrl_pipeline train --name NAME
    """
    sections = {
        "data": ("features", "labels", "runs"),
        "train": ("seed", "steps", "select_on"),
        "model": ("kind",),
    }
    settings = load_settings(config, assignments, flags, **sections)
    if more_seeds and seeds is None:
        raise click.UsageError(f"unexpected argument {more_seeds[0]}; several seeds are given with --seeds")
    if name is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("under torchrun give the run a --name, by which all processes find it")
    chosen = [] if seeds is None else [seeds, *more_seeds]
    runs = Path(settings.data.runs)
    require_writable(runs)
    from ssrl_pipeline.training.run_folder import named_run

    if devices > 1:
        from ssrl_pipeline.training.ssrl import check_shares

        check_shares(settings.train, devices)
        with named_run(runs, name) as name:
            _launch(devices, settings, name, chosen, skip_missing, device, as_json)
        return
    from ssrl_pipeline.features.opening import open_features
    from ssrl_pipeline.training.group import join
    from ssrl_pipeline.training.train import train_detector

    with join(device) as group:
        store = open_features(settings.data.features, settings.data.layout)
        labels = _labels(settings, store)
        wanted = bool(chosen) or settings.train.select_on == "test"
        intervals = find_intervals(settings) if wanted else None
        if skip_missing:
            needed = {v: label for v, label in labels.items() if wanted or label.split != "test"}
            left_out = _missing(store, needed, group.is_main)
            labels = {video: label for video, label in labels.items() if video not in left_out}
            if intervals is not None:
                intervals = {video: rows for video, rows in intervals.items() if video not in left_out}

        def fit(run: Path, seed: int) -> Path:
            training = dataclasses.replace(settings.train, seed=seed)
            options = (settings.model, training, settings.memory, group, _report, intervals)
            return train_detector(store, labels, run, *options)

        with named_run(runs, name) as name:
            if not chosen:
                best = fit(runs / name, settings.train.seed)
                if group.is_main:
                    _show_run(best, as_json)
                return
            from ssrl_pipeline.training.seeds import train_seeds

            found = train_seeds(chosen, fit, runs / name, store, labels, group, intervals)
            if group.is_main:
                _show_seeds(runs / name, found, as_json)


def _missing(store: "Features", labels: "Labels", tell: bool) -> set[str]:
    """The labelled videos that the store lacks, said one by one; an error where it lacks all."""
    from ssrl_pipeline.console.terminal import say
    from ssrl_pipeline.data.splits import check_videos

    missing = set(labels) - set(store.videos())
    if len(missing) == len(labels):
        check_videos(store, labels, "label those that it has")
    if missing and tell:
        say(f"left out, for {store.root} has no features of them: {len(missing)} of {len(labels)} videos")
        for video in sorted(missing):
            say(f"left out: {video!r}")
    return missing


def _labels(settings: Settings, store: "Features") -> "Labels":
    """Labels; to a memory, which asks for normal videos alone, unlabelled ones are normal."""
    from ssrl_pipeline.console.terminal import say
    from ssrl_pipeline.data.labels import Label

    try:
        return load_labels(settings, store)
    except LabelError:
        if settings.model.kind != "memory" or settings.data.dataset or find_labels(settings):
            raise
    videos = store.videos()
    say(f"no labels: all {len(videos)} videos are taken as normal")
    return {video: Label(False, None) for video in videos}


def _show_run(best: Path, as_json: bool) -> None:
    """The best of each stage, as metrics.jsonl tells; a memory has none."""
    from ssrl_pipeline.checkpoint import load_checkpoint
    from ssrl_pipeline.console.terminal import say, table
    from ssrl_pipeline.training.run_folder import read_evaluations

    checkpoint = load_checkpoint(best)
    folder = best.parent / "ssrl" if checkpoint.kind == "fused" else best.parent
    last = {e.stage: e for e in read_evaluations(folder) if e.best}
    if as_json:
        stages = [e._asdict() for e in last.values()]
        echo_json({"checkpoint": str(best), "kind": checkpoint.kind, "stages": stages})
        return
    if any(e.val_loss is None and e.test_auc is None for e in last.values()):
        say("too few videos to keep some for validation: the last step of each stage counts as its best")
    rows = [(e.stage, e.step, e.loss, _number(e.val_loss), _number(e.test_auc)) for e in last.values()]
    if rows:
        click.echo(table(rows, ("stage", "best step", "loss", "validation", "test AUC")))
    known = checkpoint.provenance
    if checkpoint.kind == "memory":
        click.echo(f"{known['snippets']} snippets of {len(known['train_videos'])} normal videos")
    if checkpoint.kind == "fused":
        by = "chosen by" if known["weights_tried"] else "in the absence of"
        weight = checkpoint.model["weight"]
        click.echo(f"SSRL counts {weight:.2f}, the memory the rest, {by} validation videos")
    click.echo(f"{best}")


def _show_seeds(run: Path, found: "SeedRuns", as_json: bool) -> None:
    from ssrl_pipeline.console.terminal import table

    if as_json:
        echo_json({"runs": [r._asdict() | {"best": str(r.best)} for r in found.runs], **found.summary()})
        return
    keys = ("val_loss", "auc", "abnormal_auc")
    rows = [(f"seed {r.seed}", *(_number(getattr(r, key)) for key in keys)) for r in found.runs]
    rows += [(title, *(_number(figures[key]) for key in keys)) for title, figures in found.summary().items()]
    click.echo(table(rows, ("", "validation", "test AUC", "test AUC, abnormal videos")))
    click.echo(f"{run}")


def _report(e: "Evaluation") -> None:
    from ssrl_pipeline.console.terminal import say

    judged = "" if e.val_loss is None else f"  validation {e.val_loss:.4f}"
    judged += "" if e.test_auc is None else f"  test AUC {e.test_auc:.4f}"
    best = "  best" if e.best and judged else ""
    say(
        f"stage {e.stage}  step {e.step:4d}  loss {e.loss:.4f}  bags {e.bags:.4f}{judged}{best}",
        **e._asdict(),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _launch(
    devices: int,
    settings: Settings,
    name: str,
    seeds: list[int],
    skip_missing: bool,
    device: str,
    as_json: bool,
) -> None:
    """The same command, in several processes; the settings reach them as a file."""
    from ssrl_pipeline.console.messages import are_json
    from ssrl_pipeline.training.group import launch

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(to_yaml(to_tree(settings)), encoding="utf-8")
        arguments = ["--log-json"] * are_json() + [
            "train",
            "-c",
            str(config),
            "--name",
            name,
            "--device",
            device,
        ]
        arguments += ["--skip-missing"] * skip_missing
        if seeds:
            arguments += ["--seeds", *map(str, seeds)]
        launch(devices, arguments + ["--json"] * as_json)
