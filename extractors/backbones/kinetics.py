"""Kinetics-400's actions: I3D's own classifier, which lies in its weights, and the names of its classes.

The head is linear and works on the average of the last feature map, which is what stores hold: so its
logits of stored features are those of the whole network, but for rounding (measured: 5e-6).

Dimensions: A actions, F feature size.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import ConfigError, WeightsError
from ssrl_pipeline.extractors.backbones.formats import read_weights
from ssrl_pipeline.extractors.backbones.weights import (
    PUBLISHED,
    cache_path,
    content_sha256,
    published_weights,
)

_HEAD = "params/Logits/Conv3d_0c_1x1/Conv_0"
_NEAREST = 5  # names that a message offers
_SMALL = {
    "a",
    "an",
    "the",
    "or",
    "and",
    "with",
    "on",
    "in",
    "of",
    "to",
    "not",
    "through",
}  # words without weight


class ActionHead(NamedTuple):
    """The classifier: features @ weight.T + bias are its logits."""

    weight: Tensor  # float32 [A, F]
    bias: Tensor  # float32 [A]

    def log_probabilities(self, features: Tensor) -> Tensor:
        """[..., F] -> float32 [..., A], each row's exponentials add up to 1."""
        logits = torch.nn.functional.linear(features.float(), self.weight, self.bias)
        return logits.log_softmax(dim=-1)


def read_head(arrays: Mapping[str, np.ndarray]) -> ActionHead | None:
    """The head among published weights; None where they hold none that is I3D's on Kinetics-400."""
    kernel, bias = arrays.get(f"{_HEAD}/kernel"), arrays.get(f"{_HEAD}/bias")
    if kernel is None or bias is None or kernel.shape[-1] != len(action_names()) or bias.size != len(bias):
        return None
    weight = torch.from_numpy(kernel.reshape(-1, kernel.shape[-1]).T.astype(np.float32))
    return ActionHead(weight.contiguous(), torch.from_numpy(bias.astype(np.float32)))


def action_head(
    backbone: str, weights_sha256: str | None, weights: str | Path | None = None, may_fetch: bool = False
) -> ActionHead:
    """The head that belongs to features.

    Args:
        backbone: that made them, and the hash of its weights, as a recipe has both.
        weights: the file of its weights; None: the published ones, from the cache.
        may_fetch: whether to fetch these where they are not cached.

    Raises:
        WeightsError: there is no such head here; one line says why, and the way out.
    """
    if backbone != "i3d":
        raise WeightsError(
            f"names of actions need features of i3d, whose classifier is known, not {backbone}"
        )
    if weights is not None and weights != "random":
        arrays = read_weights(Path(weights))
        if content_sha256(arrays) != weights_sha256:
            raise WeightsError(f"{weights}: not the weights that the features were made with")
    elif weights_sha256 != PUBLISHED[backbone].content_sha256:
        raise WeightsError(
            "names of actions need I3D's published weights, and the features were made with others "
            "(if these have a classifier, give their file with --weights)"
        )
    elif may_fetch or cache_path(backbone).exists():
        arrays = published_weights(backbone)
    else:
        raise WeightsError(
            f"names of actions need I3D's classifier, and {cache_path(backbone)} is not there; "
            f"get it with `ssrl-pipeline weights fetch {backbone}`"
        )
    head = read_head(arrays)
    if head is None:
        raise WeightsError(f"{weights or 'the weights'}: without I3D's classifier of Kinetics-400's actions")
    return head


@lru_cache(maxsize=1)
def action_names() -> tuple[str, ...]:
    """The 400 names, in the order of the head."""
    text = (
        resources.files("ssrl_pipeline.extractors.backbones").joinpath("kinetics400.txt").read_text("utf-8")
    )
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def find_actions(names: Iterable[str]) -> list[int]:
    """The places of actions by their exact names; letters' case does not matter.

    Raises:
        ConfigError: there is no such action; the line names the nearest.
    """
    known = {name.casefold(): place for place, name in enumerate(action_names())}
    found: list[int] = []
    for name in names:
        place = known.get(" ".join(name.casefold().split()))
        if place is None:
            raise ConfigError(_unknown(name))
        found.append(place)
    return sorted(set(found))


def match_actions(text: str) -> list[int]:
    """The places of the actions that a text may mean: the one of that name, else all that share its words.

    Words of one stem are the same ("bike" finds "riding a bike" and "biking through snow"). Where none
    has all of the text's words, names that are spelt nearly like it are taken.

    Raises:
        ConfigError: nothing is like it; the line names the nearest.
    """
    names, wanted = action_names(), _words(text)
    exact = [
        place for place, name in enumerate(names) if name.casefold() == " ".join(text.casefold().split())
    ]
    if exact or not wanted:
        return exact if exact else find_actions([text])
    sharing = [
        place
        for place, name in enumerate(names)
        if all(any(_alike(one, other) for other in _words(name)) for one in wanted)
    ]
    if sharing:
        return sharing
    near = difflib.get_close_matches(text.casefold(), names, n=1, cutoff=0.75)
    if not near:
        raise ConfigError(_unknown(text))
    return [names.index(near[0])]


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.casefold()) if word not in _SMALL]


def _stem(word: str) -> str:
    for ending in ("ing", "ers", "er", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word[:-1] if word[-2:-1] == word[-1:] else word  # "runn", "run"


def _alike(one: str, other: str) -> bool:
    return _stem(one) == _stem(other)


def _unknown(text: str) -> str:
    return f"no action is called {text!r}; nearest: {', '.join(_nearest(text))}"


def _nearest(text: str) -> Sequence[str]:
    """Names that share a word first, then those spelt alike."""
    names, wanted = action_names(), _words(text)

    def likeness(name: str) -> tuple[int, float]:
        shared = sum(any(_alike(one, other) for other in _words(name)) for one in wanted)
        return shared, difflib.SequenceMatcher(None, text.casefold(), name).ratio()

    return sorted(names, key=likeness, reverse=True)[:_NEAREST]
