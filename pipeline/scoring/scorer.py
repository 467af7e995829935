"""Stage three: a raw video into a score of every frame.

    ssrl-pipeline score video.mp4

Dimensions: N frames, T snippets, P crops or patches, F feature size.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.disk import checkpoint_file
from ssrl_pipeline.errors import CheckpointError, VideoError
from ssrl_pipeline.events import VIEW, EventSettings, WordStream
from ssrl_pipeline.extractors import FeatureExtractor, Repeats, UnchangedRule, find_device
from ssrl_pipeline.extractors.backbones import ActionHead
from ssrl_pipeline.extractors.engines import (
    check_engine,
    has_int8_pools,
    offered,
    unnamed,
    warn_of_calibration,
)
from ssrl_pipeline.features import Features, Recipe
from ssrl_pipeline.models import CHUNK, HeatStream, ScoreStream
from ssrl_pipeline.results import VideoScores
from ssrl_pipeline.scales import MOTION
from ssrl_pipeline.scoring.cameras import Cameras, Fitted
from ssrl_pipeline.scoring.stored import (
    OF_PRECISION,
    as_tensors,
    finite_scores,
    frame_scores,
    require_scorable,
    with_precision_of,
)
from ssrl_pipeline.settings import Settings


class Scorer:
    """Scores videos with one checkpoint, which stays loaded; memory does not grow with their length.

    Args:
        checkpoint: a file, or a run's folder for its best.pt.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: of the backbone; None for the published ones.
        events: what makes frames an event; a threshold of None is the checkpoint's.
        engine: what runs the backbone; see :class:`FeatureExtractor`.
        picture_fps: of folders of pictures; see :class:`FeatureExtractor`.
        precision: of the backbone; `auto` is that of the checkpoint's features where the device works in
            it. Any other scores too, and a warning says so. None: the scorer is to plan by, not to score.
        calibration: of int8; see :class:`FeatureExtractor`.
        extractors: of other scorers, for this one to take if it fits, and to add its own to.
        unchanged: of clips that do not change: `describe` each time, `repeat` their last description, or
            `auto`, as the checkpoint's features were made. Any other scores too, and a warning says so.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
        StoreError: the backbone's weights are not those that the checkpoint's
            features were made with.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "auto",
        weights: str | Path | None = None,
        events: EventSettings | None = None,
        engine: str = "auto",
        precision: str | None = "auto",
        picture_fps: float | None = None,
        calibration: str | Path | None = None,
        unchanged: str = "auto",
        extractors: dict[tuple[Any, ...], FeatureExtractor] | None = None,
    ):
        self.path = checkpoint_file(Path(checkpoint))
        self.checkpoint: Checkpoint = load_checkpoint(self.path)
        self.device = find_device(device)
        self.cameras = Cameras(self.checkpoint, self.device, events)
        common = self.cameras.of(None)
        self.model, self.chosen, self.checkpoint_sha256 = common.model, common.chosen, common.sha256
        recipe = self.checkpoint.recipe
        if weights is None and recipe.get("weights_sha256") == "random":
            weights = "random"
        try:
            backbone, preset = recipe["backbone"], recipe["preset"]
        except KeyError as error:
            raise CheckpointError(f"{self.path}: its recipe names no {error}") from error
        rule = UnchangedRule.of_recipe(recipe)
        if unchanged != "auto":
            rule = (rule or UnchangedRule()) if unchanged == "repeat" else None
        options = {
            "patches": recipe.get("patches", "exact"),
            "fps": recipe.get("fps"),
            "motion": MOTION in recipe.get("views", ()),
            "unchanged": rule,
            "engine": engine,
            "precision": _precision(precision, recipe.get("precision"), self.device, engine),
            "calibration": calibration,
            "int8_pools": has_int8_pools(recipe),
            "picture_fps": picture_fps,
        }
        key = (backbone, preset, device, weights, *options.values())
        known = {} if extractors is None else extractors
        if key not in known:
            known[key] = FeatureExtractor(backbone, preset, device, weights, **options)
        self.extractor = known[key]
        if precision:
            warn_of_calibration(self.extractor.precision, calibration)
        made = self.extractor.recipe if precision else with_precision_of(self.extractor.recipe, recipe)
        require_scorable(recipe, made, f"the checkpoint {self.path}", "this extraction")

    def score(
        self,
        video: str | Path,
        on_snippet: Callable[[], None] = lambda: None,
        group: str | None = None,
    ) -> VideoScores:
        """Extracts and scores one video.

        Args:
            on_snippet: called after each snippet.
            group: the camera, whose own detector and threshold are taken where the checkpoint has them.

        Raises:
            VideoError: the video cannot be decoded.
        """
        video, fitted = Path(video), self.cameras.of(group)
        heat, words = HeatStream(fitted.model, self.device), self._words(fitted)
        with ScoreStream(fitted.model, self.device) as stream:

            def write(features: Mapping[str, np.ndarray]) -> None:
                views = as_tensors(fitted.model.views, features)
                stream.add(views)
                heat.add(views)
                if words:
                    words.add(as_tensors([VIEW], features)[VIEW])
                on_snippet()

            result = self.extractor.write_video(video, write=write)
            if not result.snippets:
                raise VideoError(
                    f"{video}: {result.frames} frames are too few for one snippet of this preset"
                )
            snippet_scores = finite_scores(str(video), stream.scores())
        info, times = result.info, result.times
        about = (times.fps, info.width, info.height, result.decoder)
        scores = frame_scores(snippet_scores, result.frames, result.starts)
        scored = self._result(video, snippet_scores, scores, about, heat, self.extractor.recipe, fitted)
        scored = replace(scored, damage=result.damage, stamps=times.stamps, starts=result.starts)
        scored = replace(scored, repeats=result.repeats or Repeats())
        return replace(scored, words=words.words() if words else None)

    def score_from(
        self, store: Features, stored: str, video: str | Path, group: str | None = None
    ) -> VideoScores:
        """Scores one video by features that are there already: nothing is decoded or extracted.

        Args:
            store: of the checkpoint's recipe, but for the precision.
            stored: the video's name in it.
            video: the file.
            group: as of :meth:`score`.

        Raises:
            StoreError: the store is of another recipe, lacks the video, or what it has is damaged.
            PipelineError: the features are not finite.
        """
        names = f"the checkpoint {self.path}", f"the store {store.root}"
        require_scorable(self.checkpoint.recipe, store.recipe, *names)
        fitted = self.cameras.of(group)
        heat, words = HeatStream(fitted.model, self.device), self._words(fitted)
        features = store.read(stored, {*fitted.model.views, *([VIEW] if words else [])})
        meta, times, starts = store.meta(stored), store.times(stored), store.starts(stored)
        with ScoreStream(fitted.model, self.device) as stream:
            for begin in range(0, meta.snippets, CHUNK):
                part = {name: rows[begin : begin + CHUNK] for name, rows in features.items()}
                views = as_tensors(fitted.model.views, part)
                stream.add(views)
                heat.add(views)
                if words:
                    words.add(as_tensors([VIEW], part)[VIEW])
            snippet_scores = finite_scores(str(video), stream.scores())
        about = (times.fps, meta.width, meta.height, meta.decoder)
        scores = frame_scores(snippet_scores, meta.frames, starts)
        result = self._result(Path(video), snippet_scores, scores, about, heat, store.recipe, fitted)
        result = replace(result, stored=True, damage=meta.damage, stamps=times.stamps, starts=starts)
        return replace(result, words=words.words() if words else None)

    @property
    def wordless(self) -> str | None:
        """Why events have no words; None: they have."""
        if VIEW not in self.checkpoint.recipe.get("views", ()):
            return f"the features have no view {VIEW}"
        return None if self.extractor.head else "the backbone's weights have no classifier that names actions"

    @property
    def head(self) -> ActionHead | None:
        """What names actions; None: nothing does."""
        return None if self.wordless else self.extractor.head

    def _words(self, fitted: Fitted) -> WordStream | None:
        return WordStream(self.head, fitted.usual) if self.head else None

    def _result(
        self,
        video: Path,
        snippet_scores: np.ndarray,
        scores: np.ndarray,
        about: tuple[float, int, int, str],
        heat: HeatStream,
        recipe: Recipe,
        fitted: Fitted,
    ) -> VideoScores:
        """`about` is the video's rate, width, height and decoder; `recipe` that of its features."""
        return VideoScores(
            video,
            scores,
            snippet_scores,
            *about,
            checkpoint=self.path,
            recipe=recipe,
            chosen=fitted.chosen,
            heat={scale: rows.numpy() for scale, rows in heat.heat().items()},
            checkpoint_sha256=fitted.sha256,
        )

    def __repr__(self) -> str:
        kind, recipe = self.checkpoint.kind, self.checkpoint.recipe
        features = f"{recipe['backbone']} {recipe['preset']}"
        threshold = f"threshold {self.chosen.rule.threshold:.4g}"
        return f"<Scorer {str(self.path)!r}: {kind} on {features}, {threshold}, {self.device}>"


def _precision(wanted: str | None, own: str | None, device: torch.device, engine: str) -> str:
    """Of a scorer's backbone: `auto` is the features' own where the device works in it."""
    if wanted is None:
        return "float32"
    if wanted != "auto":
        return wanted
    return own if own and own in offered(device, engine) else unnamed(device)


class ScorerOptions(NamedTuple):
    """What makes a Scorer: it travels to other processes, for each to make its own."""

    checkpoint: Path
    weights: str | None = None
    events: EventSettings | None = None
    engine: str = "auto"
    precision: str | None = "auto"
    picture_fps: float | None = None
    calibration: str | None = None
    unchanged: str = "auto"

    @classmethod
    def of(cls, checkpoint: Path, settings: Settings) -> "ScorerOptions":
        """As the settings have it."""
        return cls(
            checkpoint,
            settings.extract.weights,
            settings.events,
            engine=settings.extract.engine,
            precision=settings.extract.precision,
            picture_fps=settings.extract.frames,
            calibration=settings.extract.calibration,
            unchanged=settings.extract.unchanged,
        )

    def check(self, device: str) -> None:
        """Raises PipelineError where the device does not work in the precision that is named."""
        if self.precision not in (None, "auto"):
            check_engine(self.engine, str(self.precision), find_device(device))

    def build(self, device: str, extractors: dict[tuple[Any, ...], FeatureExtractor] | None = None) -> Scorer:
        """Arguments, and what is raised, are those of :class:`Scorer`."""
        return Scorer(device=device, extractors=extractors, **self._asdict())

    def planner(self) -> Scorer:
        """A scorer to plan by, of what others extract and score; it is on the CPU. Raises as `build`."""
        scorer = self._replace(engine="auto", precision=None).build("cpu")
        if self.precision not in (None, "auto"):
            scorer.extractor.precision = str(self.precision)  # which its recipe tells
        return scorer

    @property
    def asked(self) -> tuple[str, ...]:
        """Keys of a recipe whose values the user has named."""
        precision = () if self.precision in (None, "auto") else OF_PRECISION
        return (*precision, *(() if self.unchanged == "auto" else ("unchanged",)))


def score_video(
    video: str | Path, checkpoint: str | Path, device: str = "auto", weights: str | Path | None = None
) -> VideoScores:
    """Scores every frame of one video; see :class:`Scorer` for several, and for what may be raised."""
    return Scorer(checkpoint, device, weights).score(video)
