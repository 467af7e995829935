"""A watch as the settings and its cameras have it: its models, its rules of events, its metrics.

ssrl-pipeline watch gate=rtsp://gate/stream --metrics-port 9100
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.console import say
from ssrl_pipeline.disk import find_checkpoint
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import Keep
from ssrl_pipeline.scoring import Cameras, ScorerOptions
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching.cameras import CameraEntry
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.post import Line
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.watch import See, Watch

_Version = tuple[Path, int, int, int, int]  # a checkpoint's file, and which it was; see `_version`


class Models:
    """The checkpoints of cameras: each is loaded once, and those of one recipe share what extracts.

    Args:
        settings: of the extraction and the events.
        checkpoint: of cameras that name none; None: the newest run's best.
        device: what scores.
    """

    def __init__(self, settings: Settings, checkpoint: Path | None, device: str):
        self._settings, self._checkpoint, self._device = settings, checkpoint, device
        self._extractors: dict[tuple[Any, ...], FeatureExtractor] = {}
        self._loaded: dict[_Version, tuple[Analysis, Cameras]] = {}
        self._views: dict[_Version, Mapping[str, int]] = {}
        self._watched: list[tuple[CameraEntry, _Version]] = []  # as `plans` had them last
        self._seen: set[_Version] = set()  # of files that were replaced, at the last look
        self._refused: set[_Version] = set()

    def views(self, checkpoint: Path | None) -> Mapping[str, int]:
        """What a checkpoint's model looks at: name -> number of patches or crops.

        Raises:
            PipelineError: it cannot be had.
        """
        version = self._find(checkpoint)
        if version not in self._views:
            self._views[version] = load_checkpoint(version[0]).build().views
        return self._views[version]

    def views_if_any(self, checkpoint: Path | None) -> Mapping[str, int]:
        """The same; nothing where none is named and there is none yet."""
        try:
            return self.views(checkpoint)
        except CheckpointError:
            if checkpoint or self._checkpoint:
                raise
            return {}

    @contextmanager
    def trying(self) -> Iterator[None]:
        """What is watched stays what it was where the block raises."""
        before = self._loaded, self._watched
        try:
            yield
        except BaseException:
            self._loaded, self._watched = before
            raise

    def plans(self, entries: Sequence[CameraEntry]) -> list[Plan]:
        """What is to be watched; models that are not needed any more are let go.

        Raises:
            PipelineError: a checkpoint, or the weights of its features, cannot be had.
        """
        versions = [self._find(entry.checkpoint) for entry in entries]
        loaded = {version: self._loaded.get(version) for version in versions}
        self._loaded = {version: known or self._load(version[0]) for version, known in loaded.items()}
        self._say_own(entries, versions)
        self._watched = list(zip(entries, versions, strict=True))
        return self._plans()

    def _plans(self) -> list[Plan]:
        return [
            Plan(
                entry.source,
                _of_camera(*self._loaded[version], entry.source.name),
                entry.threshold,
                entry.sight,
                entry.hours,
            )
            for entry, version in self._watched
        ]

    def renewed(self) -> list[Plan] | None:
        """What is to be watched now that files of checkpoints are others; None: none is.

        To be called every few seconds. A file that was replaced is taken once it has stayed as it is from one
        call to the next, and fits. One that does not is said, and what was loaded before goes on.
        """
        news = {}
        for version, (_, cameras) in self._loaded.items():
            fresh = _version(version[0])
            if fresh is None or fresh == version or fresh in self._refused:
                continue
            if fresh not in self._seen:
                self._seen.add(fresh)
                continue
            try:
                _require_like(version[0], cameras.checkpoint)
                news[version] = fresh, self._load(version[0])
            except (PipelineError, OSError) as error:
                self._refused.add(fresh)
                say(f"{error}; the cameras go on with {version[0]} as it was", logging.ERROR)
        if not news:
            return None
        self._seen.clear()
        self._loaded = dict(news.get(version, (version, known)) for version, known in self._loaded.items())
        self._watched = [
            (entry, news[version][0] if version in news else version) for entry, version in self._watched
        ]
        return self._plans()

    def _say_own(self, entries: Sequence[CameraEntry], versions: Sequence[_Version]) -> None:
        """Which cameras have a detector or thresholds of their own."""
        for version, (_, cameras) in self._loaded.items():
            names = [
                entry.source.name for entry, own in zip(entries, versions, strict=True) if own == version
            ]
            for line in (*cameras.told(names, "stream"), *cameras.told_hours(names)):
                say(line)

    def _find(self, checkpoint: Path | None) -> _Version:
        path = find_checkpoint(checkpoint or self._checkpoint, Path(self._settings.data.runs))
        if (version := _version(path)) is None:
            load_checkpoint(path)  # says what is wrong with it
            raise CheckpointError(f"{path}: cannot be read")
        return version

    def _load(self, path: Path) -> tuple[Analysis, Cameras]:
        scorer = ScorerOptions.of(path, self._settings).build(self._device, self._extractors)
        extractor = scorer.extractor
        say(f"watching with {path} on {scorer.device} in {extractor.precision}")
        say(f"events: {scorer.chosen}")
        if not (scorer.head and scorer.cameras.of(None).usual):
            unknown = "the checkpoint does not know what its cameras normally show; one trained anew does"
            say(f"events have no words: {scorer.wordless or unknown}")
        analysis = Analysis(
            scorer.model,
            scorer.device,
            extractor.describe,
            scorer.chosen.rule,
            drop_last=extractor.preset.drop_last,
            pending=extractor.pending,
            unchanged=extractor.unchanged,
            chosen_fps=extractor.fps,
            head=scorer.head,
        )
        return analysis, scorer.cameras


def _version(path: Path) -> _Version | None:
    """Of a file as it is; None where it is not there.

    What amends a checkpoint keeps the time at which it was trained, and often its size: the file is another.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return path, state.st_mtime_ns, state.st_size, state.st_ino, state.st_ctime_ns


def _require_like(path: Path, before: Checkpoint) -> None:
    """Raises CheckpointError: what is in a file cannot take a running checkpoint's place."""
    after = load_checkpoint(path)
    if after.kind != before.kind:
        raise CheckpointError(
            f"{path}: was replaced by a detector of the kind {after.kind}, not {before.kind}; "
            "start again to watch with it"
        )
    if after.recipe != before.recipe:
        names = before.recipe.keys() | after.recipe.keys()
        other = sorted(name for name in names if before.recipe.get(name) != after.recipe.get(name))
        raise CheckpointError(
            f"{path}: was replaced by a detector of other features ({', '.join(other)}); "
            "start again to watch with it"
        )


def _of_camera(common: Analysis, cameras: Cameras, name: str) -> Analysis:
    """The common analysis, with what the checkpoint has for the camera by itself."""
    own, rules = cameras.of(name), tuple(cameras.rule(name, hour).rule for hour in range(24))
    by_hour = rules if set(rules) != {own.chosen.rule} else ()
    return replace(common, model=own.model, rule=own.chosen.rule, by_hour=by_hour, usual=own.usual)


@contextmanager
def open_watch(
    settings: Settings,
    plans: Sequence[Plan],
    tell: Callable[[Line], object],
    metrics: tuple[str, int] | None = None,
    keep: Keep | None = None,
    see: See | None = None,
) -> Iterator[Watch]:
    """A watch that is ready to run.

    Args:
        tell: takes each line of the result.
        metrics: the address and the port to serve them on, as long as the context lasts.
        keep: of each camera's packets, for clips.
        see: takes each camera's pictures; see :class:`Watch`.

    Raises:
        PipelineError: the port cannot be had.
    """
    watch = Watch(plans, settings.watch, tell, say, keep=keep, see=see)
    with serve_metrics(watch.posts, *metrics) if metrics else nullcontext() as port:
        if metrics:
            host = f"[{metrics[0]}]" if ":" in metrics[0] else metrics[0]
            say(f"metrics: http://{host}:{port}/metrics")
        yield watch
