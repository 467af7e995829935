"""The command `learn`.

ssrl-pipeline learn runs/gate/best.pt --out gate.pt
"""

from pathlib import Path

import click

from ssrl_pipeline import teaching
from ssrl_pipeline.cli.feedback import feedback_option
from ssrl_pipeline.cli.options import (
    PATH,
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    settings_options,
)
from ssrl_pipeline.console import say
from ssrl_pipeline.settings import Settings


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("-O", "--out", type=PATH, required=True, metavar="FILE", help="The new checkpoint.")
@feedback_option
@features_option
@labels_option
@click.option("--force", is_flag=True, help="Write it even where it is worse.")
@device_option
@settings_options
@json_option
def learn(settings: Settings, checkpoint: Path, out: Path, force: bool, device: str, as_json: bool) -> None:
    """Make a checkpoint that has learnt from the verdicts of feedback.csv.

    CHECKPOINT is a file or a run's folder. A memory remembers what was called normal, where it was
    seen; SSRL and the probe also learn what was called abnormal, with what is like it. The threshold is
    calibrated again. It always learns from the original checkpoint and the verdicts that count now, so
    that undoing one takes back all that it did. A new checkpoint that does worse on the verdicts or on
    the validation videos is refused.
    """
    found = teaching.learn(settings, checkpoint, out, force, device, say)
    if as_json:
        echo_json({"checkpoint": str(out), **found.summary()})
        return
    click.echo(f"{out}: {found.verdicts} verdicts learnt, from {found.original}")
    click.echo(f"verdicts right: {found.before.right} before, {found.after.right} now")
    if found.before.auc == found.before.auc:
        click.echo(f"AUC of the validation videos: {found.before.auc:.4f} before, {found.after.auc:.4f} now")
