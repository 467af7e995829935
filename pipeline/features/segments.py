"""Videos as a fixed number of segments: their means, and what a folder of released files says of them."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.disk import read_json, write_json
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.recipe import Recipe, check_recipe

SEGMENTS = 32  # of the released UCF-Crime training files
NOTES = "released.json"  # what `store export` knows and names and shapes do not tell


def segment_means(features: np.ndarray, segments: int) -> np.ndarray:
    """[N, P, F] -> float32 [segments, P, F]: means over equal parts of the video.

    Parts are linspace(0, N, segments + 1) truncated to whole snippets; an empty
    one repeats the snippet at which it stands (Sultani et al., CVPR 2018, as in
    RTFM's and SSRL's code).
    """
    edges = np.linspace(0, len(features), segments + 1).astype(int)
    parts = (features[a : max(a + 1, b)] for a, b in pairwise(edges))
    return np.stack([np.asarray(part, np.float32).mean(axis=0) for part in parts])


class Notes(NamedTuple):
    """The contents of released.json."""

    recipe: Recipe
    segments: int | None  # of the training files; None: they hold snippets


def write_notes(root: Path, notes: Notes) -> None:
    write_json(root / NOTES, notes._asdict())


def read_notes(path: Path) -> Notes | None:
    if not path.is_file():
        return None
    try:
        notes = Notes(**read_json(path))
        check_recipe(notes.recipe)
        if notes.segments is not None and (type(notes.segments) is not int or notes.segments < 1):
            raise ValueError(f"{notes.segments!r} segments")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StoreError(f"{path}: damaged ({error}); export again, or delete it") from error
    return notes
