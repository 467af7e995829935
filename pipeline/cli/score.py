"""The command `score`.

ssrl-pipeline score videos/
"""

from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import scoring
from ssrl_pipeline.cli.options import (
    PATH,
    cluster_options,
    echo_json,
    frames_option,
    group_option,
    json_option,
    read_cluster,
    scorer_options,
    setting,
    settings_options,
)
from ssrl_pipeline.console import FAILED, SnippetBar, say, table
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.scoring import find_inputs
from ssrl_pipeline.settings import Settings

NAME = 34  # letters of a video's name in the table, which then fits 100 columns


@click.command()
@click.argument("videos", nargs=-1, required=True)
@scorer_options
@frames_option
@group_option
@click.option("--out", type=PATH, default="scores", show_default=True, help="Gets one folder per video.")
@click.option(
    "--contact-sheet/--no-contact-sheet",
    default=True,
    help="Frames of each event, also in the report; the video is decoded again for them.",
)
@click.option("--overwrite", is_flag=True, help="Score again what is done.")
@setting(
    "data.features",
    "Feature store whose videos need no extraction.",
    metavar="DIR",
    default="features, if of the same recipe",
)
@setting(
    "data.intervals",
    "Ground truth to show: video,start,end.",
    metavar="FILE",
    default="intervals.csv beside the labels, if there",
)
@click.option(
    "--overlay/--no-overlay",
    default=False,
    help="overlay.mp4: the video with heat, score and events drawn on it.",
)
@cluster_options
@settings_options
@json_option
def score(
    settings: Settings,
    videos: tuple[str, ...],
    checkpoint: Path | None,
    out: Path,
    contact_sheet: bool,
    overlay: bool,
    overwrite: bool,
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Score every frame of new videos: files, folders, or patterns in quotes ('cam*/**/*.mp4').

    Addresses of streams are for `ssrl-pipeline watch`.

    Each video's folder gets scores.csv (frame, time_s, score), scores.json
    (metadata and summary), scores.npz (scores, and the heat of patches),
    timeline.png, overlay.mp4 where asked for, and its events: events.json,
    events.csv, events.vtt and events.srt for players, contact_sheet.png. What
    counts as an event is set by -o events.threshold=0.8 and the like, or for a
    rate of false alarms by `ssrl-pipeline calibrate`. report.html shows all videos
    of the run beside their scores, in any browser.

    If `adapt` or `calibrate --by group` has fitted the checkpoint to cameras, each video is scored as its
    own camera's: that of --group, else the group in the labels or, with -o data.group=folder, its folder.
    A line names the camera.

    A folder's videos are named by their path below it. Files without the extension of a video are
    skipped and counted. Finished videos are skipped; if only the threshold has changed, their events
    and pictures are made again.
    """
    cluster = read_cluster(flags)
    found = find_inputs(videos, out, say, settings.extract.frames is not None)
    outcomes = scoring.score_videos(
        settings,
        found,
        out,
        checkpoint,
        device,
        flags["devices"],
        cluster,
        group=flags["group"],
        contact_sheet=contact_sheet,
        overlay=overlay,
        overwrite=overwrite,
        must_reuse=click.get_current_context().params["data__features"] is not None,
        show=SnippetBar,
    )
    _show(outcomes, out, as_json)


def _show(outcomes: "list[scoring.Scored]", out: Path, as_json: bool) -> None:
    done = [outcome for outcome in outcomes if outcome.status != FAILED]
    if done:
        say(f"a folder for each video in {out}; all in one page: {out / 'report.html'}")
    if as_json:
        echo_json([{**o.summary, "name": o.video, "status": o.status, "folder": str(o.folder)} for o in done])
    elif done:
        header = ("video", "frames", "events", "mean", "max", "peak frame", "peak time (s)", "features")
        notes = ("note",) if any(outcome.summary.get("damage") for outcome in done) else ()
        click.echo(table([_row(outcome)[: len(header + notes)] for outcome in done], header + notes))
    if failed := len(outcomes) - len(done):
        raise PipelineError(f"{failed} of {len(outcomes)} videos failed")


def _row(outcome: "scoring.Scored") -> tuple[object, ...]:
    summary, name = outcome.summary, outcome.video
    shown = name if len(name) <= NAME else f"...{name[3 - NAME :]}"
    highest = summary["summary"]
    peak = "-" if highest["peak_time_s"] is None else f"{highest['peak_time_s']:.1f}"
    numbers = (summary["frames"], summary["events"], highest["mean"], highest["max"], highest["peak_frame"])
    return (shown, *numbers, peak, outcome.status, summary.get("damage", ""))
