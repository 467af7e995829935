"""The command `evaluate`."""

from pathlib import Path
from typing import Any

import click

from ssrl_pipeline.cli_options import (
    checkpoint_option,
    config_option,
    device_option,
    echo_json,
    features_option,
    json_option,
    labels_option,
    load_intervals,
    load_labels,
    load_settings,
    set_option,
)
from ssrl_pipeline.labels import SPLITS


@click.command()
@checkpoint_option
@features_option
@labels_option
@click.option(
    "--intervals", metavar="FILE", help="intervals.csv: video,start,end.  [default: beside the labels]"
)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Which videos.")
@click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
@device_option
@config_option
@set_option
@json_option
def evaluate(
    checkpoint: Path | None,
    split: str,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare scores with the ground truth of every frame: ROC AUC and average precision."""
    settings = load_settings(config, assignments, flags, data=("features", "labels", "intervals", "runs"))
    from ssrl_pipeline import evaluate as stage
    from ssrl_pipeline.checkpoint import load_checkpoint, newest_checkpoint
    from ssrl_pipeline.extractors.extractor import find_device
    from ssrl_pipeline.store import FeatureStore
    from ssrl_pipeline.terminal import table

    path = checkpoint or newest_checkpoint(Path(settings.data.runs))
    loaded = load_checkpoint(path)
    store = FeatureStore.open(Path(settings.data.features))
    labels, intervals = load_labels(settings, store), load_intervals(settings)
    result = stage.evaluate(loaded, store, labels, intervals, split, find_device(device))
    m = result.metrics
    if as_json:
        figures = {key: None if value != value else value for key, value in m._asdict().items()}
        echo_json({"checkpoint": str(path), "split": split, **figures})
        return
    click.echo(f"{path}, {split}: {m.videos} videos, {m.frames} frames, {m.anomalous_frames} anomalous")
    rows = [
        ("all videos", m.auc, m.ap),
        (f"{m.abnormal_videos} abnormal videos", m.abnormal_auc, m.abnormal_ap),
    ]
    click.echo(table(rows, ("frames of", "ROC AUC", "average precision")))
