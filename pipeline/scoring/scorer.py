"""Stage three: a raw video into a score of every frame.

    ssrl-pipeline score video.mp4

Dimensions: N frames, T snippets, P crops or patches, F feature size.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.checkpoint import Checkpoint, checkpoint_file, load_checkpoint
from ssrl_pipeline.errors import CheckpointError, PipelineError, VideoError
from ssrl_pipeline.events.rule import EventSettings, choose_rule
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.engines.precision import BOUNDS, INTERCHANGEABLE, offered, warn_once
from ssrl_pipeline.extractors.extractor import find_device
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.features.reading import Features
from ssrl_pipeline.features.recipe import Recipe, require_same_recipe
from ssrl_pipeline.models import Detector
from ssrl_pipeline.models.long_video import CHUNK, ScoreStream, score_long
from ssrl_pipeline.models.occlusion import HeatStream
from ssrl_pipeline.results.video_scores import VideoScores


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
    ):
        self.path = checkpoint_file(Path(checkpoint))
        self.checkpoint: Checkpoint = load_checkpoint(self.path)
        self.chosen = choose_rule(events or EventSettings(), self.checkpoint.provenance.get("threshold"))
        self.device = find_device(device)
        self.model = self.checkpoint.build().to(self.device)
        self.checkpoint_sha256 = self.checkpoint.sha256
        recipe = self.checkpoint.recipe
        if weights is None and recipe.get("weights_sha256") == "random":
            weights = "random"
        try:
            backbone, preset = recipe["backbone"], recipe["preset"]
        except KeyError as error:
            raise CheckpointError(f"{self.path}: its recipe names no {error}") from error
        if precision == "auto" and recipe.get("precision") in offered(self.device):
            precision = recipe["precision"]
        self.extractor = FeatureExtractor(
            *(backbone, preset, device, weights),
            patches=recipe.get("patches", "exact"),
            engine=engine,
            precision=precision or "auto",
            picture_fps=picture_fps,
        )
        made = self.extractor.recipe if precision else with_precision_of(self.extractor.recipe, recipe)
        require_scorable(recipe, made, f"the checkpoint {self.path}", "this extraction")

    def score(self, video: str | Path, on_snippet: Callable[[], None] = lambda: None) -> VideoScores:
        """Extracts and scores one video.

        Args:
            on_snippet: called after each snippet.

        Raises:
            VideoError: the video cannot be decoded.
        """
        video = Path(video)
        heat = HeatStream(self.model, self.device)
        with ScoreStream(self.model, self.device) as stream:

            def write(features: Mapping[str, np.ndarray]) -> None:
                views = _tensors(self.model, features)
                stream.add(views)
                heat.add(views)
                on_snippet()

            result = self.extractor.write_video(video, write=write)
            if not result.snippets:
                raise VideoError(
                    f"{video}: {result.frames} frames are too few for one snippet of this preset"
                )
            snippet_scores = _numbers(str(video), stream.scores())
        info, times = result.info, result.times
        about = (times.fps, info.width, info.height, result.decoder)
        scored = self._result(video, snippet_scores, result.frames, about, heat, self.extractor.recipe)
        return replace(scored, damage=result.damage, stamps=times.stamps)

    def score_from(self, store: Features, stored: str, video: str | Path) -> VideoScores:
        """Scores one video by features that are there already: nothing is decoded or extracted.

        Args:
            store: of the checkpoint's recipe, but for the precision.
            stored: the video's name in it.
            video: the file.

        Raises:
            StoreError: the store is of another recipe, lacks the video, or what it has is damaged.
            PipelineError: the features are no numbers.
        """
        names = f"the checkpoint {self.path}", f"the store {store.root}"
        require_scorable(self.checkpoint.recipe, store.recipe, *names)
        features, meta = store.read(stored, self.model.views), store.meta(stored)
        times = store.times(stored)
        heat = HeatStream(self.model, self.device)
        with ScoreStream(self.model, self.device) as stream:
            for begin in range(0, meta.snippets, CHUNK):
                part = {name: rows[begin : begin + CHUNK] for name, rows in features.items()}
                views = _tensors(self.model, part)
                stream.add(views)
                heat.add(views)
            snippet_scores = _numbers(str(video), stream.scores())
        about = (times.fps, meta.width, meta.height, meta.decoder)
        result = self._result(Path(video), snippet_scores, meta.frames, about, heat, store.recipe)
        return replace(result, stored=True, damage=meta.damage, stamps=times.stamps)

    def _result(
        self,
        video: Path,
        snippet_scores: np.ndarray,
        frames: int,
        about: tuple[float, int, int, str],
        heat: HeatStream,
        recipe: Recipe,
    ) -> VideoScores:
        """`about` is the video's rate, width, height and decoder; `recipe` that of its features."""
        return VideoScores(
            video,
            frame_scores(snippet_scores, frames),
            snippet_scores,
            *about,
            checkpoint=self.path,
            recipe=recipe,
            chosen=self.chosen,
            heat={scale: rows.numpy() for scale, rows in heat.heat().items()},
            checkpoint_sha256=self.checkpoint_sha256,
        )

    def __repr__(self) -> str:
        kind, recipe = self.checkpoint.kind, self.checkpoint.recipe
        features = f"{recipe['backbone']} {recipe['preset']}"
        threshold = f"threshold {self.chosen.rule.threshold:.4g}"
        return f"<Scorer {str(self.path)!r}: {kind} on {features}, {threshold}, {self.device}>"


class ScorerOptions(NamedTuple):
    """What makes a Scorer: it travels to other processes, for each to make its own."""

    checkpoint: Path
    weights: str | None = None
    events: EventSettings | None = None
    engine: str = "auto"
    precision: str | None = "auto"
    picture_fps: float | None = None

    def build(self, device: str) -> Scorer:
        """Raises as :class:`Scorer` does."""
        return Scorer(self.checkpoint, device, *self[1:])

    def planner(self) -> Scorer:
        """A scorer to plan by, of what others extract and score; it is on the CPU. Raises as `build`."""
        return self._replace(engine="auto", precision=None).build("cpu")


def require_scorable(first: Recipe, second: Recipe, first_name: str, second_name: str) -> None:
    """Refuses what :func:`require_same_recipe` does, but for another precision, of which it warns, once.

    Scores by features of another precision than a model was trained on are hardly other ones: bfloat16
    changed the AUC on Ped2 by less than 0.0003 with the memory (ten draws) and 0.001 with SSRL (three).
    """
    require_same_recipe(first, with_precision_of(second, first), first_name, second_name)
    precisions = [str(recipe.get("precision", "float32")) for recipe in (first, second)]
    if precisions[0] != precisions[1]:
        bound = max(BOUNDS.get(precision, INTERCHANGEABLE) for precision in precisions)
        warn_once(
            f"{first_name} is of {precisions[0]} features, {second_name} of {precisions[1]}; these are up to "
            f"{100 * bound:g} % apart, and scores differ a little"
        )


def with_precision_of(recipe: Recipe, other: Recipe) -> Recipe:
    """A recipe with the precision of another in place of its own."""
    plain = {key: value for key, value in recipe.items() if key != "precision"}
    return plain | {key: value for key, value in other.items() if key == "precision"}


def score_video(
    video: str | Path, checkpoint: str | Path, device: str = "auto", weights: str | Path | None = None
) -> VideoScores:
    """Scores every frame of one video; see :class:`Scorer` for several, and for what may be raised."""
    return Scorer(checkpoint, device, weights).score(video)


def score_snippets(
    video: str, model: Detector, features: Mapping[str, np.ndarray], device: torch.device
) -> np.ndarray:
    """Scores one whole video of any length; features that are mapped from the disk are read in chunks.

    Args:
        video: its name, for the error.
        model: on `device` and in evaluation mode.
        features: view name -> [T, P, F].

    Returns:
        float32 [T].

    Raises:
        PipelineError: a score is not a number, as features are not.
    """
    snippets = len(features[next(iter(model.views))])
    chunks = (
        _tensors(model, {name: features[name][begin : begin + CHUNK] for name in model.views})
        for begin in range(0, snippets, CHUNK)
    )
    return _numbers(video, score_long(model, chunks, device))


def _tensors(model: Detector, features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The views that the model takes, copied as float32."""
    return {name: torch.from_numpy(np.array(features[name], np.float32)) for name in model.views}


def _numbers(video: str, scores: Tensor) -> np.ndarray:
    if not scores.isfinite().all():
        raise PipelineError(f"{video}: the scores are no numbers; the features or the checkpoint are damaged")
    return scores.numpy()


def score_stored(video: str, model: Detector, store: Features, device: torch.device) -> np.ndarray:
    """float32 [N]: the score of every frame of a stored video; see :func:`score_snippets`."""
    features = store.read(video, model.views)
    return frame_scores(score_snippets(video, model, features, device), store.meta(video).frames)


def frame_scores(snippet_scores: np.ndarray, frames: int) -> np.ndarray:
    """[T] -> float32 [frames]: a snippet's score goes to its 16 frames.

    Frames behind the last snippet, where a preset leaves out an incomplete one,
    get that of the last.
    """
    snippet = np.minimum(np.arange(frames) // SNIPPET_FRAMES, len(snippet_scores) - 1)
    return snippet_scores[snippet].astype(np.float32)
