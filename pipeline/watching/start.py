"""A watch as the settings and its cameras have it: its models, its rules of events, its metrics.

ssrl-pipeline watch gate=rtsp://gate/stream --metrics-port 9100
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.console import say
from ssrl_pipeline.disk import find_checkpoint
from ssrl_pipeline.errors import CheckpointError
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import Keep
from ssrl_pipeline.scoring import Cameras, Scorer
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching.cameras import CameraEntry
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.post import Line
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.watch import See, Watch

_Version = tuple[Path, int, int]  # a checkpoint's file, when it was written, its size


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

    def plans(self, entries: Sequence[CameraEntry]) -> list[Plan]:
        """What is to be watched; models that are not needed any more are let go.

        Raises:
            PipelineError: a checkpoint, or the weights of its features, cannot be had.
        """
        versions = [self._find(entry.checkpoint) for entry in entries]
        loaded = {version: self._loaded.get(version) for version in versions}
        self._loaded = {version: known or self._load(version[0]) for version, known in loaded.items()}
        self._say_own(entries, versions)
        return [
            Plan(
                entry.source,
                _of_camera(*self._loaded[version], entry.source.name),
                entry.threshold,
                entry.sight,
                entry.hours,
            )
            for entry, version in zip(entries, versions, strict=True)
        ]

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
        try:
            state = path.stat()
        except OSError:
            load_checkpoint(path)  # says what is wrong with it
            raise
        return path, state.st_mtime_ns, state.st_size

    def _load(self, path: Path) -> tuple[Analysis, Cameras]:
        of, events = self._settings.extract, self._settings.events
        how = (of.weights, events, of.engine, of.precision)
        scorer = Scorer(
            *(path, self._device, *how),
            calibration=of.calibration,
            unchanged=of.unchanged,
            extractors=self._extractors,
        )
        extractor = scorer.extractor
        say(f"watching with {path} on {scorer.device} in {extractor.precision}")
        say(f"events: {scorer.chosen}")
        if scorer.teller is None:
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
            teller=scorer.teller,
        )
        return analysis, scorer.cameras


def _of_camera(common: Analysis, cameras: Cameras, name: str) -> Analysis:
    """The common analysis, with what the checkpoint has for the camera by itself."""
    own, rules = cameras.of(name), tuple(cameras.rule(name, hour).rule for hour in range(24))
    by_hour = rules if set(rules) != {own.chosen.rule} else ()
    return replace(common, model=own.model, rule=own.chosen.rule, by_hour=by_hour)


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
