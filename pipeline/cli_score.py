"""The command `score`."""

from pathlib import Path
from typing import Any

import click

from ssrl_pipeline.cli_options import (
    PATH,
    checkpoint_option,
    config_option,
    device_option,
    echo_json,
    engine_option,
    json_option,
    load_settings,
    precision_option,
    runs_option,
    set_option,
    weights_option,
)
from ssrl_pipeline.errors import PipelineError


@click.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@checkpoint_option
@click.option("--out", type=PATH, default="scores", show_default=True, help="Gets one folder per video.")
@click.option(
    "--contact-sheet/--no-contact-sheet",
    default=True,
    help="Frames of each event, also in the report; the video is decoded again for them.",
)
@click.option(
    "--overlay/--no-overlay",
    default=False,
    help="overlay.mp4: the video with heat, score and events drawn on it; needs the extra `video`.",
)
@runs_option
@weights_option
@device_option
@engine_option
@precision_option
@config_option
@set_option
@json_option
def score(
    videos: tuple[Path, ...],
    checkpoint: Path | None,
    out: Path,
    contact_sheet: bool,
    overlay: bool,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Score every frame of new videos.

    Each video's folder gets scores.csv (frame, time_s, score), scores.json
    (metadata and summary), scores.npz (scores, and the heat of patches),
    timeline.png, overlay.mp4 where asked for, and its events: events.json,
    events.csv, events.vtt and events.srt for players, contact_sheet.png. What
    counts as an event is set by -o events.threshold=0.8 and the like, or for a
    rate of false alarms by `ssrl-pipeline calibrate`. report.html shows all videos
    of the run beside their scores, in any browser.
    """
    settings = load_settings(
        config, assignments, flags, data=("runs",), extract=("weights", "engine", "precision")
    )
    from ssrl_pipeline.checkpoint import newest_checkpoint
    from ssrl_pipeline.overlay import find_encoder
    from ssrl_pipeline.report import report_entry, save_report
    from ssrl_pipeline.score import Scorer
    from ssrl_pipeline.terminal import say, table

    names = [video.name for video in videos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(
            f"two videos are named {twice[0]!r}; score them into different folders with --out"
        )
    if overlay:
        find_encoder()  # or an error before hours of work
    path = checkpoint or newest_checkpoint(Path(settings.data.runs))
    chosen = settings.extract
    scorer = Scorer(path, device, chosen.weights, settings.events, chosen.engine, chosen.precision)
    say(f"scoring with {path} on {scorer.device}")
    threshold = scorer.chosen.rule.threshold
    say(f"events: score of {threshold:.4g} or more, a threshold of {scorer.chosen.origin}")
    summaries, entries, failed = [], [], 0
    for video in videos:
        try:
            result = scorer.score(video)
            result.save(out / video.name, contact_sheet, overlay)
            entries.append(report_entry(result, out, scorer.checkpoint.model, pictures=contact_sheet))
        except (PipelineError, OSError) as error:
            say(f"failed: {error}")
            failed += 1
            continue
        summaries.append({**result.summary(), "folder": str(out / video.name)})
    if entries:
        save_report(out / "report.html", entries)
        say(f"all in one page: {out / 'report.html'}")
    if as_json:
        echo_json(summaries)
    elif summaries:
        rows = [
            (*(s[k] for k in ("video", "frames", "events")), *s["summary"].values(), s["folder"])
            for s in summaries
        ]
        header = ("video", "frames", "events", "mean", "max", "peak frame", "peak time (s)", "written to")
        click.echo(table(rows, header))
    if failed:
        raise PipelineError(f"{failed} of {len(videos)} videos failed")
