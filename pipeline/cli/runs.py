"""The command `runs`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import evaluation
from ssrl_pipeline.cli.options import PATH, echo_json, json_option
from ssrl_pipeline.console import table

SHOWN = {"auc": "AUC", "ap": "AP", "abnormal_auc": "AUC, abnormal"}  # of an evaluation's figures


@click.command()
@click.argument("runs", type=PATH, default="runs")
@json_option
def runs(runs: Path, as_json: bool) -> None:
    """Compare the runs in a folder, RUNS.  [default: runs]

    A row for each run: its model, stage, best step and validation loss, the
    settings in which the runs differ, and the figures that `evaluate` left in
    the run's folder. Runs of several seeds, as in runs/NAME/seed0, also get a
    row with their mean and deviation.
    """

    found = evaluation.find_runs(runs)
    settings, spreads = evaluation.differing(found), evaluation.group_spreads(found)
    if as_json:
        echo_json(
            {
                "runs": [dataclasses.asdict(run) for run in found],
                "differing": settings,
                "groups": {group: _as_dicts(figures) for group, figures in spreads.items()},
            }
        )
        return
    splits = sorted({split for run in found for split in run.evaluations})
    figures = {f"{split}.{name}": f"{split} {text}" for split in splits for name, text in SHOWN.items()}
    header = (
        "run",
        "model",
        "state",
        "stage",
        "best step",
        "seed",
        *settings,
        "validation",
        *figures.values(),
    )
    rows = []
    for i, run in enumerate(found):
        rows.append(_row(run, settings, list(figures)))
        if run.group and (i + 1 == len(found) or found[i + 1].group != run.group):
            blank = [""] * (len(header) - 2 - len(figures))
            values = [_spread(spreads[run.group].get(key)) for key in ("val_loss", *figures)]
            rows.append([f"{run.group}: mean ± deviation", *blank, *values])
    click.echo(table(rows, header))
    for run in found:
        for note in run.notes:
            click.echo(f"{run.name}: {note}")


def _row(run: "evaluation.Run", settings: Sequence[str], figures: Sequence[str]) -> list[Any]:
    values = [run.evaluations.get(split, {}).get(name) for split, name in (key.split(".") for key in figures)]
    facts = [run.name, run.kind, run.state, run.stage, run.step, run.seed]
    chosen = [_setting(run.settings[key]) if key in run.settings else None for key in settings]
    return [float("nan") if cell is None else cell for cell in (*facts, *chosen, run.val_loss, *values)]


def _setting(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _spread(spread: "evaluation.Spread | None") -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.runs == 1 else f" ± {spread.deviation:.4f}"
    return f"{spread.mean:.4f}{deviation}"


def _as_dicts(figures: Mapping[str, "evaluation.Spread"]) -> dict[str, dict[str, float | None]]:
    return {
        name: {**spread._asdict(), "deviation": None if spread.runs == 1 else spread.deviation}
        for name, spread in figures.items()
    }
