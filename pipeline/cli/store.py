"""The command `store export`."""

from pathlib import Path

import click

from ssrl_pipeline.cli.options import PATH, echo_json, json_option, labels_option, settings_options
from ssrl_pipeline.console import say, table
from ssrl_pipeline.data import export_store
from ssrl_pipeline.disk import require_writable
from ssrl_pipeline.settings import Settings


@click.group()
def store() -> None:
    """Look after feature stores."""


@store.command("export")
@click.argument("data__features", metavar="STORE")
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
@settings_options
@json_option
def store_export(settings: Settings, out: Path, layout: str, segments: int | None, as_json: bool) -> None:
    """Write a store's labelled videos as X_i3d.npy, X_patch23_i3d.npy and so on, with lists of them.

    Other projects' training code reads these. Files of training videos are [T, P, F] or, with
    --segments, [P, SEGMENTS, F]; the lists name anomalous videos first.
    """
    require_writable(out)
    lists = export_store(settings.data, out, segments, say)
    if as_json:
        echo_json([{**exported._asdict(), "path": str(exported.path)} for exported in lists])
    else:
        click.echo(table(lists, ("split", "videos", "abnormal", "list")))
