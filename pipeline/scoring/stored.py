"""Scores by features that are there already, and whether a checkpoint takes them.

Dimensions: N frames, T snippets, P crops or patches, F feature size.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors import SNIPPET_FRAMES
from ssrl_pipeline.extractors.engines import BOUNDS, INTERCHANGEABLE, warn_once
from ssrl_pipeline.features import Features, Recipe, require_same_recipe
from ssrl_pipeline.models import CHUNK, Detector, score_long


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
    return finite_scores(video, score_long(model, in_chunks(model, features), device))


def in_chunks(model: Detector, features: Mapping[str, np.ndarray]) -> Iterator[dict[str, Tensor]]:
    """The views [T, P, F] that the model takes, some snippets at a time, as it takes them."""
    for begin in range(0, len(features[next(iter(model.views))]), CHUNK):
        yield as_tensors(model, {name: features[name][begin : begin + CHUNK] for name in model.views})


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


def as_tensors(model: Detector, features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The views that the model takes, copied as float32."""
    return {name: torch.from_numpy(np.array(features[name], np.float32)) for name in model.views}


def finite_scores(video: str, scores: Tensor) -> np.ndarray:
    if not scores.isfinite().all():
        raise PipelineError(f"{video}: the scores are no numbers; the features or the checkpoint are damaged")
    return scores.numpy()
