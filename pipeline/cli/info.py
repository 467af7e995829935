"""The command `info`."""

from pathlib import Path

import click

from ssrl_pipeline.cli.options import PATH, device_option, echo_json, json_option
from ssrl_pipeline.console import table


@click.command()
@click.option(
    "--checkpoint", type=PATH, help="Measure how many cameras `watch` carries here with it (seconds)."
)
@device_option
@json_option
def info(checkpoint: Path | None, device: str, as_json: bool) -> None:
    """Versions, devices, decoders and caches: what to send along with a bug report."""
    from ssrl_pipeline.info import collect  # loads PyTorch

    facts = collect(checkpoint, device)
    if as_json:
        echo_json(facts)
    else:
        click.echo(table(list(facts.items()), ("what", "found")))
