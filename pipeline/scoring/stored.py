"""Scores by features that are there already, and whether a checkpoint takes them.

Dimensions: N frames, T snippets, P crops or patches, F feature size.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors import snippet_of_frames
from ssrl_pipeline.extractors.engines import BOUNDS, INTERCHANGEABLE, warn_once
from ssrl_pipeline.features import Features, Recipe, require_same_recipe
from ssrl_pipeline.models import CHUNK, Detector, score_long
from ssrl_pipeline.scales import recipe_of

OF_PRECISION = ("precision", "calibration", "pools")  # keys of a recipe
_LENIENT = (*OF_PRECISION, "unchanged")  # that scores hardly depend on


def require_scorable(first: Recipe, second: Recipe, first_name: str, second_name: str) -> None:
    """Refuses what :func:`require_same_recipe` does, but for what scores hardly depend on, and warns, once.

    A view of a size of its own that the first does not know is no matter: it is not read.

    That is the precision, and whether clips that do not change were described each time. Scores by features
    of another precision than a model was trained on are hardly other ones: bfloat16 changed the AUC on
    Ped2 by less than 0.0003 with the memory (ten draws) and 0.001 with SSRL (three).
    """
    second = recipe_of(second, first.get("views", ()))
    require_same_recipe(first, with_precision_of(second, first), first_name, second_name)
    precisions = [str(recipe.get("precision", "float32")) for recipe in (first, second)]
    if precisions[0] != precisions[1]:
        bound = max(BOUNDS.get(precision, INTERCHANGEABLE) for precision in precisions)
        warn_once(
            f"{first_name} is of {precisions[0]} features, {second_name} of {precisions[1]}; these are up to "
            f"{100 * bound:g} % apart, and scores differ a little"
        )
    elif first.get("calibration") != second.get("calibration"):
        warn_once(
            f"{first_name} and {second_name} are of {precisions[0]} features calibrated on other clips, and "
            "scores differ a little; --calibration names the folder of a checkpoint's"
        )
    elif first.get("pools") != second.get("pools"):
        warn_once(
            f"{first_name} and {second_name} are of int8 features, of one with max-pools in int8 and of the "
            "other, of before, without; they are some 3 % apart, and scores differ a little"
        )
    if first.get("unchanged") != second.get("unchanged"):
        warn_once(
            f"{first_name} and {second_name} do not treat clips that do not change alike: scores differ a "
            "little"
        )


def with_precision_of(recipe: Recipe, other: Recipe) -> Recipe:
    """A recipe with the precision, and the rule of unchanged clips, of another in place of its own."""
    plain = {key: value for key, value in recipe.items() if key not in _LENIENT}
    return plain | {key: value for key, value in other.items() if key in _LENIENT}


def score_snippets(
    video: str,
    model: Detector,
    features: Mapping[str, np.ndarray],
    device: torch.device,
    hidden: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Scores one whole video of any length; features that are mapped from the disk are read in chunks.

    Args:
        video: its name, for the error.
        model: on `device` and in evaluation mode.
        features: view name -> [T, P, F].
        hidden: some of the views -> bool [P], patches that do not count; see :meth:`Detector.hide`.

    Returns:
        float32 [T].

    Raises:
        PipelineError: a score is not a number, as features are not.
    """
    shut = {name: torch.from_numpy(which)[None] for name, which in (hidden or {}).items()}
    return finite_scores(video, score_long(model, in_chunks(model, features), device, shut))


def in_chunks(model: Detector, features: Mapping[str, np.ndarray]) -> Iterator[dict[str, Tensor]]:
    """The views [T, P, F] that the model takes, some snippets at a time, as it takes them."""
    for begin in range(0, len(features[next(iter(model.views))]), CHUNK):
        yield as_tensors(model.views, {name: features[name][begin : begin + CHUNK] for name in model.views})


def score_stored(video: str, model: Detector, store: Features, device: torch.device) -> np.ndarray:
    """float32 [N]: the score of every frame of a stored video; see :func:`score_snippets`."""
    scores = score_snippets(video, model, store.read(video, model.views), device)
    return frame_scores(scores, store.meta(video).frames, store.starts(video))


def frame_scores(snippet_scores: np.ndarray, frames: int, starts: np.ndarray | None = None) -> np.ndarray:
    """[T] -> float32 [frames]: a snippet's score goes to all frames that belong to it.

    `frames` and `starts` are as of :func:`ssrl_pipeline.extractors.snippet_of_frames`.
    """
    return snippet_scores[snippet_of_frames(frames, len(snippet_scores), starts)].astype(np.float32)


def as_tensors(views: Iterable[str], features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Some views, copied as float32."""
    return {name: torch.from_numpy(np.array(features[name], np.float32)) for name in views}


def finite_scores(video: str, scores: Tensor) -> np.ndarray:
    if not scores.isfinite().all():
        raise PipelineError(f"{video}: the scores are not finite; the features or the checkpoint are damaged")
    return scores.numpy()
