"""Moments of an archive of stored features that look like an action: no video is opened.

    ssrl-pipeline search "riding a bike"

Each snippet counts with the probability that I3D's own classifier gives to the actions in the patch of 2x3
where it is greatest. Videos are read one after the other, and only the best moments so far are kept.

Dimensions: T snippets, P patches.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ssrl_pipeline.console import Note
from ssrl_pipeline.errors import ConfigError, StoreError
from ssrl_pipeline.events import ASSUMED_FPS, PLACES, VIEW
from ssrl_pipeline.extractors import every_16th
from ssrl_pipeline.extractors.backbones import ActionHead, action_head, action_names, match_actions
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.models import CHUNK
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.times import FrameTimes


class FoundMoment(NamedTuple):
    """One snippet."""

    score: float  # probability of the actions together, in the patch where it is greatest
    video: str
    frame: int  # its first
    time_s: float | None  # when that is shown; None: the frame rate is unknown
    patch: str  # one of PLACES


class Found(NamedTuple):
    moments: list[FoundMoment]  # the best first
    videos: int  # that were searched
    failed: list[str]  # those whose features are missing or damaged


def search_archive(
    settings: Settings, text: str, most: int = 20, apart: float = 10.0, note: Note = lambda text: None
) -> Found:
    """:func:`search_store` with the actions that a text may mean, in the features that the settings name.

    Args:
        note: is told these actions, too.

    Raises:
        ConfigError: no action is like the text.
    """
    actions = match_actions(text)
    store = open_features(settings.data.features, settings.data.layout)
    note(f"actions: {', '.join(action_names()[place] for place in actions)}")
    return search_store(store, actions, most, apart, settings.extract.weights, note)


def search_store(
    store: Features,
    actions: Sequence[int],
    most: int = 20,
    apart: float = 10.0,
    weights: str | None = None,
    note: Note = lambda text: None,
) -> Found:
    """The moments that look most like any of some actions.

    Args:
        store: of I3D's features, with the view of 2x3 patches.
        actions: places in the classifier, as of :func:`match_actions`.
        most: moments at most.
        apart: seconds between two moments of a video at least, 25 frames each where the rate is unknown.
        weights: the file of the backbone's weights; None: the published ones.
        note: is told what is wrong with a video.

    Raises:
        StoreError: the store has no such view.
        WeightsError: there is no classifier for these features.
        ConfigError: a number does not make sense.
    """
    if most < 1 or not 0 <= apart < math.inf:
        raise ConfigError(f"{most} moments, {apart:g} seconds apart: at least 1, and zero or more seconds")
    recipe = store.recipe
    if VIEW not in recipe["views"]:
        raise StoreError(f"{store.root}: has no view {VIEW}, in which actions are looked for")
    head = action_head(str(recipe.get("backbone")), recipe.get("weights_sha256"), weights, may_fetch=True)
    best: list[tuple[float, int, FoundMoment]] = []  # a heap, the least first; of equals the earlier stays
    count, number, failed = 0, 0, []
    for video in store.videos():
        try:
            moments = list(_moments(store, video, head, actions, most, apart))
        except StoreError as error:
            note(str(error))
            failed.append(video)
            continue
        count += 1
        for moment in moments:
            number += 1
            heapq.heappush(best, (moment.score, -number, moment))
            if len(best) > most:
                heapq.heappop(best)
    ordered = sorted(best, key=lambda entry: (-entry[0], -entry[1]))
    return Found([moment for _, _, moment in ordered], count, failed)


def _moments(
    store: Features, video: str, head: ActionHead, actions: Sequence[int], most: int, apart: float
) -> Iterator[FoundMoment]:
    """The best of one video, each at least so far from the better ones."""
    patches, chosen = store.read(video, [VIEW])[VIEW], list(actions)
    scores, places = np.empty(len(patches)), np.empty(len(patches), np.int64)
    for begin in range(0, len(patches), CHUNK):
        rows = torch.from_numpy(np.array(patches[begin : begin + CHUNK], np.float32))
        seen = head.log_probabilities(rows)[..., chosen].logsumexp(dim=-1)  # [n, P]
        top = seen.max(dim=-1)
        scores[begin : begin + CHUNK], places[begin : begin + CHUNK] = top.values.exp(), top.indices
    if not np.isfinite(scores).all():
        raise StoreError(f"{store.root}: {VIEW} features of {video!r} are not finite; extract it again")
    times, frames = store.times(video), store.starts(video)
    frames = every_16th(len(scores)) if frames is None else frames
    starts = (times if times.known else FrameTimes(ASSUMED_FPS)).start_of(frames)
    free = np.ones(len(scores), bool)
    for _ in range(most):
        if not free.any():
            return
        t = int(np.where(free, scores, -1.0).argmax())
        free &= np.abs(starts - starts[t]) >= max(apart, 1e-9)
        free[t] = False
        shown = float(starts[t]) if times.known else None
        yield FoundMoment(float(scores[t]), video, int(frames[t]), shown, PLACES[places[t]])
