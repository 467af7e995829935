"""A feature store as released files, so that training code of other projects can use our features.

    ssrl-pipeline store export features/ released/ --segments 32

    released/train/Abuse001_x264_i3d.npy           [T, P, F], or with --segments [P, 32, F]
    released/train/Abuse001_x264_patch23_i3d.npy
    released/test/...                              [T, P, F]
    released/train.list, test.list                 names of the crop files, anomalous videos first
    released/released.json                         the store's recipe and the number of segments

The lists hold bare names, as SSRL's do; RTFM's code wants the folder before each.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.data.labels import SPLITS, Labels
from ssrl_pipeline.data.names import video_id
from ssrl_pipeline.data.resolve import Annotations
from ssrl_pipeline.data.stored import check_videos
from ssrl_pipeline.disk import NpyWriter, clear_leftovers, whole_file, write_text
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features import (
    NOTES,
    FeatureStore,
    Notes,
    location,
    open_store,
    read_notes,
    released_name,
    segment_means,
    write_notes,
)
from ssrl_pipeline.scales import backbone_views, recipe_of
from ssrl_pipeline.settings import DataSettings


class Exported(NamedTuple):
    """One list of an export."""

    split: str
    videos: int
    abnormal: int
    path: Path


def export_store(
    data: DataSettings, out: Path, segments: int | None, note: Callable[[str], object]
) -> list[Exported]:
    """:func:`export_released` of the store and the labels that the settings name.

    Args:
        note: told how many videos have no label.
    """
    store = open_store(location(data.features))
    labels = Annotations(data, store).labels
    unlabelled = set(store.videos()) - set(labels)
    if unlabelled:
        note(f"left out, being in no labels: {len(unlabelled)} videos, {min(unlabelled)!r} first")
    return export_released(store, labels, out, segments)


def export_released(
    store: FeatureStore, labels: Labels, out: Path, segments: int | None = None
) -> list[Exported]:
    """Writes all labelled videos in the released layout, which has no place for the view `motion`.

    Args:
        labels: videos without a split are training videos.
        out: a new or empty folder, or one of an earlier export with the same recipe and segments.
        segments: training videos become means of so many segments; None: they keep their snippets.

    Raises:
        StoreError: the store's frames were chosen by a rate, a video is missing or damaged, two videos have
            one bare name, the number of segments is one of patches too, or `out` holds something else.
    """
    if rate := store.recipe.get("fps"):
        raise StoreError(
            f"{store.root}: its snippets are of frames chosen at {rate:g} a second, and who reads released "
            "files counts 16 frames of the video for each; extract without --fps into another store"
        )
    check_videos(store, list(labels))
    views = backbone_views(store.recipe)
    for view, count in views.items():
        released_name("", view)
        if count == segments:
            raise StoreError(
                f"--segments {segments}: {view} has {count} patches or crops, and files of as many "
                "segments could be read either way; choose another number"
            )
    names = _bare_names(labels)
    notes = Notes(recipe_of(store.recipe, views), segments)
    for folder in (out, *(out / split for split in SPLITS)):
        clear_leftovers(folder)
    _require_own(out, notes)
    write_notes(out, notes)
    lists: dict[str, list[str]] = {}
    for video in sorted(labels, key=lambda video: not labels[video].abnormal):
        split = labels[video].split or "train"
        for view, array in store.read(video, views).items():
            if segments and split == "train":
                array = segment_means(array, segments).transpose(1, 0, 2)  # [S, P, F] -> [P, S, F]
            _save(out / split / released_name(names[video], view), array)
        lists.setdefault(split, []).append(video)
    results = []
    for split, videos in lists.items():
        path = out / f"{split}.list"
        write_text(path, "".join(f"{released_name(names[video], 'clip')}\n" for video in videos))
        results.append(Exported(split, len(videos), sum(labels[v].abnormal for v in videos), path))
    return results


def _save(path: Path, array: np.ndarray) -> None:
    with whole_file(path) as scratch:
        writer = NpyWriter(scratch, array.shape[1:], array.dtype)
        with closing(writer):
            writer.append(array)


def _bare_names(labels: Labels) -> dict[str, str]:
    taken: dict[str, str] = {}
    for video in labels:
        first = taken.setdefault(video_id(video), video)
        if first != video:
            raise StoreError(
                f"{first!r} and {video!r}: the released layout has no folders, and both would be "
                f"{video_id(video)!r}; rename one"
            )
    return {video: name for name, video in taken.items()}


def _require_own(out: Path, notes: Notes) -> None:
    """Raises StoreError where the folder holds anything but an export of the same kind."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and read_notes(out / NOTES) != notes:
        raise StoreError(
            f"{out}: is neither empty nor an export of the same features and segments; choose another folder"
        )
