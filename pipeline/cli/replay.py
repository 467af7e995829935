"""The command `replay`.

ssrl-pipeline replay --threshold 0.7 --since 24h
"""

from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import teaching
from ssrl_pipeline.cli.feedback import feedback_option, patch_option
from ssrl_pipeline.cli.labels import videos_option
from ssrl_pipeline.cli.options import (
    PATH,
    device_option,
    echo_json,
    features_option,
    json_option,
    runs_option,
    settings_options,
)
from ssrl_pipeline.config import named_in
from ssrl_pipeline.console import say, table, time_code
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings

_threshold = click.FloatRange(0, 1, min_open=True)
MOST_SHOWN = 20  # alarms of a kind in the terminal


@click.command()
@click.option("--checkpoint", type=PATH, help="The checkpoint to try.  [default: the one used now]")
@click.option(
    "--threshold",
    type=_threshold,
    help="The threshold to try.  [default: as that checkpoint was calibrated]",
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    type=patch_option,
    metavar="RxC:N",
    help="A patch to leave out in the trial.",
)
@click.option("--now-checkpoint", type=PATH, help="The checkpoint used now.  [default: the newest run]")
@click.option(
    "--now-threshold",
    type=_threshold,
    help="The threshold used now.  [default: as that checkpoint was calibrated]",
)
@click.option(
    "--now-mask",
    "now_masks",
    multiple=True,
    type=patch_option,
    metavar="RxC:N",
    help="A patch that is left out now.",
)
@click.option("--since", metavar="TIME", help="Videos whose files are newer: 24h, 7d, or a date and time.")
@click.option("--scores", type=PATH, metavar="DIR", help="A folder that `score` wrote, in place of features.")
@click.option("--page", type=PATH, metavar="FILE", help="Write what changes as a page, with pictures.")
@feedback_option
@features_option
@videos_option
@runs_option
@device_option
@settings_options
@json_option
def replay(
    settings: Settings,
    checkpoint: Path | None,
    threshold: float | None,
    masks: tuple[Any, ...],
    now_checkpoint: Path | None,
    now_threshold: float | None,
    now_masks: tuple[Any, ...],
    since: str | None,
    scores: Path | None,
    page: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Show what would have alarmed with other settings, beside what alarms now.

    It reads stored features or, with --scores, results; no video is decoded. An alarm has gone, or come,
    if no alarm of the other settings overlaps it. A verdict of feedback.csv is met if there is an alarm
    exactly where there should be one. A masked patch does not count, as with `watch`; in results, what it
    adds to a score is subtracted. Results are played by the rule that made each, of which --threshold and
    -o events.gap=1 and the like change what they say.
    """
    variants = [(now_checkpoint, now_threshold, now_masks), (checkpoint, threshold, masks)]
    typed = click.get_current_context().params
    named = named_in("events", typed["config"], typed["assignments"])
    found, shown = teaching.replay_settings(settings, variants, scores, since, page, device, say, named)
    if as_json:
        echo_json(found.summary())
    else:
        click.echo(table(shown, ("", "now", "then")))
        for title, changes in (("alarms that go", found.gone), ("alarms that come", found.come)):
            click.echo(f"{title}: {len(changes)}")
            rows = [(c.video, _when(c.event), f"{c.event.peak_score:.3g}") for c in changes[:MOST_SHOWN]]
            if rows:
                click.echo(table(rows, ("video", "time", "score")))
    if page:
        say(f"written: {page}")
    if found.failed:
        raise PipelineError(f"{len(found.failed)} of {found.videos + len(found.failed)} videos failed")


def _when(event: Any) -> str:
    return f"frame {event.start}" if event.start_s is None else time_code(event.start_s)
