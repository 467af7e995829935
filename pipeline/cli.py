"""The command line: each command parses, calls one library function and shows the result.

    ssrl-pipeline --help

Exit codes: 0 done, 1 something failed (and which), 2 wrong usage, 130 interrupted.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline._version import __version__
from ssrl_pipeline.config import load_config
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.labels import SPLITS, Intervals, Labels, labels_from_folders, read_intervals, read_labels
from ssrl_pipeline.settings import Settings

if TYPE_CHECKING:
    from ssrl_pipeline.store import FeatureStore

PATH = click.Path(path_type=Path)

config_option = click.option(
    "-c", "--config", metavar="FILE", help="YAML file of settings, or a ready one's name."
)
set_option = click.option(
    *("-o", "--set", "assignments"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one setting, as in -o train.steps=200.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
features_option = click.option("--features", metavar="DIR", help="Feature store.  [default: features]")
labels_option = click.option(
    "--labels",
    metavar="FILE",
    help="Table video,label[,split].  [default: labels.csv here or in videos/, else the folders' names]",
)
checkpoint_option = click.option(
    "--checkpoint", type=PATH, help="Checkpoint.  [default: best.pt of the newest run]"
)
weights_option = click.option(
    "--weights", metavar="FILE", help="Backbone weights.  [default: the published ones, fetched once]"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ssrl-pipeline")
def cli() -> None:
    """Raw surveillance video in, frame-by-frame anomaly scores out.

    \b
    ssrl-pipeline extract --videos videos/    videos -> features
    ssrl-pipeline train                       features + video labels -> checkpoint
    ssrl-pipeline score video.mp4             new video -> a score of every frame

    `ssrl-pipeline demo` shows all three on videos that it renders itself.
    """


@cli.command()
@click.option("--videos", metavar="DIR", help="Folder of videos, or one video.  [default: videos]")
@features_option
@click.option("--preset", help="Views of a snippet: paper, fast, live or gowtham.  [default: paper]")
@click.option("--backbone", help="i3d, i3d_r50 or i3d_r50_nl.  [default: i3d]")
@weights_option
@click.option("--dtype", help="Type of the stored features: float32 or float16.  [default: float32]")
@device_option
@config_option
@set_option
@json_option
def extract(
    config: str | None, assignments: tuple[str, ...], device: str, as_json: bool, **flags: Any
) -> None:
    """Turn videos into a store of multi-scale I3D features.

    A second run skips what is finished. A video that fails does not stop the
    others; the table at the end says which failed and why.
    """
    sections = {"data": ("videos", "features"), "extract": ("preset", "backbone", "weights", "dtype")}
    settings = _settings(config, assignments, flags, **sections)
    from ssrl_pipeline import extract as stage
    from ssrl_pipeline.extractors import FeatureExtractor
    from ssrl_pipeline.store import DTYPES, FeatureStore
    from ssrl_pipeline.terminal import SnippetBar, say, table

    chosen = settings.extract
    if chosen.dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {chosen.dtype!r}; there are {', '.join(DTYPES)}")
    videos = stage.find_videos(Path(settings.data.videos))
    extractor = FeatureExtractor(chosen.backbone, chosen.preset, device, chosen.weights)
    store = FeatureStore.create(Path(settings.data.features), extractor.recipe, chosen.dtype)
    todo = [path for name, path in videos.items() if not store.is_current(name, path)]
    recipe = f"{chosen.preset} views, {chosen.backbone} on {extractor.device}"
    say(f"{len(videos)} videos, {len(todo)} to extract: {recipe}")
    if extractor.device.type == "cpu" and chosen.preset == "paper" and todo:
        say("the paper's views take a CPU long (seconds per snippet); --preset fast takes a third of that")
    bar = SnippetBar(len(videos), stage.expected_snippets(todo, extractor.preset.drop_last))
    try:
        outcomes = stage.extract(videos, store, extractor, bar)
    finally:
        bar.close()
    if as_json:
        _echo_json({"features": str(store.root), "videos": [o._asdict() for o in outcomes]})
    else:
        rows = [(o.video, o.status, o.snippets, round(o.seconds, 1), o.reason) for o in outcomes]
        click.echo(table(rows, ("video", "status", "snippets", "seconds", "reason")))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed:
        raise PipelineError(f"{failed} of {len(outcomes)} videos failed; the others are in {store.root}")


@cli.command()
@features_option
@labels_option
@click.option("--runs", metavar="DIR", help="Folder of all runs.  [default: runs]")
@click.option("--name", help="Folder of this run; an unfinished one goes on.  [default: date and time]")
@click.option("--seed", type=int, help="Of initial weights, batches and dropout.  [default: 0]")
@click.option("--steps", type=int, help="Steps of each stage.")
@device_option
@config_option
@set_option
@json_option
def train(
    name: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Learn a detector from features and video labels."""
    settings = _settings(
        config, assignments, flags, data=("features", "labels", "runs"), train=("seed", "steps")
    )
    from ssrl_pipeline import train as stage
    from ssrl_pipeline.extractors.extractor import find_device
    from ssrl_pipeline.store import FeatureStore
    from ssrl_pipeline.terminal import say, table

    store = FeatureStore.open(Path(settings.data.features))
    labels = _labels(settings, store)
    run = Path(settings.data.runs) / (name or time.strftime("%Y%m%d-%H%M%S"))

    def report(e: stage.Evaluation) -> None:
        val = "" if e.val_loss is None else f"  validation {e.val_loss:.4f}{'  best' if e.best else ''}"
        say(f"stage {e.stage}  step {e.step:4d}  loss {e.loss:.4f}  bags {e.bags:.4f}{val}")

    result = stage.train(store, labels, run, settings.model, settings.train, find_device(device), report)
    if not result.split.val:
        say("too few videos to keep some for validation: the last step of each stage counts as its best")
    last = {e.stage: e for e in result.evaluations if e.best}
    if as_json:
        _echo_json({"checkpoint": str(result.best), "stages": [e._asdict() for e in last.values()]})
        return
    rows = [
        (e.stage, e.step, e.loss, float("nan") if e.val_loss is None else e.val_loss) for e in last.values()
    ]
    click.echo(table(rows, ("stage", "best step", "loss", "validation")))
    click.echo(f"{result.best}")


@cli.command()
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
    settings = _settings(config, assignments, flags, data=("features", "labels", "intervals", "runs"))
    from ssrl_pipeline import evaluate as stage
    from ssrl_pipeline.checkpoint import load_checkpoint, newest_checkpoint
    from ssrl_pipeline.extractors.extractor import find_device
    from ssrl_pipeline.store import FeatureStore
    from ssrl_pipeline.terminal import table

    path = checkpoint or newest_checkpoint(Path(settings.data.runs))
    loaded = load_checkpoint(path)
    store = FeatureStore.open(Path(settings.data.features))
    labels, intervals = _labels(settings, store), _intervals(settings)
    result = stage.evaluate(loaded, store, labels, intervals, split, find_device(device))
    m = result.metrics
    if as_json:
        figures = {key: None if value != value else value for key, value in m._asdict().items()}
        _echo_json({"checkpoint": str(path), "split": split, **figures})
        return
    click.echo(f"{path}, {split}: {m.videos} videos, {m.frames} frames, {m.anomalous_frames} anomalous")
    rows = [
        ("all videos", m.auc, m.ap),
        (f"{m.abnormal_videos} abnormal videos", m.abnormal_auc, m.abnormal_ap),
    ]
    click.echo(table(rows, ("frames of", "ROC AUC", "average precision")))


@cli.command()
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
    settings = _settings(config, assignments, flags, data=("runs",), extract=("weights",))
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
        _echo_json(summaries)
    elif summaries:
        rows = [
            (*(s[k] for k in ("video", "frames")), *s["summary"].values(), s["folder"]) for s in summaries
        ]
        click.echo(
            table(rows, ("video", "frames", "mean", "max", "peak frame", "peak time (s)", "written to"))
        )
    if failed:
        raise PipelineError(f"{failed} of {len(videos)} videos failed")


@cli.group()
def weights() -> None:
    """List, fetch and verify the weights of the backbones."""


@weights.command("list")
@json_option
def weights_list(as_json: bool) -> None:
    """Which weights there are, under what licence, and which are cached."""
    from ssrl_pipeline.extractors.weights import SOURCES, cache_path
    from ssrl_pipeline.terminal import table

    rows = [
        (s.backbone, "yes" if cache_path(s.backbone).exists() else "no", s.licence, s.origin)
        for s in SOURCES.values()
    ]
    header = ("backbone", "cached", "licence", "origin")
    if as_json:
        _echo_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        click.echo(table(rows, header))


@weights.command("fetch")
@click.argument("backbone", type=click.Choice(["i3d", "i3d_r50", "i3d_r50_nl"]))
def weights_fetch(backbone: str) -> None:
    """Download weights, check them, and keep them as safetensors."""
    from ssrl_pipeline.extractors.weights import cache_path, content_sha256, fetch

    click.echo(f"{cache_path(backbone)}  SHA-256 of the weights {content_sha256(fetch(backbone))}")


@weights.command("verify")
@click.argument("backbones", nargs=-1)
def weights_verify(backbones: tuple[str, ...]) -> None:
    """Check cached weights against their SHA-256; all that are cached, or those named."""
    from ssrl_pipeline.extractors.weights import SOURCES, cache_path
    from ssrl_pipeline.extractors.weights import verify as check

    if unknown := [name for name in backbones if name not in SOURCES]:
        raise click.UsageError(f"unknown backbone {unknown[0]!r}; there are {', '.join(SOURCES)}")
    chosen = backbones or [name for name in SOURCES if cache_path(name).exists()]
    if not chosen:
        raise PipelineError("no weights are cached; fetch some with `ssrl-pipeline weights fetch i3d`")
    for name in chosen:
        check(name)
        click.echo(f"{name}: {cache_path(name)} is what it should be")


@cli.command()
@click.option("--out", type=PATH, default="demo", show_default=True, help="Folder for all that it makes.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the rendered videos and the training."
)
@device_option
def demo(out: Path, seed: int, device: str) -> None:
    """Run the whole pipeline on videos that it renders itself, with real I3D weights."""
    from ssrl_pipeline.demo import run_demo

    run_demo(out, seed, device)


@cli.command()
@json_option
def info(as_json: bool) -> None:
    """Versions, devices, decoders and caches: what to send along with a bug report."""
    from ssrl_pipeline.info import collect
    from ssrl_pipeline.terminal import table

    facts = collect()
    if as_json:
        _echo_json(facts)
    else:
        click.echo(table(list(facts.items()), ("what", "found")))


def main() -> None:
    """Runs the command line; a user's mistake ends in one line on stderr."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        _fail(error, 2)
    except (PipelineError, OSError) as error:
        _fail(error, 1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(error: Exception, code: int) -> None:
    click.echo(f"error: {error}", err=True)
    sys.exit(code)


def _settings(
    config: str | None, assignments: tuple[str, ...], flags: dict[str, Any], **sections: tuple[str, ...]
) -> Settings:
    """Defaults < file < --set < named flags; `sections` says in which section a flag belongs."""
    named = {f"{section}.{name}": flags[name] for section, names in sections.items() for name in names}
    return load_config(Settings, config, assignments, named)


def _labels(settings: Settings, store: "FeatureStore") -> Labels:
    path = _labels_file(settings)
    return read_labels(path) if path else labels_from_folders(store.videos())


def _labels_file(settings: Settings) -> Path | None:
    if settings.data.labels:
        return Path(settings.data.labels)
    candidates = (Path("labels.csv"), Path(settings.data.videos, "labels.csv"))
    return next((path for path in candidates if path.is_file()), None)


def _intervals(settings: Settings) -> Intervals:
    if settings.data.intervals:
        return read_intervals(Path(settings.data.intervals))
    labels = _labels_file(settings)
    return read_intervals((labels.parent if labels else Path(settings.data.videos)) / "intervals.csv")
