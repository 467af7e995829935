"""Stage one: every video of a folder into the feature store.

    ssrl-pipeline extract --videos videos/

What is already stored is skipped; a video that fails does not stop the others. Several
extractions may share a store: each takes the next video that no other is at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.cluster import Place
from ssrl_pipeline.console import SKIPPED, Outcome, Progress, Workload
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extraction.storing import claim_each, store_videos
from ssrl_pipeline.extraction.videos import expected_snippets, videos_of
from ssrl_pipeline.extractors import FeatureExtractor, UnchangedRule, find_device
from ssrl_pipeline.extractors.engines import (
    check_engine,
    choose_precision,
    has_int8_pools,
    unnamed,
    warn_of_calibration,
)
from ssrl_pipeline.features import FeatureStore, Recipe, create_store, open_store
from ssrl_pipeline.scales import MOTION, view_size

WITH_MOTION = ("fast", "live")  # presets whose new stores have it; published recipes stay as they are
WORKERS = {"cpu": 1, "cuda": 4}  # videos decoded at the same time


class ExtractorOptions(NamedTuple):
    """What makes a FeatureExtractor: it travels to other processes, for each to make its own."""

    backbone: str = "i3d"
    preset: str = "paper"
    weights: str | None = None
    patches: str = "exact"
    engine: str = "auto"
    precision: str = "auto"
    picture_fps: float | None = None
    fps: float | None = None
    calibration: str | None = None
    motion: bool | None = None  # None: not decided; nobody extracts it
    unchanged: UnchangedRule | None = None
    int8_pools: bool = True

    def settled(self, features: Path | str, devices: Sequence[str]) -> "ExtractorOptions":
        """With what is not named decided as the store that is there has it.

        Where there is none, a precision of `auto` is the CPU's best, and presets of WITH_MOTION have motion.

        Args:
            features: the store, or where one is to be.
            devices: of this machine, which will extract; none: others will. Where not all are the CPU,
                `auto` stays, and each takes what fits features without a named precision.

        Raises:
            PipelineError: one of the devices does not work in that precision, which is told before a store is
                made in it.
        """
        try:
            stored = open_store(features).recipe
        except StoreError:  # there is none, or who extracts will say what is wrong
            stored = None
        wanted, motion = self.precision, self.motion
        if motion is None:
            motion = self.preset in WITH_MOTION if stored is None else MOTION in stored["views"]
        if wanted == "auto" and stored is not None:
            wanted = stored.get("precision", "auto")
        elif wanted == "auto" and {find_device(name).type for name in devices} == {"cpu"}:
            wanted = choose_precision("auto", torch.device("cpu"), self.engine)
        warn_of_calibration(wanted, self.calibration)
        settled = self._replace(precision=wanted, motion=motion, int8_pools=has_int8_pools(stored))
        for name in devices:
            settled.check(name)
        return settled

    def check(self, device: str) -> None:
        """Raises PipelineError where the device does not work in that precision, or with that engine."""
        check_engine(self.engine, self.precision, find_device(device))

    def build(self, device: str) -> FeatureExtractor:
        """An extractor; in a precision of `auto`, one whose features fit any device's without a named one.

        Raises:
            PipelineError: an unknown name, a missing device, weights that cannot be had.
        """
        chosen = self._asdict()
        if self.precision == "auto":
            chosen["precision"] = unnamed(find_device(device))
        chosen["motion"] = bool(self.motion)
        return FeatureExtractor(device=device, **chosen)

    def planner(self) -> FeatureExtractor:
        """An extractor to plan by, of what others extract; it is on the CPU, also where that could not.

        Raises:
            PipelineError: as of :meth:`build`.
        """
        extractor = self._replace(engine="auto", precision="float32").build("cpu")
        extractor.precision = self.precision  # which its recipe tells
        return extractor


Extracting = Place[Path, FeatureExtractor, FeatureStore, Outcome]


def extract_here(workers: int | None = None) -> Extracting:
    """In this process.

    Args:
        workers: how many videos are decoded at the same time; None: 1 on a CPU, 4 on a GPU.
    """

    def place(
        videos: Mapping[str, Path], extractor: FeatureExtractor, store: FeatureStore, progress: Progress
    ) -> Iterable[Outcome]:
        at_once = workers or WORKERS[extractor.device.type]
        return store_videos(claim_each(store, videos), store, extractor, at_once, progress).values()

    return place


def extract(
    videos: Path | Mapping[str, Path],
    features: Path | str,
    extractor: FeatureExtractor,
    dtype: str = "float32",
    begin: Callable[[Workload], Progress] = lambda workload: Progress(),
    place: Extracting | None = None,
) -> tuple[FeatureStore, list[Outcome]]:
    """Extracts what of some videos the store does not hold yet, the longest video first.

    Args:
        videos: a folder, one video, or name -> path, as `find_videos` finds them.
        features: the store, a folder or its URL; made where it is missing.
        extractor: that extracts, or plans what other places extract.
        dtype: of the stored features.
        begin: told the workload, gives what is told of the progress.
        place: does the work, see :mod:`ssrl_pipeline.extraction.elsewhere` for others; None: this process.

    Returns:
        the store, and an outcome per video, in order; errors of a video are in its outcome.

    Raises:
        PipelineError: there are no videos, the store is of another recipe, or the disk is full.
    """
    videos = videos_of(videos, extractor.picture_fps is not None)
    store = create_store(features, extractor.recipe, dtype)
    todo, workload = _plan(videos, store, extractor)
    progress = begin(workload)
    place = place or extract_here()
    try:
        outcomes = _skip(videos.keys() - todo.keys(), store, progress)
        outcomes |= {one.video: one for one in place(todo, extractor, store, progress)}
    finally:
        progress.close()
    return store, [outcomes[name] for name in videos]


def _plan(
    videos: Mapping[str, Path], store: FeatureStore, extractor: FeatureExtractor
) -> tuple[dict[str, Path], Workload]:
    """What the store does not hold, the longest first: so that no worker is left alone with it at the end."""
    fps = extractor.picture_fps
    todo = [name for name, path in videos.items() if not store.is_current(name, path, fps)]
    drop_last = extractor.preset.drop_last
    expected = expected_snippets([videos[name] for name in todo], drop_last, extractor.fps, fps)
    counts = {name: one.snippets for name, one in zip(todo, expected, strict=True)}
    longest_first = sorted(todo, key=lambda name: -counts[name])
    snippets = sum(counts.values())
    size = snippets * snippet_bytes(store.recipe, store.dtype)
    return {name: videos[name] for name in longest_first}, Workload(len(videos), len(todo), snippets, size)


def snippet_bytes(recipe: Recipe, dtype: str) -> int:
    """The bytes that the features of a snippet take in a store."""
    numbers = sum(count * view_size(recipe, view) for view, count in recipe["views"].items())
    return int(numbers * np.dtype(dtype).itemsize)


def _skip(videos: Iterable[str], store: FeatureStore, progress: Progress) -> dict[str, Outcome]:
    """Outcomes of what is stored already."""
    outcomes = {}
    for name in sorted(videos):
        progress.start(name)
        meta = store.meta(name)
        outcomes[name] = Outcome(name, SKIPPED, meta.snippets, reason=meta.damage)
        progress.finish(outcomes[name])
    return outcomes
