"""What is reviewed: events of results of `score` and what nearly was one, or the archive of `watch --events`.

Times are seconds of what is played: the video of a result, or the clip of an event.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ssrl_pipeline.alarms import box_of, note_verdict, read_events
from ssrl_pipeline.disk import read_json
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.events import Event, find_events
from ssrl_pipeline.pages.review.stills import Stills
from ssrl_pipeline.results import PEAKS, VideoScores, heat_maps, load_peaks, load_result
from ssrl_pipeline.teaching import Moment

AROUND = 10.0  # seconds of the curve to either side of an event
MOST_EVENTS = 5000  # events of an archive
MOST_MISSES = 20  # of all results, those nearest the threshold
ROUNDED = 6e-4  # seconds that a time from a browser may be too early
Json = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One event, or what would be one if the threshold were a little lower."""

    id: str
    video: str  # as verdicts name it
    title: str  # as people are told it
    begin: float
    end: float
    peak: float
    score: float
    frames: tuple[int, int, int] | None = None  # start, end and peak; None: times alone are known
    when: str | None = None  # UTC, ISO 8601, of its start
    words: tuple[str, ...] = ()
    patch: str = ""
    threshold: float | None = None  # of the score; None: not known

    @property
    def alarm(self) -> bool:
        """Whether it was one."""
        return self.threshold is None or self.score >= self.threshold

    @property
    def mark(self) -> str:
        """The note of a verdict that the page gives on it, whose it stays wherever the playhead was."""
        return f"review of {self.begin:.3f}-{self.end:.3f} s"

    def holds(self, moment: Moment) -> bool:
        """Whether a moment of its video is in it."""
        if moment.frame is not None and self.frames:
            return self.frames[0] <= moment.frame < self.frames[1]
        return moment.time is not None and self.begin - ROUNDED <= moment.time <= self.end + ROUNDED

    def shown(self) -> Json:
        """Fit for JSON."""
        numbers = {name: round(getattr(self, name), 3) for name in ("begin", "end", "peak")}
        words = {"words": list(self.words), "patch": self.patch}
        return {
            "id": self.id,
            "title": self.title,
            "score": self.score,
            "alarm": self.alarm,
            "when": self.when,
            **numbers,
            **words,
        }


class Media(NamedTuple):
    """A file, or what is in one."""

    folder: Path
    path: str | None = None
    content: bytes | None = None


class ItemSource(Protocol):
    """Where items are from."""

    checkpoint: Path | None  # that is to learn from verdicts, as far as it is known
    clips: Path | None  # what features are needed of, before
    report: Path | None  # of `score`; None: there is none
    videos: list[Path]  # that it shows

    def items(self) -> list[Item]: ...

    def detail(self, item: Item) -> Json:
        """`threshold`, `curve` [[second, score], ...] and `heat`, as of :func:`heat_maps` with `starts`."""

    def clip(self, item: Item) -> Media: ...

    def still(self, item: Item, decode: bool) -> Media:
        """Its picture at the peak; `decode`: where none is kept, taken from the video, if that is near."""

    def moment(self, item: Item, time: float) -> Moment:
        """Of a second of what is played."""

    def told(self, item: Item, word: str | None) -> None:
        """A verdict was given, or None: taken back."""


class Results:
    """The folders below one that `score` wrote.

    Args:
        name_of: the path of a video's file -> its name in verdicts.
        note: is told of results that are left out.
    """

    def __init__(self, folder: Path, name_of: Callable[[Path], str], note: Callable[[str], object]):
        self.checkpoint: Path | None = None
        self.clips: Path | None = None
        self.report = folder / "report.html" if (folder / "report.html").is_file() else None
        self.videos: list[Path] = []
        self._items: list[Item] = []
        self._of: dict[str, Path] = {}
        self._stills = Stills()
        for said in sorted(folder.rglob("scores.json")):
            try:
                result = load_result(said.parent)[0]
            except PipelineError as error:
                note(f"left out: {error}")
                continue
            if result.events and not result.timing.known:
                note(f"left out: {said.parent}: its events have no times, for the rate is unknown")
                continue
            name = name_of(result.video)
            self.videos.append(result.video)
            self.checkpoint = result.checkpoint
            for event in [*result.events, *near_misses(result)]:
                assert event.start_s is not None and event.end_s is not None and event.peak_s is not None
                one = f"r{len(self._items)}"
                title = said.parent.relative_to(folder).as_posix()
                item = Item(
                    one,
                    name,
                    title if title != "." else result.video.name,
                    begin=event.start_s,
                    end=event.end_s,
                    peak=event.peak_s,
                    score=event.peak_score,
                    frames=(event.start, event.end, event.peak),
                    words=event.words,
                    patch=event.patch,
                    threshold=result.chosen.rule.threshold,
                )
                self._of[one] = said.parent
                self._items.append(item)
        misses = sorted((one for one in self._items if not one.alarm), key=lambda one: -one.score)
        left_out = {one.id for one in misses[MOST_MISSES:]}
        self._items = [one for one in self._items if one.id not in left_out]

    def items(self) -> list[Item]:
        return self._items

    def detail(self, item: Item) -> Json:
        result = _loaded(self._of[item.id])
        starts = result.starts
        first = np.arange(len(result.snippet_scores)) * 16 if starts is None else starts
        seconds = result.timing.starts(len(result.scores))[np.minimum(first, len(result.scores) - 1)]
        near = (seconds >= item.begin - AROUND - 1) & (seconds <= item.end + AROUND)
        scores = result.snippet_scores[near]
        curve = [[round(float(t), 3), round(float(s), 4)] for t, s in zip(seconds[near], scores, strict=True)]
        heat = None
        if result.heat and near.any():
            rows = {scale: values[near] for scale, values in result.heat.items()}
            heat = heat_maps(rows, scores, np.arange(len(scores)))
        return {"threshold": result.chosen.rule.threshold, "curve": curve, "heat": heat}

    def clip(self, item: Item) -> Media:
        video = _loaded(self._of[item.id]).video.absolute()
        return Media(video.parent, video.name)

    def still(self, item: Item, decode: bool) -> Media:
        folder = self._of[item.id]
        assert item.frames
        try:
            kept = load_peaks(folder / PEAKS)
        except (PipelineError, OSError):
            kept = {}
        content = kept.get(item.frames[2])
        if content is None and decode:
            of_video = [one.frames[2] for one in self._items if one.frames and self._of[one.id] == folder]
            others = [peak for peak in of_video if peak not in kept]
            content = self._stills.find(_loaded(folder), item.frames[2], others)
        return Media(folder, content=content)

    def moment(self, item: Item, time: float) -> Moment:
        times, frames = _loaded(self._of[item.id]).timing, len(_loaded(self._of[item.id]).scores)
        frame = max(0, min(frames - 1, times.frame_at(time + ROUNDED)))
        begin, end = float(times.starts(frame + 1)[frame]), float(times.ends(frame + 1)[frame])
        return Moment(item.video, frame, round((begin + end) / 2, 3))

    def told(self, item: Item, word: str | None) -> None:
        pass


def near_misses(result: VideoScores) -> list[Event]:
    """What a threshold as low as the rule's lower one would tell besides."""
    rule = result.chosen.rule
    if not result.timing.known:
        return []
    found = find_events(result.scores, result.timing, replace(rule, threshold=rule.low, hysteresis=1.0))
    return [event for event in found if event.peak_score < rule.threshold]


class Recorded:
    """The archive of a watch, which may go on meanwhile: clips with their events."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.clips: Path | None = folder
        self.checkpoint: Path | None = None
        self.report: Path | None = None
        self.videos: list[Path] = []
        self._rows: dict[str, Mapping[str, Any]] = {}

    def items(self) -> list[Item]:
        found = []
        for row in read_events(self.folder, MOST_EVENTS):
            if row["clip"] is None or row["end"] is None or row["clip_first"] is None:
                continue
            self._rows[row["id"]] = row
            rate = (row["end"] - row["start"]) / (row["end_s"] - row["start_s"])
            begin, end, peak = ((row[name] - row["clip_first"]) / rate for name in ("start", "end", "peak"))
            found.append(
                Item(
                    row["id"],
                    row["clip"],
                    row["camera"],
                    begin=max(0.0, begin),
                    end=end,
                    peak=peak,
                    score=row["peak_score"],
                    when=row["start_time"],
                    words=tuple(row["words"]),
                    patch=row["patch"] or "",
                )
            )
        return found

    def detail(self, item: Item) -> Json:
        row = self._rows[item.id]
        shift = item.begin - row["start_s"]
        try:
            said = read_json((self.folder / row["clip"]).with_suffix(".json"))["scores"]
            curve = [[round(time + shift, 3), score] for time, score in said]
        except (PipelineError, OSError, KeyError, TypeError, ValueError):
            curve = []
        return {"threshold": None, "curve": curve, "heat": None, "box": box_of(row["patch"])}

    def clip(self, item: Item) -> Media:
        return Media(self.folder, self._rows[item.id]["clip"])

    def still(self, item: Item, decode: bool) -> Media:
        return Media(self.folder, self._rows[item.id]["still"])

    def moment(self, item: Item, time: float) -> Moment:
        return Moment(item.video, None, round(max(0.0, time), 3))

    def told(self, item: Item, word: str | None) -> None:
        note_verdict(self.folder, item.id, word)


def open_items(folder: Path, name_of: Callable[[Path], str], note: Callable[[str], object]) -> ItemSource:
    """What a folder holds.

    Raises:
        ConfigError: neither results nor an archive.
    """
    if (folder / "index.sqlite").is_file():
        return Recorded(folder)
    results = Results(folder, name_of, note)
    if not any(folder.rglob("scores.json")):
        raise ConfigError(f"{folder}: holds neither results of `score` nor the events of `watch --events`")
    return results


@functools.lru_cache(maxsize=8)
def _loaded(folder: Path) -> VideoScores:
    return load_result(folder)[0]
