"""The command `demo`."""

from pathlib import Path

import click

from ssrl_pipeline.cli.options import PATH, device_option, one_of
from ssrl_pipeline.disk import require_writable
from ssrl_pipeline.extractors import EngineName


@click.command()
@click.option("--out", type=PATH, default="demo", show_default=True, help="Folder for all that it makes.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the rendered videos and the training."
)
@device_option
@click.option(
    "--engine",
    type=one_of(EngineName),
    default="auto",
    show_default=True,
    help="What runs the backbone.",
)
def demo(out: Path, seed: int, device: str, engine: str) -> None:
    """Run the whole pipeline on videos that it renders itself, with real I3D weights."""
    from ssrl_pipeline.demo import run_demo  # the rooms it shows load PyTorch

    require_writable(out)
    run_demo(out, seed, device, engine)
