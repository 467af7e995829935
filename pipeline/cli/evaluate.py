"""The command `evaluate`."""

import math
from pathlib import Path

import click

from ssrl_pipeline import evaluation
from ssrl_pipeline.cli.options import (
    PATH,
    checkpoint_option,
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    runs_option,
    setting,
    settings_options,
)
from ssrl_pipeline.console import hours_or_minutes, say, table
from ssrl_pipeline.data import SPLITS
from ssrl_pipeline.settings import Settings


@click.command()
@checkpoint_option
@features_option
@labels_option
@setting("data.intervals", "intervals.csv: video,start,end.", metavar="FILE", default="beside the labels")
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Which videos.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="A normal video's frame that scores as much is a false alarm.  "
    "[default: as `score` takes it: the checkpoint's, the video's group's, or 0.5]",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Draws of videos, or of groups of them, behind the intervals; 0: no intervals.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    help="Gets metrics.json, roc.png, pr.png and scores.npz.  "
    "[default: evaluation-SPLIT in the folder of the run whose best.pt is judged; else nothing is written]",
)
@runs_option
@device_option
@settings_options
@json_option
def evaluate(
    settings: Settings,
    checkpoint: Path | None,
    split: str,
    threshold: float | None,
    bootstrap: int,
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Compare scores with the ground truth of every frame.

    Shows ROC AUC and average precision of all videos' frames and of abnormal
    videos' alone, the mean AUC within a video, the AUC of whole videos, false
    alarms on normal videos, and the AUC of each class of anomalies where
    data.dataset tells classes; with 95 % intervals over other draws of the videos.
    Where the labels name groups, each group's figures, too, and how often its
    cameras would alarm in a day.
    """
    path, result, folder = evaluation.evaluate_run(
        settings, checkpoint, split, device, threshold=threshold, bootstrap=bootstrap, out=out
    )
    if as_json:
        echo_json({"checkpoint": str(path), **result.summary()})
    else:
        m = result.metrics
        click.echo(f"{path}, {split}: {m.videos} videos, {m.frames} frames, {m.anomalous_frames} anomalous")
        header = ("figure", "value", "95 % interval") if bootstrap else ("figure", "value")
        click.echo(table([row[: len(header)] for row in _rows(result)], header))
        if result.groups:
            columns = ("group", "videos", "abnormal", "AUC", "false alarms", "alarms a day", "at most (95 %)")
            click.echo(table(_group_rows(result), columns))
    if folder:
        say(f"written to {folder}: {', '.join(evaluation.FILES)}")


def _group_rows(result: "evaluation.EvaluationResult") -> list[tuple[object, ...]]:
    rows = []
    for name, (m, alarms) in result.groups.items():
        counts = (name, m.videos, m.abnormal_videos)
        rows.append((*counts, m.auc, m.false_alarm_rate, *map(_per_day, alarms[:2])))
    return rows


def _per_day(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.3g}"


def _rows(result: "evaluation.EvaluationResult") -> list[tuple[str, float, str]]:
    m = result.metrics
    limit = f"{m.threshold:g}" if math.isfinite(m.threshold) else "their camera's threshold"
    names = {
        "auc": "ROC AUC, frames of all videos",
        "ap": "average precision, frames of all videos",
        "abnormal_auc": f"ROC AUC, frames of abnormal videos ({m.abnormal_videos})",
        "abnormal_ap": f"average precision, frames of abnormal videos ({m.abnormal_videos})",
        "within_auc": f"ROC AUC within a video, mean ({m.within_videos})",
        "video_auc": "ROC AUC of whole videos by their highest score",
        "false_alarm_rate": f"false alarms: normal videos' frames that score {limit} or more",
    }
    rows = [(text, getattr(m, key), _interval(result.intervals.get(key))) for key, text in names.items()]
    alarms = result.alarms
    if alarms.per_day is not None and alarms.most_per_day is not None:
        text = f"alarms a day, on {hours_or_minutes(3600 * (alarms.hours or 0))} of normal video"
        rows.append((text, alarms.per_day, f"at most {_per_day(alarms.most_per_day)}"))
    if len(result.classes) > 1:  # one class alone is that of all abnormal videos
        for name, found in result.classes.items():
            text = f"ROC AUC, {name} ({found.videos}) against all normal videos"
            rows.append((text, found.auc, _interval(result.class_intervals.get(name))))
    return rows


def _interval(interval: "evaluation.Interval | None") -> str:
    if interval is None or interval.low != interval.low:
        return "-"
    return f"{interval.low:.4f} to {interval.high:.4f}"
