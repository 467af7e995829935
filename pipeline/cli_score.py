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
    json_option,
    load_settings,
    set_option,
    weights_option,
)
from ssrl_pipeline.errors import PipelineError


@click.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@checkpoint_option
@click.option("--out", type=PATH, default="scores", show_default=True, help="Gets one folder per video.")
@click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
@weights_option
@device_option
@config_option
@set_option
@json_option
def score(
    videos: tuple[Path, ...],
    checkpoint: Path | None,
    out: Path,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Score every frame of new videos.

    Each video's folder gets scores.csv (frame, time_s, score), scores.json
    (metadata and summary), scores.npz and timeline.png.
    """
    settings = load_settings(config, assignments, flags, data=("runs",), extract=("weights",))
    from ssrl_pipeline.checkpoint import newest_checkpoint
    from ssrl_pipeline.score import Scorer
    from ssrl_pipeline.terminal import say, table

    names = [video.name for video in videos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(
            f"two videos are named {twice[0]!r}; score them into different folders with --out"
        )
    path = checkpoint or newest_checkpoint(Path(settings.data.runs))
    scorer = Scorer(path, device, settings.extract.weights)
    say(f"scoring with {path} on {scorer.device}")
    summaries, failed = [], 0
    for video in videos:
        try:
            result = scorer.score(video)
            result.save(out / video.name)
        except (PipelineError, OSError) as error:
            say(f"failed: {error}")
            failed += 1
            continue
        summaries.append({**result.summary(), "folder": str(out / video.name)})
    if as_json:
        echo_json(summaries)
    elif summaries:
        rows = [
            (*(s[k] for k in ("video", "frames")), *s["summary"].values(), s["folder"]) for s in summaries
        ]
        click.echo(
            table(rows, ("video", "frames", "mean", "max", "peak frame", "peak time (s)", "written to"))
        )
    if failed:
        raise PipelineError(f"{failed} of {len(videos)} videos failed")
