"""Extraction as the settings have it: what describes the videos, into which store, in which processes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.cluster import ClusterOptions, chosen_workers, parse_devices
from ssrl_pipeline.console import DONE, Outcome, Progress, Workload, say, size
from ssrl_pipeline.disk import free_bytes, require_writable
from ssrl_pipeline.extraction.elsewhere import extract_elsewhere
from ssrl_pipeline.extraction.estimate import Estimate, estimate
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract, extract_here
from ssrl_pipeline.extraction.videos import slow_videos
from ssrl_pipeline.extractors import Repeats, UnchangedRule, tell_repeats
from ssrl_pipeline.features import FeatureStore, is_store, open_store
from ssrl_pipeline.settings import ExtractSettings, Settings


def extract_videos(
    settings: Settings,
    videos: Mapping[str, Path],
    features: Path | str,
    device: str = "auto",
    devices: str | None = None,
    cluster: ClusterOptions | None = None,
    show: Callable[[Workload], Progress] = lambda workload: Progress(),
) -> tuple[FeatureStore, list[Outcome]]:
    """:func:`ssrl_pipeline.extraction.stage.extract` with the extractor that the settings name.

    Args:
        videos: name -> path, as `find_videos` finds them.
        features: the store, a folder or its address.
        device: as of :func:`chosen_workers`, as are `devices` and `cluster`.
        show: told the workload, gives what shows the progress.
    """
    chosen = settings.extract
    names = parse_devices(devices, device) if devices else [device]
    options = _options(chosen, features).settled(features, [] if cluster else names)
    if isinstance(features, Path):
        require_writable(features)
    with chosen_workers(device, devices, cluster) as workers:
        if workers:
            workers.require(options.check)
            extractor, on = options.planner(), str(workers)
            place = extract_elsewhere(workers, options, chosen.workers)
        else:
            extractor = options.build(device)
            place, on = extract_here(chosen.workers), f"{extractor.device} in {extractor.precision}"

        def begin(workload: Workload) -> Progress:
            _tell(workload, options, on, features)
            return show(workload)

        store, outcomes = extract(videos, features, extractor, chosen.dtype, begin, place)
    _tell_slow(store, outcomes)
    _tell_repeats(store, outcomes)
    return store, outcomes


class DryRun(NamedTuple):
    estimate: Estimate
    devices: int  # that share the work


def estimate_videos(
    settings: Settings,
    videos: Mapping[str, Path],
    features: Path | str,
    device: str = "auto",
    devices: str | None = None,
) -> DryRun:
    """What :func:`extract_videos` on devices of this machine would take."""
    chosen = settings.extract
    names = parse_devices(devices, device) if devices else [device]
    share = len(set(names))  # processes on one device share it: they are no faster than one
    extractor = _options(chosen, features).settled(features, names).build(names[0])
    return DryRun(estimate(videos, features, extractor, chosen.dtype, share, chosen.workers), share)


def _options(of: ExtractSettings, features: Path | str) -> ExtractorOptions:
    return ExtractorOptions(
        of.backbone,
        of.preset,
        of.weights,
        patches=of.patches,
        engine=of.engine,
        precision=of.precision,
        picture_fps=of.frames,
        fps=of.fps,
        calibration=of.calibration,
        motion=of.motion,
        unchanged=_rule(of, features),
    )


def _rule(of: ExtractSettings, features: Path | str) -> UnchangedRule | None:
    """For clips that do not change: that of the store that is there; "auto" without one is none."""
    own = UnchangedRule.of_recipe(open_store(features).recipe) if is_store(features) else None
    if of.unchanged == "auto":
        return own
    return (own or UnchangedRule()) if of.unchanged == "repeat" else None


def _tell(workload: Workload, options: ExtractorOptions, on: str, features: Path | str) -> None:
    """Says what will be done."""
    if isinstance(features, Path) and workload.bytes > (free := free_bytes(features)):
        say(
            f"the disk of {features} is too small: the features will take {size(workload.bytes)}, "
            f"{size(free)} are free; --dtype float16 halves them"
        )
    dense = " with dense patches" if options.patches == "dense" else ""
    rate = "" if options.fps is None else f" at {options.fps:g} frames a second"
    motion = " and motion" if options.motion else ""
    repeat = "" if options.unchanged is None else ", those that do not change once"
    recipe = f"{options.preset} views{motion}{dense}{rate}{repeat}, {options.backbone} on {on}"
    say(f"{workload.videos} videos, {workload.todo} to extract: {recipe}")
    if on.startswith("cpu") and options.preset == "paper" and workload.todo:
        say("a CPU needs seconds for a snippet of the paper's views; --preset fast takes a third of that")


def _tell_repeats(store: FeatureStore, outcomes: Sequence[Outcome]) -> None:
    """Says what was saved by descriptions that were taken again, and what it cost."""
    if "unchanged" in store.recipe:
        metas = [store.meta(one.video) for one in outcomes if one.status == DONE]
        if told := tell_repeats(Repeats.from_json(meta.repeats) for meta in metas):
            say(told)


def _tell_slow(store: FeatureStore, outcomes: Sequence[Outcome]) -> None:
    """Says once which new videos have fewer frames a second than the recipe."""
    if rate := store.recipe.get("fps"):
        metas = {one.video: store.meta(one.video) for one in outcomes if one.status == DONE}
        if note := slow_videos({name: meta.fps for name, meta in metas.items() if not meta.starts}, rate):
            say(note)
