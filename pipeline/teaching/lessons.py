"""Verdicts and labels, with the stored features of their moments, as lessons for a detector.

Dimensions: T snippets, P crops or patches, F feature size.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.console import Note
from ssrl_pipeline.data import Labels, StoredNames
from ssrl_pipeline.errors import LabelError, StoreError
from ssrl_pipeline.extractors import snippet_of_frames
from ssrl_pipeline.features import Features, segment_means
from ssrl_pipeline.scales import parse_scale, scale_of
from ssrl_pipeline.teaching.place import located
from ssrl_pipeline.teaching.verdicts import Patch, Verdict

AROUND = 16  # snippets to either side of a moment that a lesson shows
BESIDE = 1  # snippets to either side of one that was called normal, which are normal, too
MOST_SEGMENTS = 32  # of a bag, as in training


class Lesson(NamedTuple):
    """One lesson; see :class:`ssrl_pipeline.models.lessons.Lesson`."""

    views: dict[str, Tensor]
    wanted: Tensor
    normal: dict[str, Tensor]
    bag: bool | None = None


class Placed(NamedTuple):
    """A verdict, and the snippet of the stored features that it is on."""

    verdict: Verdict
    snippet: int

    @property
    def video(self) -> str:
        return self.verdict.moment.video


def placed(store: Features, verdicts: Sequence[Verdict], note: Note) -> list[Placed]:
    """The verdicts on moments of stored videos; `note` is told of the others."""
    stored, found = StoredNames(store.videos()), []
    for verdict in verdicts:
        try:
            name = stored.find_path(verdict.moment.video)
            if name is None:
                raise StoreError(f"{verdict.moment}: the store {store.root} holds no such video")
            verdict = verdict._replace(moment=verdict.moment._replace(video=name))
            moment, meta = located(store, verdict.moment), store.meta(name)
            snippets = snippet_of_frames(meta.frames, meta.snippets, store.starts(moment.video))
            assert moment.frame is not None
            found.append(Placed(verdict, int(snippets[moment.frame])))
        except (StoreError, LabelError) as error:
            note(f"not learnt from: {error}")
    return found


def moments(store: Features, views: Mapping[str, int], verdicts: Sequence[Placed]) -> list[Lesson]:
    """A lesson for each stretch of snippets about verdicts, of which the later ones count.

    Args:
        views: of the detector, view name -> P.
    """
    by_video: dict[str, dict[int, Placed]] = {}
    for number, one in enumerate(verdicts, start=1):
        by_video.setdefault(one.video, {})[number] = one
    return [lesson for video, of_it in by_video.items() for lesson in _of_video(store, views, video, of_it)]


def bags(store: Features, views: Mapping[str, int], labels: Labels, videos: Sequence[str]) -> list[Lesson]:
    """Whole videos with their labels, as means of segments where they are long."""
    found = []
    for video in videos:
        features = store.read(video, views)
        length = len(next(iter(features.values())))
        rows = {name: torch.from_numpy(_short(array, length)) for name, array in features.items()}
        nothing = torch.full((min(length, MOST_SEGMENTS),), torch.nan)
        found.append(Lesson(rows, nothing, {}, labels[video].abnormal))
    return found


def _short(array: np.ndarray, length: int) -> np.ndarray:
    return np.array(array if length <= MOST_SEGMENTS else segment_means(array, MOST_SEGMENTS), np.float32)


def _of_video(
    store: Features, views: Mapping[str, int], video: str, verdicts: Mapping[int, Placed]
) -> list[Lesson]:
    """Those of one video; verdicts by their numbers."""
    features = store.read(video, views)
    length = len(next(iter(features.values())))
    wanted, normal = np.full(length, np.nan, np.float32), _none(views, length)
    for number, (verdict, snippet) in verdicts.items():
        patch, abnormal = verdict.moment.patch, verdict.abnormal
        near = slice(max(0, snippet - BESIDE), snippet + BESIDE + 1)
        for name, mask in normal.items():
            cells = cells_of(name, views[name], patch)
            mask[snippet if abnormal else near, cells] = 0 if abnormal else number
        if abnormal:
            wanted[snippet] = 1
        else:
            unsaid = np.isnan(wanted[near])
            wanted[near][unsaid] = 0
            if patch is None or wanted[snippet] != 1:  # something else in the picture may be abnormal
                wanted[snippet] = 0
    for snippet in np.flatnonzero(wanted == 1).tolist():
        for mask in normal.values():  # what is beside a normal moment may be a part of an abnormal one
            mask[snippet] = 0
    lessons = []
    for begin, end in _stretches([one.snippet for one in verdicts.values()], length):
        part = {
            name: torch.from_numpy(np.array(rows[begin:end], np.float32)) for name, rows in features.items()
        }
        masks = {name: torch.from_numpy(mask[begin:end].copy()) for name, mask in normal.items()}
        lessons.append(Lesson(part, torch.from_numpy(wanted[begin:end].copy()), masks))
    return lessons


def cells_of(view: str, count: int, patch: Patch | None) -> np.ndarray:
    """bool [P]: the positions of a view that a patch covers, in whole or in part; all where there is none."""
    scale = scale_of(view)
    if patch is None:
        return np.ones(count, bool)
    if scale is None:  # a crop shows nearly all of the frame
        return np.zeros(count, bool)
    covered = [
        _overlap(own, given) for own, given in zip(parse_scale(scale), parse_scale(patch.scale), strict=True)
    ]
    row, column = divmod(patch.cell, parse_scale(patch.scale)[1])
    mask: np.ndarray = np.outer(covered[0][:, row], covered[1][:, column]).ravel()
    return mask


def _overlap(own: int, given: int) -> np.ndarray:
    """bool [own, given]: which of so many equal parts of a length overlap which of so many others."""
    first, second = np.arange(own)[:, None], np.arange(given)[None]
    return (first * given < (second + 1) * own) & (second * own < (first + 1) * given)


def _stretches(snippets: Sequence[int], length: int) -> list[tuple[int, int]]:
    """What is about them, each snippet in one stretch alone."""
    found: list[tuple[int, int]] = []
    for snippet in sorted(set(snippets)):
        begin, end = max(0, snippet - AROUND), min(length, snippet + AROUND + 1)
        if found and begin < found[-1][1]:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def _none(views: Mapping[str, int], length: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((length, count), int) for name, count in views.items()}
