"""Labels in from annotation tools, and out to them: labels.csv and intervals.csv, or a detector's events.

    ssrl-pipeline labels import project.json --videos videos/
    ssrl-pipeline labels import cvat/ --update
    ssrl-pipeline labels export --to label-studio --events scores/ -O tasks.json

What a tool says of lengths and rates is compared with the videos: with their features where these are there,
else the files are decoded. All that does not fit is told, and then nothing is written.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ssrl_pipeline.console import Note
from ssrl_pipeline.data import (
    Annotations,
    Label,
    StoredNames,
    frame_labels,
)
from ssrl_pipeline.disk import one_name
from ssrl_pipeline.errors import ConfigError, LabelError, PipelineError
from ssrl_pipeline.extraction import find_videos
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.features import Features, is_store, open_features
from ssrl_pipeline.results import load_result
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.teaching.formats import (
    ABNORMAL,
    FORMATS,
    NORMAL,
    Imported,
    Known,
    Labelled,
    Span,
    files_of,
    in_frames,
    read_ranges,
    without_ending,
    write_ranges,
)
from ssrl_pipeline.times import from_stamps

_PREFIXES = (r"[0-9a-f]{8}-", r"v_")  # of Label Studio's uploads, and of ActivityNet's names


class Videos:
    """The videos of a store and of a folder, and what they really are."""

    def __init__(self, data: DataSettings, note: Note = lambda text: None):
        there = data.layout == "released" or is_store(data.features)
        self.store: Features | None = open_features(data.features, data.layout) if there else None
        folder = Path(data.videos)
        self._files = find_videos(folder, note) if folder.exists() else {}
        self._stored = set(self.store.videos()) if self.store else set()
        self.names = sorted(self._stored | self._files.keys())
        self._bare = StoredNames(self.names)
        self._paths: dict[str, list[str]] = {}
        for name in self.names:
            self._paths.setdefault(without_ending(name), []).append(name)
        if not self.names:
            raise LabelError(
                f"neither features in {data.features} nor videos in {data.videos} to compare with; "
                "name them with --features or --videos"
            )

    def find(self, name: str) -> str:
        """The name of the video that a tool calls so. Raises LabelError: there is none, or two."""
        plain = unquote(name.replace("\\", "/"))
        if one_name(plain) in self.names:
            return one_name(plain)
        if len(same := self._paths.get(one_name(plain), [])) == 1:
            return same[0]
        bare = plain.rpartition("/")[2]
        for candidate in (bare, *(re.sub(rf"^{prefix}", "", bare) for prefix in _PREFIXES)):
            if found := self._bare.find(candidate):
                return found
        raise LabelError(f"{name}: no such video among {len(self.names)}, {self.names[0]!r} first")

    def known(self, video: str) -> Known:
        """Raises PipelineError where it cannot be read."""
        if self.store and video in self._stored:
            return Known(self.store.meta(video).frames, self.store.times(video))
        stamps = []
        with open_video(self._files[video], lend=True) as opened:
            for _ in opened.frames:
                stamps.append(opened.time)
            return Known(len(stamps), from_stamps(np.array(stamps), opened.info.fps))

    def size(self, video: str) -> tuple[int, int]:
        """Width and height; 0 where they are not known without decoding."""
        if self.store and video in self._stored:
            meta = self.store.meta(video)
            return meta.width, meta.height
        return 0, 0


def import_labels(
    paths: Sequence[Path],
    data: DataSettings,
    kind: str | None = None,
    fps: float | None = None,
    by_time: bool = False,
    abnormal: tuple[str, ...] = (),
    note: Note = lambda text: None,
) -> Imported:
    """Labels and intervals of a tool's files; arguments as of the command `labels import`.

    Args:
        paths: files, and folders of such.
        abnormal: the labels that count; none: all but "normal".
        note: is told what was made of ranges that overlap.

    Raises:
        LabelError: a file cannot be read, or there are no videos to compare it with.
    """
    said = [one for path in files_of(paths, kind) for one in read_ranges(path, kind)]
    if not said:
        raise LabelError(f"{', '.join(map(str, paths))}: no video in it has been labelled")
    videos, found = Videos(data, note), Imported({}, {}, [])
    places: dict[str, str] = {}
    for one in said:
        try:
            video = videos.find(one.video)
            if video in found.labels:
                raise LabelError(
                    f"{one.place}: {one.video!r} is {video!r}, which {places[video]} has labelled already"
                )
            known = videos.known(video)
            ranges = in_frames(one, known, fps, by_time)
        except PipelineError as error:
            found.problems.append(str(error) if one.place in str(error) else f"{one.place}: {error}")
            continue
        places[video] = one.place
        if one.rate_matters and ranges and known.times.stamps is not None:
            note(f"{video}: its frames come at uneven times, which {one.place} may count as even ones")
        chosen = [(start, end) for start, end, label in ranges if _counts(label, abnormal)]
        merged = _merged(chosen)
        if len(merged) < len(chosen):
            note(f"{video}: {len(chosen)} ranges overlap, and are {len(merged)} intervals")
        found.labels[video] = Label(bool(merged), one.split)
        if merged:
            found.intervals[video] = merged
    return found


def export_labels(
    data: DataSettings, out: Path, kind: str, events: Path | None = None, note: Note = lambda text: None
) -> list[Path]:
    """Writes labels and intervals, or the events of a folder of results, for a tool.

    Args:
        kind: one of :data:`FORMATS`.
        events: the folder that `score` wrote; its events go out as pre-annotations.

    Returns:
        What was written.

    Raises:
        PipelineError: there is nothing to write, a video's length or rate is not known, or its intervals
            are no such.
    """
    if kind not in FORMATS:
        raise ConfigError(f"{kind!r} is none of {', '.join(FORMATS)}")
    videos = _events(events) if events else _labelled(data, note)
    if not videos:
        raise LabelError(f"{events}: holds no results of `score`" if events else "no videos are labelled")
    return write_ranges(out, kind, videos)


def _labelled(data: DataSettings, note: Note) -> list[Labelled]:
    videos = Videos(data, note)
    annotations = Annotations(data, videos.store)
    labels, intervals = annotations.labels, annotations.find_intervals() or {}
    found = []
    for name in sorted(intervals.keys() - labels.keys()):
        note(f"{name}: has intervals, but no label: it is left out")
    for name, label in labels.items():
        video = videos.find(name)
        if label.abnormal and name not in intervals:
            note(f"{name}: abnormal, but without intervals: it is left out")
            continue
        known = videos.known(video)
        frame_labels(name, label, intervals, known.frames)
        spans = [Span(start, end, ABNORMAL) for start, end in intervals.get(name, [])]
        width, height = videos.size(video)
        found.append(Labelled(video, spans, known, width, height, label.split))
    return found


def _events(folder: Path) -> list[Labelled]:
    if not folder.is_dir():
        raise LabelError(f"{folder}: no folder of results of `score`")
    found = []
    for said in sorted(folder.rglob("scores.json")):
        result = load_result(said.parent)[0]
        name = said.parent.relative_to(folder).as_posix()
        spans = [Span(event.start, event.end, ABNORMAL) for event in result.events]
        known = Known(len(result.scores), result.timing)
        peaks = [event.peak_score for event in result.events]
        found.append(Labelled(name, spans, known, result.width, result.height, scores=peaks))
    return found


def _counts(label: str, abnormal: tuple[str, ...]) -> bool:
    if abnormal:
        return label.casefold() in {name.casefold() for name in abnormal}
    return label.casefold() != NORMAL


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that overlap become one; those that touch stay two."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start < merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged
