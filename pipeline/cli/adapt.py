"""The command `adapt`.

ssrl-pipeline adapt runs/first/best.pt --videos gate/
"""

from pathlib import Path

import click

from ssrl_pipeline import adapting
from ssrl_pipeline.cli.options import (
    PATH,
    calibration_option,
    device_option,
    echo_json,
    engine_option,
    features_option,
    json_option,
    labels_option,
    precision_option,
    settings_options,
    weights_option,
)
from ssrl_pipeline.console import SnippetBar, say
from ssrl_pipeline.settings import Settings


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("--videos", type=PATH, metavar="DIR", help="Normal footage of one camera, to be extracted.")
@click.option(
    "--group",
    metavar="NAME",
    help="The camera.  [default: the name of --videos; of a store, each group that the labels name]",
)
@features_option
@labels_option
@weights_option
@engine_option
@precision_option
@calibration_option
@device_option
@settings_options
@json_option
def adapt(
    settings: Settings,
    checkpoint: Path,
    videos: Path | None,
    group: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Fit a checkpoint to a camera by what it normally shows, without labels.

    Give some hours of a new camera's footage in which nothing happened (--videos), or stored features of it
    (--features). Its own scaling, a memory of what it shows, and the threshold are written into the
    checkpoint: at most the share -o train.false_alarms=0.01 of its held-out frames scores 0.5 or more.
    `score` and `watch` use them for the videos of this camera; others are scored as before. One checkpoint
    holds several cameras; adapting to a camera again replaces its entry.
    """
    found = adapting.adapt_run(settings, checkpoint, videos, group, device, SnippetBar)
    if as_json:
        shown = [{key: value for key, value in one._asdict().items() if key != "checkpoint"} for one in found]
        echo_json({"checkpoint": str(checkpoint), "cameras": shown})
    else:
        for one in found:
            click.echo(str(one))
    say(f"written into {checkpoint}")
