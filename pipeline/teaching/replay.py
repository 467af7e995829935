"""What would have alarmed with other settings, from features or scores that are there: no video is decoded.

    ssrl-pipeline replay --threshold 0.7
    ssrl-pipeline replay --checkpoint gate.pt --since 24h --page replay.html

Dimensions: N frames, T snippets, P patches.
"""

import contextlib
import dataclasses
import datetime
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.console import Note
from ssrl_pipeline.data import StoredNames
from ssrl_pipeline.errors import ConfigError, LabelError, PipelineError
from ssrl_pipeline.events import Event, EventSettings, find_events
from ssrl_pipeline.extractors import find_device, snippet_of_frames
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.results import VideoScores, load_result
from ssrl_pipeline.scoring import Cameras, Fitted, frame_scores, require_scorable, score_snippets
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching.cameras import cameras_of
from ssrl_pipeline.teaching.masks import hidden_by, masked
from ssrl_pipeline.teaching.verdicts import Patch, Verdict
from ssrl_pipeline.times import FrameTimes

_AGO = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>min|h|d|w)")
_UNITS = {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
Range = tuple[float, float]


class Variant(NamedTuple):
    """One of the two settings that are compared."""

    checkpoint: Path | None  # None: the scores as they are in a folder of results
    threshold: float | None  # None: what the checkpoint was calibrated to, or the result was made with
    masks: tuple[Patch, ...] = ()  # cells that do not count


class Played(NamedTuple):
    """A video with one variant."""

    video: str
    events: list[Event]
    threshold: float  # that was used
    times: FrameTimes
    frames: int
    folder: Path | None  # of its result, where the scores are from there


class Change(NamedTuple):
    """An alarm that one variant has and the other has not."""

    video: str
    event: Event


class Comparison(NamedTuple):
    thresholds: tuple[Range, Range]  # the lowest and the highest of the videos: now, and then
    videos: int
    hours: float | None  # None: a frame rate is unknown
    alarms: tuple[int, int]
    gone: list[Change]
    come: list[Change]
    kept: list[Verdict]  # on the right side with both
    lost: list[Verdict]  # right now, and wrong then
    won: list[Verdict]  # wrong now, and right then
    wrong: list[Verdict]  # with both
    failed: list[str]  # videos that could not be read
    seconds: float  # that it took

    @property
    def threshold_words(self) -> tuple[str, str]:
        """As people are told them."""
        now, then = (
            f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in self.thresholds
        )
        return now, then

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "thresholds": [low if low == high else None for low, high in self.thresholds],
            "threshold_ranges": [list(each) for each in self.thresholds],
            "videos": self.videos,
            "hours": self.hours,
            "alarms": list(self.alarms),
            **{name: [_told(change) for change in getattr(self, name)] for name in ("gone", "come")},
            "verdicts": {name: len(getattr(self, name)) for name in ("kept", "lost", "won", "wrong")},
            "failed": self.failed,
        }


def replay(
    settings: Settings,
    now: Variant,
    then: Variant,
    verdicts: Sequence[Verdict] = (),
    scores: Path | None = None,
    since: float | None = None,
    device: str = "auto",
    note: Note = lambda text: None,
    named: Collection[str] = (),
) -> tuple[Comparison, dict[str, Played]]:
    """Compares two variants on stored features, or on a folder of results.

    Args:
        scores: the folder that `score` wrote; None: the features that the settings name.
        since: videos whose files are older are left out, seconds since 1970; None: none is.
        note: is told of videos that cannot be read.
        named: the settings of events that a user has set; all others are, of results, those that made them.

    Raises:
        ConfigError: a mask covers nothing that counts, or all.

    Returns:
        The comparison, and the videos with the second variant.
    """
    began = time.monotonic()
    failed: list[str] = []
    if scores is None:
        played = _from_features(settings, (now, then), since, find_device(device), failed, note)
    else:
        said = {name: getattr(settings.events, name) for name in named}
        played = _from_results(_results(scores, since, failed, note), (now, then), said)
    both = list(played)
    if not both:
        raise PipelineError("no videos to replay" + (" since then" if since else ""))
    first, second = ({pair[i].video: pair[i] for pair in both} for i in (0, 1))
    sides = _judged(verdicts, first, second)
    alarms = sum(len(one.events) for one in first.values()), sum(len(one.events) for one in second.values())
    found = Comparison(
        (_range(first), _range(second)),
        len(first),
        _hours(first),
        alarms,
        gone=_differences(first, second),
        come=_differences(second, first),
        kept=sides.get((True, True), []),
        lost=sides.get((True, False), []),
        won=sides.get((False, True), []),
        wrong=sides.get((False, False), []),
        failed=failed,
        seconds=time.monotonic() - began,
    )
    return found, second


def _judged(
    verdicts: Sequence[Verdict], first: Mapping[str, Played], second: Mapping[str, Played]
) -> dict[tuple[bool, bool], list[Verdict]]:
    """Verdicts by whether each of the variants is right about them."""
    sides: dict[tuple[bool, bool], list[Verdict]] = {}
    for verdict in _found(verdicts, first):
        if verdict.moment.frame is None and not first[verdict.moment.video].times.known:
            continue  # nobody knows which frame it is of
        sides.setdefault((_right(first, verdict), _right(second, verdict)), []).append(verdict)
    return sides


def _range(played: Mapping[str, Played]) -> Range:
    thresholds = [one.threshold for one in played.values()]
    return min(thresholds), max(thresholds)


def _hours(played: Mapping[str, Played]) -> float | None:
    """Of video; None where a rate is unknown."""
    known = all(one.times.known for one in played.values())
    return sum(one.times.seconds(one.frames) for one in played.values()) / 3600 if known else None


def _found(verdicts: Sequence[Verdict], videos: Collection[str]) -> list[Verdict]:
    """Those on these videos, by their names here, as `learn` finds them."""
    stored, found = StoredNames(videos), []
    for verdict in verdicts:
        with contextlib.suppress(LabelError):  # two fit
            name = stored.find_path(verdict.moment.video)
            if name is not None:
                found.append(verdict._replace(moment=verdict.moment._replace(video=name)))
    return found


def parse_since(text: str, now: float | None = None) -> float:
    """ "24h", "30 min", "7d", or a date and time, as seconds since 1970. Raises ConfigError: it is none."""
    if ago := _AGO.fullmatch(text.strip()):
        return (time.time() if now is None else now) - float(ago["number"]) * _UNITS[ago["unit"]]
    try:
        return datetime.datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise ConfigError(f"--since {text!r}: say 24h, 7d, 2026-01-31 or 2026-01-31T18:00") from None


def _events(settings: Settings, variant: Variant) -> EventSettings:
    if variant.threshold is None:
        return settings.events
    return dataclasses.replace(settings.events, threshold=variant.threshold)


def _from_features(
    settings: Settings,
    variants: Sequence[Variant],
    since: float | None,
    device: torch.device,
    failed: list[str],
    note: Note,
) -> Iterator[tuple[Played, Played]]:
    store = open_features(settings.data.features, settings.data.layout)
    played = []
    for variant in variants:
        assert variant.checkpoint is not None
        checkpoint = load_checkpoint(variant.checkpoint)
        require_scorable(checkpoint.recipe, store.recipe, str(variant.checkpoint), f"the store {store.root}")
        played.append((variant, Cameras(checkpoint, device, _events(settings, variant))))
    videos = store.videos()
    known = {name for _, cameras in played for name in cameras.names}
    groups = cameras_of(videos, settings.data, known, note)
    for video in videos:
        try:
            if since is not None and store.meta(video).source_mtime_ns < since * 1e9:
                continue
            fitted = [(cameras.of(groups[video]), variant.masks) for variant, cameras in played]
            yield _both(store, video, fitted, device)
        except PipelineError as error:
            if isinstance(error, ConfigError):
                raise
            note(str(error))
            failed.append(video)


def _both(
    store: Features,
    video: str,
    fitted: Sequence[tuple[Fitted, tuple[Patch, ...]]],
    device: torch.device,
) -> tuple[Played, Played]:
    """Of one video; what scores it in the same way with both does so once."""
    views = {name for one, _ in fitted for name in one.model.views}
    features, meta, times = store.read(video, views), store.meta(video), store.times(video)
    known: dict[tuple[str, tuple[Patch, ...]], np.ndarray] = {}
    played = []
    for one, masks in fitted:
        key = one.sha256, masks
        if key not in known:
            hidden = hidden_by(masks, one.model.views)
            known[key] = score_snippets(video, one.model, features, device, hidden)
        frames = frame_scores(known[key], meta.frames, store.starts(video))
        events = find_events(frames, times, one.chosen.rule)
        played.append(Played(video, events, one.chosen.rule.threshold, times, meta.frames, None))
    return played[0], played[1]


def _results(
    folder: Path, since: float | None, failed: list[str], note: Note
) -> dict[str, tuple[Path, VideoScores]]:
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no folder of results of `score`")
    found = {}
    for said in sorted(folder.rglob("scores.json")):
        name = said.parent.relative_to(folder).as_posix()
        try:
            result = load_result(said.parent)[0]
        except PipelineError as error:
            note(str(error))
            failed.append(name)
            continue
        if since is not None and result.source is not None and result.source.mtime_ns < since * 1e9:
            continue
        found[name] = (said.parent, result)
    return found


def _from_results(
    sources: Mapping[str, tuple[Path, VideoScores]],
    variants: Sequence[Variant],
    said: Mapping[str, Any],
) -> Iterator[tuple[Played, Played]]:
    for video, (folder, result) in sources.items():
        played = []
        for variant in variants:
            given = {**said, **({"threshold": variant.threshold} if variant.threshold else {})}
            changes = {name: value for name, value in given.items() if value is not None}
            rule = dataclasses.replace(result.chosen.rule, **changes)
            scores = result.scores
            if variant.masks:
                if not result.heat:
                    raise PipelineError(f"{folder}: has no heat by which a mask could tell")
                own = masked(result.snippet_scores, result.heat, variant.masks)
                scores = own[snippet_of_frames(len(scores), len(own), result.starts)]
            events = find_events(scores, result.timing, rule)
            played.append(Played(video, events, rule.threshold, result.timing, len(scores), folder))
        yield played[0], played[1]


def _differences(one: Mapping[str, Played], other: Mapping[str, Played]) -> list[Change]:
    """The alarms of one that no alarm of the other overlaps."""
    return [
        Change(video, event)
        for video, played in one.items()
        for event in played.events
        if not any(event.start < there.end and there.start < event.end for there in other[video].events)
    ]


def _right(side: Mapping[str, Played], verdict: Verdict) -> bool:
    """Whether an alarm is there where, and only where, it should be."""
    played, moment = side[verdict.moment.video], verdict.moment
    frame = moment.frame
    if frame is None:
        frame = played.times.frame_at(moment.time or 0.0)
    return any(event.start <= frame < event.end for event in played.events) == verdict.abnormal


def _told(change: Change) -> dict[str, Any]:
    event = change.event
    times = {"start_s": event.start_s, "end_s": event.end_s}
    return {
        "video": change.video,
        "start": event.start,
        "end": event.end,
        **times,
        "peak_score": event.peak_score,
    }
