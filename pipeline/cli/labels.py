"""The commands `labels import` and `labels export`."""

import logging
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import teaching
from ssrl_pipeline.cli.options import (
    PATH,
    echo_json,
    features_option,
    json_option,
    labels_option,
    setting,
    settings_options,
)
from ssrl_pipeline.console import say
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.settings import Settings

TOOLS = click.Choice(teaching.FORMATS)
videos_option = setting("data.videos", "Folder of the videos.", metavar="DIR")
intervals_option = setting(
    "data.intervals", "Table video,start,end.", metavar="FILE", default="intervals.csv beside the labels"
)


@click.group()
def labels() -> None:
    """Exchange labels and events with annotation tools.

    These are Label Studio (video timeline, JSON), VIA 3 (CSV), CVAT (for video 1.1, XML), and the JSON of
    ActivityNet and of FiftyOne's temporal detections.
    """


@labels.command("import")
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option("--from", "kind", type=TOOLS, help="Which tool wrote it.  [default: as it looks]")
@videos_option
@features_option
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="Frames a second that the tool counted by: Label Studio's frameRate.",
)
@click.option("--by-time", is_flag=True, help="Frames of another rate are taken as times.")
@click.option(
    "--abnormal",
    multiple=True,
    metavar="LABEL",
    help="A label that means abnormal.  [default: all but 'normal']",
)
@click.option("--out", type=PATH, default=Path(), help="Folder for the tables.  [default: here]")
@click.option("--update", is_flag=True, help="Change tables that are there, of these videos alone.")
@click.option("--overwrite", is_flag=True, help="Replace tables that are there.")
@click.option("--skip", is_flag=True, help="Write what fits, though some videos do not.")
@settings_options
@json_option
def labels_import(
    settings: Settings,
    files: tuple[Path, ...],
    kind: str | None,
    fps: float | None,
    by_time: bool,
    abnormal: tuple[str, ...],
    out: Path,
    update: bool,
    overwrite: bool,
    skip: bool,
    as_json: bool,
) -> None:
    """Make labels.csv and intervals.csv of an annotation tool's FILES.

    A folder stands for the files of such tools below it; of CVAT the .zip that it exports will do, too.
    Lengths and rates that the tool says are compared with the features, or else with the videos
    themselves; where they differ its ranges would be shifted, and are refused.
    """
    found = teaching.import_labels(files, settings.data, kind, fps, by_time, abnormal, say)
    for problem in found.problems:
        say(problem, logging.ERROR)
    if found.problems and not (skip and found.labels):
        raise LabelError(f"{len(found.problems)} videos do not fit, nothing is written; see --skip")
    bare = settings.data.layout == "released"
    paths = teaching.write_tables(found, out, overwrite, update, bare)
    counts = {
        "videos": len(found.labels),
        "abnormal": len(found.intervals),
        "intervals": sum(map(len, found.intervals.values())),
    }
    if as_json:
        echo_json({**counts, "failed": len(found.problems), "files": [str(path) for path in paths]})
    else:
        said = ", ".join(f"{number} {name}" for name, number in counts.items())
        click.echo(f"{paths[0]}, {paths[1]}: {said}")
    if found.problems:
        raise LabelError(f"{len(found.problems)} videos were left out")


@labels.command("export")
@click.option("--to", "kind", type=TOOLS, required=True, help="For which tool.")
@click.option(
    "-O", "--out", type=PATH, required=True, help="The file to write; for CVAT a folder, with one a video."
)
@click.option("--events", type=PATH, help="Folder that `score` wrote: its events, as pre-annotations.")
@labels_option
@intervals_option
@videos_option
@features_option
@settings_options
@json_option
def labels_export(settings: Settings, kind: str, out: Path, events: Path | None, as_json: bool) -> None:
    """Write labels.csv and intervals.csv, or the events of scored videos, for an annotation tool."""
    written: list[Any] = [str(path) for path in teaching.export_labels(settings.data, out, kind, events, say)]
    if as_json:
        echo_json(written)
    else:
        click.echo(f"{written[0]}" if len(written) == 1 else f"{out}: {len(written)} files")
