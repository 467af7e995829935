"""The command `info`."""

from pathlib import Path

import click

from ssrl_pipeline.cli.options import (
    PATH,
    calibration_option,
    device_option,
    echo_json,
    engine_option,
    json_option,
    precision_option,
    settings_options,
    weights_option,
)
from ssrl_pipeline.console import table
from ssrl_pipeline.settings import Settings


@click.command()
@click.option(
    "--checkpoint", type=PATH, help="Measure how many cameras `watch` carries here with it (seconds)."
)
@weights_option
@device_option
@engine_option
@precision_option
@calibration_option
@json_option
@settings_options
def info(settings: Settings, checkpoint: Path | None, device: str, as_json: bool) -> None:
    """Versions, devices, decoders and caches: what to send along with a bug report.

    Settings are of the watch that --checkpoint measures: -o extract.unchanged=repeat, --precision int8.
    """
    from ssrl_pipeline.info import collect  # loads PyTorch

    facts = collect(checkpoint, device, settings)
    if as_json:
        echo_json(facts)
    else:
        click.echo(table(list(facts.items()), ("what", "found")))
