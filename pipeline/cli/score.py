"""The command `score`.

ssrl-pipeline score videos/
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.cli.options import (
    PATH,
    cluster_options,
    config_option,
    echo_json,
    find_checkpoint,
    find_intervals,
    frames_option,
    json_option,
    load_settings,
    read_cluster,
    scorer_options,
    set_option,
)
from ssrl_pipeline.console.messages import say
from ssrl_pipeline.data.labels import Intervals
from ssrl_pipeline.disk.files import require_writable
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.cluster.ray import ClusterOptions
    from ssrl_pipeline.scoring.job import Scored
    from ssrl_pipeline.scoring.score import Place
    from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions

NAME = 34  # letters of a video's name in the table, which then fits 100 columns


@click.command()
@click.argument("videos", nargs=-1, required=True)
@scorer_options
@frames_option
@click.option("--out", type=PATH, default="scores", show_default=True, help="Gets one folder per video.")
@click.option(
    "--contact-sheet/--no-contact-sheet",
    default=True,
    help="Frames of each event, also in the report; the video is decoded again for them.",
)
@click.option("--overwrite", is_flag=True, help="Score again what is done.")
@click.option(
    "--features",
    metavar="DIR",
    help="Feature store whose videos need no extraction.  [default: features, if of the same recipe]",
)
@click.option(
    "--intervals",
    metavar="FILE",
    help="Ground truth to show: video,start,end.  [default: intervals.csv beside the labels, if there]",
)
@click.option(
    "--overlay/--no-overlay",
    default=False,
    help="overlay.mp4: the video with heat, score and events drawn on it.",
)
@cluster_options
@config_option
@set_option
@json_option
def score(
    videos: tuple[str, ...],
    checkpoint: Path | None,
    out: Path,
    contact_sheet: bool,
    overlay: bool,
    overwrite: bool,
    config: str | None,
    assignments: tuple[str, ...],
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

    A folder's videos are named by their path below it; how many files were left out,
    since their endings are of no video, is told. What is done already is
    skipped; if only the threshold has changed, events and pictures are made anew.
    """
    sections = {
        "data": ("runs", "features", "intervals"),
        "extract": ("weights", "engine", "precision", "frames"),
    }
    settings = load_settings(config, assignments, flags, **sections)
    where = read_cluster(flags)
    from ssrl_pipeline.scoring.inputs import find_inputs, match_intervals

    found = find_inputs(videos, out, say, settings.extract.frames is not None)
    from ssrl_pipeline.console.terminal import SnippetBar, table
    from ssrl_pipeline.features.opening import location
    from ssrl_pipeline.results.video_writer import require_encoder
    from ssrl_pipeline.scoring.job import FAILED
    from ssrl_pipeline.scoring.score import open_index, score_many
    from ssrl_pipeline.scoring.scorer import ScorerOptions

    require_writable(out)
    if overlay:
        require_encoder()  # or an error before hours of work
    features = location(settings.data.features)
    intervals = _known_intervals(settings)
    path = find_checkpoint(checkpoint, settings)
    chosen = settings.extract
    options = ScorerOptions(
        path, chosen.weights, settings.events, chosen.engine, chosen.precision, chosen.frames
    )
    with _placed(options, device, where) as (scorer, place, on):
        index = open_index(features, scorer, flags["features"] is not None, say)
        say(f"scoring with {path} on {on}")
        threshold = scorer.chosen.rule.threshold
        say(f"events: score of {threshold:.4g} or more, a threshold of {scorer.chosen.origin}")
        outcomes = score_many(
            *(scorer, found, out),
            index=index,
            intervals=match_intervals(found, intervals),
            contact_sheet=contact_sheet,
            overlay=overlay,
            overwrite=overwrite,
            begin=SnippetBar,
            note=say,
            place=place,
        )
    done = [outcome for outcome in outcomes if outcome.status != FAILED]
    if done:
        say(f"a folder for each video in {out}; all in one page: {out / 'report.html'}")
    if as_json:
        echo_json([{**o.summary, "name": o.name, "status": o.status, "folder": str(o.folder)} for o in done])
    elif done:
        header = ("video", "frames", "events", "mean", "max", "peak frame", "peak time (s)", "features")
        notes = ("note",) if any(outcome.summary.get("damage") for outcome in done) else ()
        click.echo(table([_row(outcome)[: len(header + notes)] for outcome in done], header + notes))
    if failed := len(outcomes) - len(done):
        raise PipelineError(f"{failed} of {len(found)} videos failed")


@contextmanager
def _placed(
    options: "ScorerOptions", device: str, where: "ClusterOptions | None"
) -> "Iterator[tuple[Scorer, Place, str]]":
    """A scorer to plan by, what does the work, and where that is, in words."""
    from ssrl_pipeline.scoring.score import score_here

    if where is None:
        scorer = options.build(device)
        yield scorer, score_here, f"{scorer.device} in {scorer.extractor.precision}"
        return
    from ssrl_pipeline.cluster.ray import connected
    from ssrl_pipeline.scoring.on_cluster import score_on

    with connected(where, device) as cluster:
        scorer = options.planner()
        on = f"{cluster.device}, up to {cluster.slots()} tasks of the cluster at once"
        yield scorer, score_on(cluster, options), on


def _known_intervals(settings: Settings) -> Intervals:
    """Ground truth, if any; a score does without, so only a file that is named must be readable."""
    try:
        return find_intervals(settings) or {}
    except PipelineError as error:
        if settings.data.intervals:
            raise
        say(f"no ground truth is shown: {error}")
        return {}


def _row(outcome: "Scored") -> tuple[object, ...]:
    summary, name = outcome.summary, outcome.name
    shown = name if len(name) <= NAME else f"...{name[3 - NAME :]}"
    highest = summary["summary"]
    peak = "-" if highest["peak_time_s"] is None else f"{highest['peak_time_s']:.1f}"
    numbers = (summary["frames"], summary["events"], highest["mean"], highest["max"], highest["peak_frame"])
    return (shown, *numbers, peak, outcome.status, summary.get("damage", ""))
