"""The command `calibrate`."""

import math
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import evaluation
from ssrl_pipeline.cli.options import (
    checkpoint_option,
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    one_of,
    runs_option,
    settings_options,
)
from ssrl_pipeline.console import hours_or_minutes, say, table
from ssrl_pipeline.events import THRESHOLD, AlarmUnit, ThresholdsBy
from ssrl_pipeline.settings import SelectOn, Settings


@click.command()
@checkpoint_option
@click.option(
    "--false-alarms",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="False alarms that normal videos may raise, in the unit of --per.",
)
@click.option(
    "--per",
    "unit",
    type=one_of(AlarmUnit),
    default="frame",
    show_default=True,
    help="frame: share of frames at or above the threshold; hour: events per hour of video.",
)
@click.option(
    "--split",
    type=one_of(SelectOn),
    default="val",
    show_default=True,
    help="The split whose normal videos are used. A test split used here no longer judges fairly.",
)
@click.option(
    "--by",
    type=one_of(ThresholdsBy),
    multiple=True,
    help="Thresholds by camera (group), by hour of the day, or both, where there is enough footage.",
)
@features_option
@labels_option
@runs_option
@device_option
@settings_options
@json_option
def calibrate(
    settings: Settings,
    checkpoint: Path | None,
    false_alarms: float,
    unit: AlarmUnit,
    split: str,
    by: tuple[Any, ...],
    device: str,
    as_json: bool,
) -> None:
    """Set the threshold of events by the rate of false alarms that you accept.

    Scores stored normal videos that the model did not learn from, those labelled
    of split val or else those that its training set aside; finds the lowest
    threshold at which they raise no more false alarms than asked for; and writes
    it into the checkpoint, for `score` to use. Training has calibrated scores to 0.5
    already: this is for other wishes, such as alarms per hour.

    With --by, cameras (the column group of the labels) and hours of the day (its column start says when a
    video begins) get thresholds of their own, where their footage is enough: ten frames that should alarm, in
    three videos or an hour. `score` takes that of a video's camera, `watch` that of the camera's name and of
    the clock's hour. A camera that `adapt` has fitted the checkpoint to is calibrated in any case, by its own
    detector and by videos that this was not adapted to. Each calibration replaces the one before, with all
    its thresholds.
    """
    if unit == "frame" and false_alarms >= 1:
        raise click.UsageError(
            f"--false-alarms {false_alarms:g} is no share of frames (less than 1); add --per hour for events"
        )

    path, result = evaluation.calibrate_run(settings, checkpoint, false_alarms, unit, split, device, by)
    if as_json:
        echo_json({"checkpoint": str(path), **result.summary()})
    else:
        _show(path, result)
    _tell_poor(result)
    if result.calibration.note:
        say(result.calibration.note)
    if split == "test":
        say("calibrated on test videos: figures of these at this threshold are no longer a fair judgement")
    say(f"written into {path}")


def _tell_poor(result: "evaluation.Calibrated") -> None:
    """Which cameras and hours have too little footage for a threshold of their own."""
    poor = [cell for cell in result.cells if cell.found is None]
    adapted = result.checkpoint.cameras
    if common := [cell.name for cell in poor if cell.group not in adapted]:
        say(f"the common threshold stays where there is too little footage: {', '.join(common)}")
    if own := [cell.name for cell in poor if cell.group in adapted and cell.hour is None]:
        say(
            "the threshold of `adapt` stays where there is too little footage that it has not looked at: "
            f"{', '.join(own)}"
        )


def _show(path: Path, result: "evaluation.Calibrated") -> None:
    found = result.calibration.found
    length = "" if found.hours is None else f", {hours_or_minutes(3600 * found.hours)}"
    click.echo(
        f"{path}, {result.split}: {found.videos} normal videos, {found.of_frames} frames{length}; "
        f"{result.abnormal_videos} abnormal videos"
    )
    header = (
        "false alarms",
        "threshold",
        "of normal frames",
        "events per hour",
        "at most (95 %)",
        "abnormal videos found",
    )
    click.echo(table(_rows(result), header))
    click.echo(f"threshold of events: {result.calibration.rule.threshold:.6g}")
    if result.cells:
        columns = ("threshold of", "threshold", "frames", "videos", "of normal frames")
        click.echo(table(_cell_rows(result), columns))


def _rows(result: "evaluation.Calibrated") -> list[tuple[Any, ...]]:
    rows, unit = [], result.calibration.unit
    for line in result.tried:
        asked = f"score of {THRESHOLD:g}" if line.asked is None else f"{line.asked:g} per {unit}"
        chosen = " (asked for)" if line.asked == result.calibration.asked else ""
        found = line.found
        rates = [math.nan if rate is None else rate for rate in (found.per_hour, found.most_per_hour)]
        rows.append((asked + chosen, f"{found.threshold:.6g}", found.share, *rates, line.detected))
    return rows


def _cell_rows(result: "evaluation.Calibrated") -> list[tuple[Any, ...]]:
    rows = []
    for cell in result.cells:
        if cell.found:
            threshold, share = f"{cell.found.threshold:.6g}", cell.found.share
        else:
            of = result.checkpoint.for_camera(cell.group).provenance["threshold"]["value"]
            kept = "of adapt" if cell.group in result.checkpoint.cameras else "common"
            threshold, share = f"{of:.6g} ({kept})", math.nan
        rows.append((cell.name, threshold, cell.frames, cell.videos, share))
    return rows
