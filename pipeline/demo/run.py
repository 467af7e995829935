"""The whole pipeline on videos that it renders itself: what a new user runs first.

ssrl-pipeline demo
"""

import time
from pathlib import Path

import click
from tqdm import tqdm

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.console import FAILED, SnippetBar, progress_bar, say, table
from ssrl_pipeline.data import SPLITS, Intervals, Labels, read_intervals, read_labels
from ssrl_pipeline.demo.render import ANOMALIES, render_dataset
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation import FrameMetrics, evaluate_checkpoint
from ssrl_pipeline.extraction import ExtractorOptions, extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features import FeatureStore
from ssrl_pipeline.scoring import ContentIndex, Scorer, score_many
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training import Group, Task, train_detector

CONFIG = "demo"  # configs/demo.yaml


def run_demo(out: Path, seed: int, device: str = "auto", engine: str = "auto") -> FrameMetrics:
    """Renders videos, extracts, trains, evaluates and scores, and explains itself on stdout.

    Args:
        out: gets videos/, features/, runs/ and scores/, there a report of the test videos; what is
            finished is not done again.
        seed: of the videos and of the training.
        device: what it runs on.
        engine: what runs the backbone.

    Raises:
        PipelineError: as the stages do.
    """
    started = time.perf_counter()
    settings = load_config(Settings, CONFIG, [], {"train.seed": seed})
    name = f"seed{seed}"
    videos, features, run = out / "videos" / name, out / "features" / name, out / "runs" / name

    _step(1, "render surveillance videos, with ground truth", None)
    labels = _render(videos, seed)
    _step(2, "extract", f"ssrl-pipeline extract -c {CONFIG} --videos {videos} --features {features}")
    store, extractor = _extract(videos, features, settings, device, engine)

    tables = f"--features {features} --labels {videos}/labels.csv"
    command = f"ssrl-pipeline train -c {CONFIG} {tables} --runs {run.parent} --name {name} --seed {seed}"
    _step(3, "train", command)
    with progress_bar(desc="training", unit="evaluation") as bar:
        task = Task(settings, run, store, labels, Group(extractor.device), lambda _: bar.update())
        best = train_detector(task)
    click.echo(TRAINED.format(best=best))

    _step(4, "evaluate", f"ssrl-pipeline evaluate --checkpoint {best} {tables}")
    intervals = read_intervals(videos / "intervals.csv")
    metrics = evaluate_checkpoint(
        load_checkpoint(best), store, labels, intervals, "test", extractor.device
    ).metrics
    _explain(metrics)

    scores = out / "scores" / name
    tables = f"--features {features} --intervals {videos}/intervals.csv"
    command = f"ssrl-pipeline score '{videos}/test_*.mp4' --checkpoint {best} {tables} --out {scores}"
    _step(5, "score the test videos", command)
    report = _score(videos, scores, Scorer(best, device, engine=engine), store, labels, intervals)

    minutes = (time.perf_counter() - started) / 60
    done = f"Done in {minutes:.1f} minutes: test AUC {metrics.auc:.3f}."
    click.echo(f"\n{done} {REPORT.format(address=report.absolute().as_uri())}\n\n{NEXT}")
    return metrics


EXTRACTED = """An I3D network that has learnt 400 human actions (Kinetics) describes each snippet of 16
frames by 1024 numbers: the frame's centre, and each of 2x3 patches. {snippets} snippets: {features}/."""

TRAINED = """Training is told which videos are abnormal, never when or where. It keeps the checkpoint that
judges the validation videos best: {best}"""

SCORED = """Each frame has a score from 0 to 1, in VIDEO/scores.csv and drawn in timeline.png beside it. The
store has these videos' features; those of a new video are extracted. In {video},
as an example, the highest score is at frame {peak}; truly anomalous are frames {truth}."""

REPORT = """In a browser, the test videos beside their scores:

  {address}"""

NEXT = """Now your own videos:

  1. Put them into videos/, and write videos/labels.csv: a line video,label,split, then one per video,
     such as street1.mp4,abnormal,train. A dozen of each label is a start; more is better.
  2. ssrl-pipeline extract --videos videos --preset fast     (on a GPU: --preset paper)
  3. ssrl-pipeline train
  4. ssrl-pipeline score new_video.mp4"""


def _render(videos: Path, seed: int) -> Labels:
    if not (videos / "labels.csv").is_file():
        with progress_bar(desc="rendering", unit="video") as bar:
            render_dataset(videos, seed, lambda done, total: _advance(bar, done, total))
    labels = read_labels(videos / "labels.csv")
    rows = []
    for split in SPLITS:
        kinds = [label.abnormal for label in labels.values() if label.split == split]
        rows.append((split, kinds.count(False), kinds.count(True)))
    kinds_of_anomaly = ", a ".join(ANOMALIES)
    click.echo(f"A plaza under one fixed camera. In an abnormal video a {kinds_of_anomaly} passes.")
    click.echo(table(rows, ("videos to", "normal", "abnormal")))
    return labels


def _extract(
    videos: Path, features: Path, settings: Settings, device: str, engine: str
) -> tuple[FeatureStore, FeatureExtractor]:
    chosen = settings.extract
    options = ExtractorOptions(chosen.backbone, chosen.preset, patches=chosen.patches, engine=engine)
    extractor = options.settled(features, [device]).build(device)
    store, outcomes = extract(videos, features, extractor, chosen.dtype, SnippetBar)
    if failed := [outcome for outcome in outcomes if outcome.status == FAILED]:
        raise PipelineError(failed[0].reason)
    click.echo(EXTRACTED.format(snippets=sum(outcome.snippets for outcome in outcomes), features=features))
    return store, extractor


def _score(
    videos: Path, scores: Path, scorer: Scorer, store: FeatureStore, labels: Labels, intervals: Intervals
) -> Path:
    """Scores the test videos; returns the page that shows them all."""
    tests = {video: videos / video for video, label in labels.items() if label.split == "test"}
    truth = {video: intervals.get(video, []) for video in tests}
    outcomes = score_many(
        scorer, tests, scores, index=ContentIndex(store), intervals=truth, begin=SnippetBar, note=say
    )
    if failed := [outcome for outcome in outcomes if outcome.status == FAILED]:
        raise PipelineError(failed[0].reason)
    shown = next(outcome for outcome in outcomes if truth[outcome.video])
    peak = shown.summary["summary"]["peak_frame"]
    told = ", ".join(f"{start} to {end - 1}" for start, end in truth[shown.video])
    click.echo(SCORED.format(video=shown.video, peak=peak, truth=told))
    return scores / "report.html"


def _explain(metrics: FrameMetrics) -> None:
    chance = f"{metrics.anomalous_frames / metrics.frames:.2f}"
    rows = [
        (
            "ROC AUC, all test videos",
            metrics.auc,
            "how often an anomalous frame outscores a normal one; chance 0.5",
        ),
        (
            "ROC AUC, abnormal videos",
            metrics.abnormal_auc,
            "the same within these: when, not only in which video",
        ),
        ("average precision", metrics.ap, f"mean precision over all thresholds; chance {chance}"),
    ]
    click.echo(table(rows, ("figure", "value", "meaning")))


def _step(number: int, title: str, command: str | None) -> None:
    click.echo(f"\n[{number}/5] {title}")
    if command:
        click.echo(f"  $ {command}")


def _advance(bar: tqdm, done: int, total: int | None = None) -> None:
    bar.total = total or bar.total
    bar.update(done - bar.n)
