"""The commands `dataset` and `store`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.cli.options import (
    PATH,
    config_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    load_labels,
    load_settings,
    open_dataset,
    set_option,
)
from ssrl_pipeline.disk.files import require_writable
from ssrl_pipeline.errors import PipelineError, StoreError

if TYPE_CHECKING:
    from ssrl_pipeline.data.check import Problem, Report

SHOWN = 5  # videos of each kind of problem; --json has all


@click.group()
def dataset() -> None:
    """Look at a dataset's annotations and features."""


@dataset.command("check")
@click.argument("config")
@click.option(
    "--annotations", metavar="DIR", help="Folder of the dataset's own files.  [default: annotations]"
)
@features_option
@set_option
@json_option
def dataset_check(config: str, assignments: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Say what a dataset lacks, what has the wrong length, and the totals.

    CONFIG is a YAML file of settings, or a ready one's name: ucf_crime, shanghaitech, xd_violence.
    Exit code 1 where something is missing or wrong.
    """
    settings = load_settings(config, assignments, flags, data=("annotations", "features"))
    from ssrl_pipeline.console.terminal import say
    from ssrl_pipeline.data.check import check_dataset
    from ssrl_pipeline.features.opening import location, open_features

    place = location(settings.data.features)
    try:
        features = open_features(place, settings.data.layout)
    except StoreError as error:
        if isinstance(place, str) or (place.exists() and any(place.iterdir())):
            raise
        say(str(error))
        features = None
    report = check_dataset(open_dataset(settings, features), features)
    if as_json:
        echo_json(
            {
                "groups": [group._asdict() for group in report.groups],
                "totals": report.totals._asdict(),
                "problems": [problem._asdict() for problem in report.problems],
                "unlabelled": report.unlabelled,
            }
        )
    else:
        _show(report)
    if report.problems:
        raise PipelineError(f"{config}: {_summary(report.problems)}")


@click.group()
def store() -> None:
    """Look after feature stores."""


@store.command("export")
@click.argument("features", metavar="STORE")
@click.argument("out", type=PATH)
@click.option(
    "--layout", type=click.Choice(["released"]), default="released", show_default=True, help="Of the files."
)
@click.option(
    "--segments",
    type=click.IntRange(min=1),
    help="Make training videos [P, SEGMENTS, F], means of so many segments; the released ones have 32.",
)
@labels_option
@config_option
@set_option
@json_option
def store_export(
    features: str,
    out: Path,
    layout: str,
    segments: int | None,
    config: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Write a store's labelled videos as X_i3d.npy, X_patch23_i3d.npy and so on, with lists of them.

    Other projects' training code reads these. Files of training videos are [T, P, F] or, with
    --segments, [P, SEGMENTS, F]; the lists name anomalous videos first.
    """
    flags["features"] = features
    settings = load_settings(config, assignments, flags, data=("features", "labels"))
    require_writable(out)
    from ssrl_pipeline.console.terminal import say, table
    from ssrl_pipeline.data.export import export_released
    from ssrl_pipeline.features.opening import location, open_store

    source = open_store(location(settings.data.features))
    labels = load_labels(settings, source)
    unlabelled = set(source.videos()) - set(labels)
    if unlabelled:
        say(f"left out, being in no labels: {len(unlabelled)} videos, {min(unlabelled)!r} first")
    lists = export_released(source, labels, out, segments)
    if as_json:
        echo_json([{**exported._asdict(), "path": str(exported.path)} for exported in lists])
    else:
        click.echo(table(lists, ("split", "videos", "abnormal", "list")))


def _show(report: "Report") -> None:
    from ssrl_pipeline.console.terminal import table

    click.echo(table(report.groups, ("split", "class", "videos", "with features")))
    totals = report.totals
    click.echo(
        f"\ntest: {totals.videos} videos, {totals.abnormal} anomalous; "
        f"{totals.frames} frames in whole snippets of 16, {totals.anomalous_frames} anomalous"
    )
    if totals.without_length:
        click.echo(f"the frames of {totals.without_length} test videos are not counted: no length is known")
    if report.unlabelled:
        click.echo(f"{report.unlabelled} videos with features are not in the annotations")
    for kind, problems in _by_kind(report.problems).items():
        click.echo(f"\n{kind}: {len(problems)}")
        click.echo(table([problem[1:] for problem in problems[:SHOWN]], ("video", "detail")))
        if len(problems) > SHOWN:
            click.echo(f"... and {len(problems) - SHOWN} more; --json lists all")


def _summary(problems: "list[Problem]") -> str:
    return ", ".join(f"{kind}: {len(found)}" for kind, found in _by_kind(problems).items())


def _by_kind(problems: "list[Problem]") -> "dict[str, list[Problem]]":
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds
