"""The commands `weights list`, `weights fetch` and `weights verify`."""

import click

from ssrl_pipeline.cli.options import echo_json, json_option
from ssrl_pipeline.console import table
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors import backbones as published


@click.group()
def weights() -> None:
    """List, fetch and verify the weights of the backbones."""


@weights.command("list")
@json_option
def weights_list(as_json: bool) -> None:
    """Which weights there are, under what licence, and which are cached."""
    rows = [
        (s.backbone, "yes" if published.cache_path(s.backbone).exists() else "no", s.licence, s.origin)
        for s in published.PUBLISHED.values()
    ]
    header = ("backbone", "cached", "licence", "origin")
    if as_json:
        echo_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        click.echo(table(rows, header))


@weights.command("fetch")
@click.argument("backbone")
def weights_fetch(backbone: str) -> None:
    """Download weights, check them, and keep them as safetensors."""
    content = published.content_sha256(published.fetch(_known(backbone)))
    click.echo(f"{published.cache_path(backbone)}  SHA-256 of the weights {content}")


@weights.command("verify")
@click.argument("backbones", nargs=-1)
def weights_verify(backbones: tuple[str, ...]) -> None:
    """Check cached weights against their SHA-256; all that are cached, or those named."""
    chosen = [_known(name) for name in backbones] or [
        name for name in published.PUBLISHED if published.cache_path(name).exists()
    ]
    if not chosen:
        raise PipelineError("no weights are cached; fetch some with `ssrl-pipeline weights fetch i3d`")
    for name in chosen:
        published.verify(name)
        click.echo(f"{name}: {published.cache_path(name)} is what it should be")


def _known(backbone: str) -> str:
    if backbone not in published.PUBLISHED:
        there = ", ".join(published.PUBLISHED)
        raise click.UsageError(f"unknown backbone {backbone!r}; there are {there}")
    return backbone
