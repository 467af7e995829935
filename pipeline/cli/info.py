"""The command `info`."""

import click

from ssrl_pipeline.cli.options import echo_json, json_option
from ssrl_pipeline.console import table


@click.command()
@json_option
def info(as_json: bool) -> None:
    """Versions, devices, decoders and caches: what to send along with a bug report."""
    from ssrl_pipeline.info import collect

    facts = collect()
    if as_json:
        echo_json(facts)
    else:
        click.echo(table(list(facts.items()), ("what", "found")))
