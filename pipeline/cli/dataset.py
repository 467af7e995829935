"""The command `dataset check`."""

import click

from ssrl_pipeline import data
from ssrl_pipeline.cli.options import (
    echo_json,
    features_option,
    json_option,
    set_option,
    setting,
    with_settings,
)
from ssrl_pipeline.console import say, table
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings

SHOWN = 5  # videos of each kind of problem; --json has all


@click.group()
def dataset() -> None:
    """Look at a dataset's annotations and features."""


@dataset.command("check")
@click.argument("config")
@setting("data.annotations", "Folder of the dataset's own files.", metavar="DIR")
@features_option
@set_option
@json_option
@with_settings
def dataset_check(settings: Settings, as_json: bool) -> None:
    """Say what a dataset lacks, what has the wrong length, and the totals.

    CONFIG is a YAML file of settings, or a ready one's name: ucf_crime, shanghaitech, xd_violence.
    Exit code 1 where something is missing or wrong.
    """

    report = data.check_data(settings.data, say)
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
        config = click.get_current_context().params["config"]
        raise PipelineError(f"{config}: {_summary(report.problems)}")


def _show(report: "data.Report") -> None:
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


def _summary(problems: "list[data.Problem]") -> str:
    return ", ".join(f"{kind}: {len(found)}" for kind, found in _by_kind(problems).items())


def _by_kind(problems: "list[data.Problem]") -> "dict[str, list[data.Problem]]":
    kinds: dict[str, list[data.Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds
