"""The command `extract`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline import extraction
from ssrl_pipeline.cli.options import (
    calibration_option,
    cluster_options,
    device_option,
    echo_json,
    engine_option,
    features_option,
    frames_option,
    json_option,
    precision_option,
    read_cluster,
    setting,
    settings_options,
    weights_option,
)
from ssrl_pipeline.console import FAILED, SnippetBar, duration, say, size, table
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extraction import find_videos
from ssrl_pipeline.features import location
from ssrl_pipeline.settings import Settings

NAMED = 5  # videos in a message


@click.command()
@setting("data.videos", "Folder of videos, or one video.", metavar="DIR")
@frames_option
@features_option
@setting("extract.preset", "Views of a snippet.")
@setting("extract.backbone", "Network that describes them.")
@weights_option
@setting(
    "extract.fps",
    "Describe so many frames a second (up to 1000), chosen by the times they are shown at; a slower video "
    "keeps all of its own.",
    metavar="RATE",
    default="all frames",
)
@setting(
    "extract.patches",
    "exact: each passes the backbone by itself; dense: one pass over the frame for all, "
    "an approximation with less work.",
)
@setting(
    "extract.unchanged",
    "Clips that do not change: describe them each time, or repeat their last description. [auto: as the "
    "store has it, else all are described]",
)
@setting("extract.dtype", "Type of the stored features.")
@device_option
@engine_option
@precision_option
@calibration_option
@setting("extract.workers", "Videos decoded at once.", default="1 on a CPU, 4 on a GPU")
@cluster_options
@settings_options
@click.option("--dry-run", is_flag=True, help="Time some snippets, tell what all would take; store nothing.")
@json_option
def extract(
    settings: Settings,
    device: str,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn videos into a store of multi-scale I3D features.

    A second run skips what is finished. A video that fails does not stop the
    others; the table at the end says which failed and why. Of a folder, files with
    the endings of videos are taken; how many others were left out is told.
    """
    cluster = read_cluster(flags)
    if dry_run and cluster:
        raise click.UsageError("--dry-run times devices of this machine; leave out --cluster")
    features = location(settings.data.features)
    pictures = settings.extract.frames is not None
    videos = find_videos(Path(settings.data.videos), note=say, pictures=pictures)

    if dry_run:
        dry = extraction.estimate_videos(settings, videos, features, device, flags["devices"])
        _show_estimate(dry, as_json)
        return
    store, outcomes = extraction.extract_videos(
        settings, videos, features, device, flags["devices"], cluster, SnippetBar
    )
    if as_json:
        echo_json({"features": str(store.root), "videos": [asdict(o) for o in outcomes]})
    else:
        rows = [(o.video, o.status, o.snippets, round(o.seconds, 1), o.reason) for o in outcomes]
        click.echo(table(rows, ("video", "status", "snippets", "seconds", "reason")))
    failed = sum(outcome.status == FAILED for outcome in outcomes)
    if failed:
        raise PipelineError(f"{failed} of {len(outcomes)} videos failed; the others are in {store.root}")


def _show_estimate(dry_run: "extraction.DryRun", as_json: bool) -> None:
    found, devices = dry_run
    if as_json:
        echo_json(found._asdict())
        return
    quickest, slowest = map(duration, found.seconds_spread)
    rows = [
        ("videos to extract", f"{found.todo} of {found.videos}"),
        ("snippets", found.snippets),
        (
            "features on the disk",
            size(found.disk_bytes)
            + (f" ({size(found.free_bytes)} free)" if found.free_bytes is not None else ""),
        ),
        (
            f"time on {devices} devices" if devices > 1 else "time on this machine",
            f"{duration(found.seconds)} ({quickest} to {slowest})",
        ),
    ]
    click.echo(table(rows, ("what", "estimate")))
    for name in found.unreadable:
        say(f"cannot be opened, not counted: {name}")
    for name in found.empty:
        say(f"opens, but no snippet is found in it, not counted: {name}")
    if guessed := found.guessed:
        more = ", and more" if len(guessed) > NAMED else ""
        names = f"{', '.join(guessed[:NAMED])}{more}"
        say(f"no sure length in {len(guessed)}, counted by their first packets and size: {names}")
    if found.free_bytes is not None and found.disk_bytes > found.free_bytes:
        say("the features will not fit on this disk; --dtype float16 halves them")
