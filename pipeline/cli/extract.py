"""The command `extract`, and `weights` for the backbones that it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssrl_pipeline.cli.options import (
    cluster_options,
    config_option,
    device_option,
    echo_json,
    engine_option,
    features_option,
    frames_option,
    json_option,
    load_settings,
    precision_option,
    read_cluster,
    set_option,
    weights_option,
)
from ssrl_pipeline.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from ssrl_pipeline.cluster.ray import ClusterOptions
    from ssrl_pipeline.extraction.extract import ExtractorOptions, Plan
    from ssrl_pipeline.extraction.storing import Outcome, Progress
    from ssrl_pipeline.extractors import FeatureExtractor
    from ssrl_pipeline.features.store import FeatureStore

NAMED = 5  # videos in a message
FLAGS = (  # that are settings of the section `extract`
    *("preset", "backbone", "weights", "dtype", "patches"),
    *("engine", "precision", "workers", "frames"),
)


@click.command()
@click.option("--videos", metavar="DIR", help="Folder of videos, or one video.  [default: videos]")
@frames_option
@features_option
@click.option("--preset", help="Views of a snippet: paper, fast, live or gowtham.  [default: paper]")
@click.option("--backbone", help="i3d, i3d_r50 or i3d_r50_nl.  [default: i3d]")
@weights_option
@click.option(
    "--patches",
    help="exact: each passes the backbone by itself; dense: one pass over the frame for all, "
    "an approximation with less work.  [default: exact]",
)
@click.option("--dtype", help="Type of the stored features: float32 or float16.  [default: float32]")
@device_option
@engine_option
@precision_option
@click.option(
    "--workers", type=click.IntRange(1), help="Videos decoded at once.  [default: 1 on a CPU, 4 on a GPU]"
)
@click.option(
    "--devices",
    metavar="N|LIST",
    help="Processes, each on a GPU of its own or all on the CPU, or where: cuda:0,cuda:1.",
)
@cluster_options
@config_option
@set_option
@click.option("--dry-run", is_flag=True, help="Time some snippets, tell what all would take; store nothing.")
@json_option
def extract(
    config: str | None,
    assignments: tuple[str, ...],
    device: str,
    devices: str | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn videos into a store of multi-scale I3D features.

    A second run skips what is finished. A video that fails does not stop the
    others; the table at the end says which failed and why. Of a folder, files with
    the endings of videos are taken; how many others were left out is told.
    """
    of_extract = (
        "preset",
        "backbone",
        "weights",
        "dtype",
        "patches",
        "engine",
        "precision",
        "workers",
        "frames",
    )
    settings = load_settings(config, assignments, flags, data=("videos", "features"), extract=of_extract)
    from ssrl_pipeline.console.terminal import say, table
    from ssrl_pipeline.disk.files import require_writable
    from ssrl_pipeline.extraction import extract as stage
    from ssrl_pipeline.extraction.devices import extract_on_devices, parse_devices
    from ssrl_pipeline.features.opening import location
    from ssrl_pipeline.features.recipe import DTYPES

    chosen = settings.extract
    if chosen.dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {chosen.dtype!r}; there are {', '.join(DTYPES)}")
    videos, features = Path(settings.data.videos), location(settings.data.features)
    stage.find_videos(
        videos, note=say, pictures=chosen.frames is not None
    )  # or an error, before a backbone is made
    if isinstance(features, Path) and not dry_run:
        require_writable(features)
    options = stage.ExtractorOptions(
        *(chosen.backbone, chosen.preset, chosen.weights, chosen.patches, chosen.engine, chosen.precision),
        picture_fps=chosen.frames,
    )
    where = read_cluster(flags)
    if dry_run and where:
        raise click.UsageError("--dry-run times devices of this machine; leave out --cluster")
    if devices and where:
        raise click.UsageError("--devices is of this machine; leave it out, or --cluster")
    names = parse_devices(devices, device) if devices else [device]
    if dry_run:
        # Processes on one device share it: they are no faster than one.
        share = (len(set(names)), chosen.workers)
        _tell_estimate(videos, features, options.build(names[0]), chosen.dtype, share, as_json)
        return
    if where:
        store, outcomes = _extract_on_cluster(videos, features, options, device, chosen.dtype, where)
    elif devices:
        begin = _teller(options, ", ".join(names), features)
        store, outcomes = extract_on_devices(
            videos, features, options, names, chosen.dtype, begin, chosen.workers
        )
    else:
        extractor = options.build(device)
        begin = _teller(options, f"{extractor.device} in {extractor.precision}", features)
        store, outcomes = stage.extract(videos, features, extractor, chosen.dtype, begin, chosen.workers)
    if as_json:
        echo_json({"features": str(store.root), "videos": [o._asdict() for o in outcomes]})
    else:
        rows = [(o.video, o.status, o.snippets, round(o.seconds, 1), o.reason) for o in outcomes]
        click.echo(table(rows, ("video", "status", "snippets", "seconds", "reason")))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed:
        raise PipelineError(f"{failed} of {len(outcomes)} videos failed; the others are in {store.root}")


def _teller(options: "ExtractorOptions", device: str, features: Path | str) -> "Callable[[Plan], Progress]":
    """Says what will be done, and shows how far it is."""
    from ssrl_pipeline.console.terminal import SnippetBar, say
    from ssrl_pipeline.disk.files import free_bytes
    from ssrl_pipeline.extraction.estimate import size

    def begin(plan: "Plan") -> "Progress":
        if isinstance(features, Path) and plan.bytes > (free := free_bytes(features)):
            say(
                f"the disk of {features} is too small: the features will take {size(plan.bytes)}, "
                f"{size(free)} are free; --dtype float16 halves them"
            )
        dense = " with dense patches" if options.patches == "dense" else ""
        recipe = f"{options.preset} views{dense}, {options.backbone} on {device}"
        say(f"{plan.videos} videos, {plan.todo} to extract: {recipe}")
        if device.startswith("cpu") and options.preset == "paper" and plan.todo:
            say("a CPU needs seconds for a snippet of the paper's views; --preset fast takes a third of that")
        return SnippetBar(plan)

    return begin


def _extract_on_cluster(
    videos: Path,
    features: Path | str,
    options: "ExtractorOptions",
    device: str,
    dtype: str,
    where: "ClusterOptions",
) -> "tuple[FeatureStore, list[Outcome]]":
    from ssrl_pipeline.cluster.ray import connected
    from ssrl_pipeline.extraction.on_cluster import extract_on_cluster

    with connected(where, device) as cluster:
        place = f"{cluster.device}, up to {cluster.slots()} tasks of the cluster at once"
        begin = _teller(options, place, features)
        return extract_on_cluster(videos, features, options, cluster, dtype, begin)


def _tell_estimate(
    videos: Path,
    features: Path | str,
    extractor: "FeatureExtractor",
    dtype: str,
    share: tuple[int, int | None],
    as_json: bool,
) -> None:
    from ssrl_pipeline.console.terminal import say, table
    from ssrl_pipeline.extraction.estimate import duration, estimate, size

    devices, workers = share
    found = estimate(videos, features, extractor, dtype, devices, workers)
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


@click.group()
def weights() -> None:
    """List, fetch and verify the weights of the backbones."""


@weights.command("list")
@json_option
def weights_list(as_json: bool) -> None:
    """Which weights there are, under what licence, and which are cached."""
    from ssrl_pipeline.console.terminal import table
    from ssrl_pipeline.extractors.backbones.weights import PUBLISHED, cache_path

    rows = [
        (s.backbone, "yes" if cache_path(s.backbone).exists() else "no", s.licence, s.origin)
        for s in PUBLISHED.values()
    ]
    header = ("backbone", "cached", "licence", "origin")
    if as_json:
        echo_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        click.echo(table(rows, header))


@weights.command("fetch")
@click.argument("backbone", type=click.Choice(["i3d", "i3d_r50", "i3d_r50_nl"]))
def weights_fetch(backbone: str) -> None:
    """Download weights, check them, and keep them as safetensors."""
    from ssrl_pipeline.extractors.backbones.weights import cache_path, content_sha256, fetch

    click.echo(f"{cache_path(backbone)}  SHA-256 of the weights {content_sha256(fetch(backbone))}")


@weights.command("verify")
@click.argument("backbones", nargs=-1)
def weights_verify(backbones: tuple[str, ...]) -> None:
    """Check cached weights against their SHA-256; all that are cached, or those named."""
    from ssrl_pipeline.extractors.backbones.weights import PUBLISHED, cache_path
    from ssrl_pipeline.extractors.backbones.weights import verify as check

    if unknown := [name for name in backbones if name not in PUBLISHED]:
        raise click.UsageError(f"unknown backbone {unknown[0]!r}; there are {', '.join(PUBLISHED)}")
    chosen = backbones or [name for name in PUBLISHED if cache_path(name).exists()]
    if not chosen:
        raise PipelineError("no weights are cached; fetch some with `ssrl-pipeline weights fetch i3d`")
    for name in chosen:
        check(name)
        click.echo(f"{name}: {cache_path(name)} is what it should be")
