"""The command `train`."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import click

from ssrl_pipeline import training
from ssrl_pipeline.cli.options import (
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    runs_option,
    setting,
    settings_options,
)
from ssrl_pipeline.console import say, table
from ssrl_pipeline.disk import require_writable
from ssrl_pipeline.settings import Settings


@click.command()
@features_option
@labels_option
@runs_option
@click.option("--name", help="Folder of this run; an unfinished one goes on.  [default: date and time]")
@setting("train.seed", "Of initial weights, batches and dropout.")
@click.option(
    "--seeds", type=int, metavar="N N ...", help="One run for each, in NAME/seedN; mean and deviation."
)
@click.argument("more", nargs=-1, metavar="")
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="N",
    help="Cross-validate the training videos in N folds that keep groups together, then learn from all.",
)
@setting(
    "model.kind",
    "ssrl; memory, of normal videos alone; fused, both of them; actions, by name; probe, a linear one; "
    "motion; or auto, which compares some of them.",
    flag="--model",
)
@click.option(
    "--actions",
    metavar="NAME NAME ...",
    help="Those that --model actions alarms at, of Kinetics-400's names.",
)
@setting("train.steps", "Steps of each stage.", default="as many as do best on videos held out, 1000 at most")
@setting(
    "train.select_on",
    "What chooses the best checkpoint; test as published code does, for comparison.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out labelled videos without features, and name them."
)
@click.option(
    "--devices", type=click.IntRange(1), default=1, help="Processes, each on a GPU of its own or on the CPU."
)
@device_option
@settings_options
@json_option
def train(
    settings: Settings,
    name: str | None,
    seeds: int | None,
    actions: str | None,
    more: tuple[str, ...],
    folds: int | None,
    skip_missing: bool,
    devices: int,
    device: str,
    as_json: bool,
) -> None:
    """Learn a detector from features and video labels.

    With --model memory, normal videos are enough. With --model actions nothing is learnt but what is
    usual, from normal videos or, without labels, from all.

    On several machines: torchrun ... -m ssrl_pipeline train --name NAME
    """
    chosen, names = _lists(seeds, actions, more)
    if names:
        settings = _with_actions(settings, names)
    if name is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("under torchrun give the run a --name, by which all processes find it")
    if folds and seeds is not None:
        raise click.UsageError("--folds is of one run, and --seeds makes several; leave one of them out")
    require_writable(Path(settings.data.runs))

    if devices > 1:
        options = ["--device", device] + ["--skip-missing"] * skip_missing
        options += ["--seeds", *map(str, chosen)] if chosen else []
        options += ["--folds", str(folds)] if folds else []
        training.launch_command(settings, name, devices, options + ["--json"] * as_json)
    elif chosen:
        found = training.train_seed_runs(
            settings, chosen, name, device=device, skip_missing=skip_missing, report=_report
        )
        if found:
            _show_seeds(*found, as_json)
    else:
        trained = training.train_run(
            settings, name, folds=folds, device=device, skip_missing=skip_missing, report=_report
        )
        if trained:
            _show_run(trained, as_json)


def _lists(seeds: int | None, actions: str | None, more: Sequence[str]) -> tuple[list[int], list[str]]:
    """The seeds and the names of actions that were given, of which options take the first of each."""
    more_seeds = [int(word) for word in more if word.isdigit()]
    more_actions = [word for word in more if not word.isdigit()]
    if more_seeds and seeds is None:
        raise click.UsageError(f"unexpected argument {more_seeds[0]}; several seeds are given with --seeds")
    if more_actions and actions is None:
        raise click.UsageError(
            f"unexpected argument {more_actions[0]!r}; several actions are given with --actions, a name of "
            "several words in quotes"
        )
    return [] if seeds is None else [seeds, *more_seeds], [] if actions is None else [actions, *more_actions]


def _with_actions(settings: Settings, names: Sequence[str]) -> Settings:
    if settings.model.kind != "actions":
        raise click.UsageError("--actions is for --model actions")
    chosen = dataclasses.replace(settings.actions, names=tuple(names))
    return dataclasses.replace(settings, actions=chosen)


def _show_run(trained: "training.Trained", as_json: bool) -> None:
    best, checkpoint, stages, summary, threshold = trained
    known = {name: checkpoint.provenance.get(name) for name in ("folds", "threshold")}
    if as_json:
        shown = [e._asdict() for e in stages]
        echo_json({"checkpoint": str(best), "kind": checkpoint.kind, "stages": shown, **known})
        return
    if any(e.val_loss is None and e.test_auc is None for e in stages):
        say("no videos are kept for validation: the last step of each stage counts as its best")
    rows = [(e.stage, e.step, _number(e.loss), _number(e.val_loss), _number(e.test_auc)) for e in stages]
    if rows:
        click.echo(table(rows, ("stage", "best step", "loss", "validation", "test AUC")))
    if known["folds"]:
        held = [(f"fold {n}", _number(auc)) for n, auc in enumerate(known["folds"]["auc"], 1)]
        held += [(title, _number(known["folds"][title])) for title in ("mean", "deviation")]
        click.echo(table(held, ("", "AUC of videos held out")))
    if summary:
        click.echo(summary)
    click.echo(threshold)
    click.echo(f"{best}")


def _show_seeds(run: Path, found: "training.SeedRuns", as_json: bool) -> None:
    if as_json:
        echo_json({"runs": [r._asdict() | {"best": str(r.best)} for r in found.runs], **found.summary()})
        return
    keys = ("val_loss", "auc", "abnormal_auc")
    rows = [(f"seed {r.seed}", *(_number(getattr(r, key)) for key in keys)) for r in found.runs]
    rows += [(title, *(_number(figures[key]) for key in keys)) for title, figures in found.summary().items()]
    click.echo(table(rows, ("", "validation", "test AUC", "test AUC, abnormal videos")))
    click.echo(f"{run}")


def _report(e: "training.Evaluation") -> None:
    lost = f"  loss {e.loss:.4f}  bags {e.bags:.4f}" if e.step else "  evidence alone"
    judged = "" if e.val_loss is None else f"  validation {e.val_loss:.4f}"
    judged += "" if e.test_auc is None else f"  test AUC {e.test_auc:.4f}"
    best = "  best" if e.best and judged else ""
    say(
        f"stage {e.stage}  step {e.step:4d}{lost}{judged}{best}",
        **e._asdict(),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
