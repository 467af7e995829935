"""The command `search`.

ssrl-pipeline search "riding a bike"
"""

import click

from ssrl_pipeline import scoring
from ssrl_pipeline.cli.options import (
    echo_json,
    features_option,
    json_option,
    settings_options,
    weights_option,
)
from ssrl_pipeline.console import say, table, time_code
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings


@click.command()
@click.argument("words", nargs=-1, required=True)
@features_option
@weights_option
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Moments to show.")
@click.option(
    "--apart",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds between two moments of a video.",
)
@settings_options
@json_option
def search(settings: Settings, words: tuple[str, ...], most: int, apart: float, as_json: bool) -> None:
    """Find moments of an archive of features by what is done in them.

    WORDS are one of the 400 actions of Kinetics-400 or a part of their names ("bike", "skate"). Moments
    are ranked by the probability that I3D's own classifier gives to these actions in one of 2x3 patches.
    It is often wrong, above all where people are small: see docs/words.md.
    """
    found = scoring.search_archive(settings, " ".join(words), most, apart, say)
    if as_json:
        echo_json([moment._asdict() for moment in found.moments])
    else:
        rows = [
            (m.video, "-" if m.time_s is None else time_code(m.time_s), m.frame, f"{m.score:.3g}", m.patch)
            for m in found.moments
        ]
        click.echo(table(rows, ("video", "time", "frame", "probability", "patch")))
    if found.failed:
        raise PipelineError(f"{len(found.failed)} of {found.videos + len(found.failed)} videos failed")
