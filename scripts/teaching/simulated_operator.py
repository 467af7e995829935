"""A simulated operator: alarms are reviewed in order of time, and verdicts given from the ground truth.

    python scripts/teaching/simulated_operator.py features ped2 --models memory probe ssrl auto
    python scripts/teaching/simulated_operator.py features vioperu/clips.csv --models memory

Of each camera's test videos half are reviewed, chosen at random, and half are never clicked. On these false
alarms an hour and events found are counted, before and after clicks, at the threshold above which a tenth of
the normal frames of the reviewed half was before: a camera that alarms too often, or else there is little to
click (`--share 0`: at the threshold that training has calibrated). Of clips (`operator_footage.py`) a verdict
is the clip's label, an event is found where an abnormal clip has an alarm, and a place counts as a camera.

Where frames are labelled (Ped2), detectors that learn from what is abnormal are also judged by the AUC over
the frames of abnormal test videos, before and after one click in the middle of each abnormal training video's
event. Each draw's detector is trained once, and kept in --runs.
"""

import argparse
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from operator_footage import CPU, Draw, Footage, Watch, auc_of_abnormal, read_footage

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.console import table
from ssrl_pipeline.data import Intervals, Labels, frame_labels
from ssrl_pipeline.events import THRESHOLD, Event, EventRule, EventSettings, find_events
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import score_stored
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching import ABNORMAL, NORMAL, Moment, Verdict
from ssrl_pipeline.teaching.learning import learn_from
from ssrl_pipeline.teaching.lessons import placed
from ssrl_pipeline.times import FrameTimes
from ssrl_pipeline.training import Group, Task, train_detector

KINDS = ("memory", "probe", "ssrl", "fused", "auto")
CLICKS = (0, 1, 5, 10, 20)
SHARE = 0.1  # of the normal frames of the reviewed half that alarm
HEADER = ("kind", "clicks", "normal", "false alarms an hour", "of before", "found", "lost", "new", "events")

Scores = dict[str, np.ndarray]  # video -> float32 [frames]
EventKey = tuple[str, int]  # a video, and which of its events


class Counted(NamedTuple):
    """One draw after so many clicks on each camera; sums over cameras."""

    clicks: float  # given indeed, on a camera
    normal: float
    false: int
    hours: float
    found: frozenset[EventKey]
    events: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", help="a store")
    parser.add_argument("truth", type=Path, help="Ped2's folder, or a table of clips")
    parser.add_argument("--runs", type=Path, default=Path("runs/operator"))
    parser.add_argument("--draws", type=int, nargs="*", default=range(10))
    parser.add_argument("--models", nargs="*", choices=KINDS, default=("memory", "ssrl", "auto"))
    parser.add_argument("--clicks", type=int, nargs="*", default=CLICKS)
    parser.add_argument(
        "--share", type=float, default=SHARE, help="of normal frames that alarm at first; 0: as calibrated"
    )
    parser.add_argument("-o", "--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    store = open_features(given.features, "store")
    footage = read_footage(store, given.truth, given.draws)
    reviews, glances = [], []
    for kind in given.models:
        settings = load_config(Settings, None, given.set, {"model.kind": kind})
        draws: list[list[Counted]] = []
        aucs: list[tuple[float, float]] = []
        for draw in footage.draws:
            began = time.monotonic()
            paths = {
                watch.run: _trained(settings, store, draw.labels, given.runs / kind / watch.run)
                for watch in draw.watches
            }
            draws.append(reviewed(draw, paths, store, footage, settings, given.clicks, given.share))
            if footage.exact and kind != "memory":
                (path,) = paths.values()
                aucs.append(glanced(path, store, draw.labels, footage.intervals, settings))
            said = [f"{one.false / one.hours:.0f}/h {len(one.found)}" for one in draws[-1]]
            said += [f"glances {before:.3f} > {after:.3f}" for before, after in aucs[-1:]]
            took = f"({time.monotonic() - began:.0f} s)"
            print(f"{kind} draw {draw.number}:", *said, took, sep="  ", flush=True)
        reviews += [(kind, *row) for row in rows(draws)]
        if aucs:
            glances.append((kind, *glance_row(aucs)))
    print(table(reviews, HEADER))
    if glances:
        print(table(glances, ("kind", "AUC before", "a click an event", "change", "draws better", "of")))


def _trained(settings: Settings, store: Features, labels: Labels, run: Path) -> Path:
    if (run / "best.pt").exists():
        return run / "best.pt"
    return train_detector(Task(settings, run, store, labels, Group(CPU)))


def reviewed(
    draw: Draw,
    paths: Mapping[str, Path],
    store: Features,
    footage: Footage,
    settings: Settings,
    clicks: Sequence[int],
    share: float = SHARE,
) -> list[Counted]:
    """After each number of clicks."""
    by_watch = [
        _review(watch, paths[watch.run], store, draw.labels, footage.intervals, settings, clicks, share)
        for watch in draw.watches
    ]
    return [
        Counted(
            float(np.mean([one.clicks for one in same])),
            float(np.mean([one.normal for one in same])),
            sum(one.false for one in same),
            sum(one.hours for one in same),
            frozenset().union(*(one.found for one in same)),
            sum(one.events for one in same),
        )
        for same in zip(*by_watch, strict=True)
    ]


def _review(
    watch: Watch,
    path: Path,
    store: Features,
    labels: Labels,
    intervals: Intervals,
    settings: Settings,
    clicks: Sequence[int],
    share: float,
) -> list[Counted]:
    original = load_checkpoint(path)
    before = _scores(original, store, watch.reviewed)
    threshold = THRESHOLD
    if share:
        normal = np.concatenate(
            [before[v][~frame_labels(v, labels[v], intervals, len(before[v]))] for v in watch.reviewed]
        )
        threshold = float(np.nextafter(np.quantile(normal, 1 - share, method="higher"), np.float32(2)))
    rule = EventRule(threshold=min(1.0, threshold))
    settings = dataclasses.replace(settings, events=EventSettings(threshold=rule.threshold))
    given = [
        Verdict(Moment(v, alarm.peak, None), ABNORMAL if _hit(v, alarm, intervals) else NORMAL)
        for v in watch.reviewed
        for alarm in _alarms(v, before[v], store, rule)
    ]
    found = []
    for count in clicks:
        verdicts = given[:count]
        called_normal = sum(not one.abnormal for one in verdicts)
        checkpoint = original
        if verdicts and (called_normal or original.kind != "memory"):  # a memory learns from nothing else
            learnt = learn_from(original, path, store, placed(store, verdicts, print), labels, settings, CPU)
            checkpoint = learnt.checkpoint
        scores = _scores(checkpoint, store, watch.others)
        found.append(Counted(len(verdicts), called_normal, *_count(scores, store, rule, intervals)))
    return found


def _count(
    scores: Scores, store: Features, rule: EventRule, intervals: Intervals
) -> tuple[int, float, frozenset[EventKey], int]:
    """False alarms, hours of video, events found and events that there are."""
    false, found, hours = 0, set[EventKey](), 0.0
    for video, values in scores.items():
        alarms = _alarms(video, values, store, rule)
        false += sum(not _hit(video, alarm, intervals) for alarm in alarms)
        for number, (start, end) in enumerate(intervals.get(video, [])):
            if any(start < alarm.end and alarm.start < end for alarm in alarms):
                found.add((video, number))
        hours += _times(store, video).seconds(len(values)) / 3600
    return false, hours, frozenset(found), sum(len(intervals.get(video, [])) for video in scores)


def _times(store: Features, video: str) -> FrameTimes:
    times = store.times(video)
    return times if times.known else FrameTimes(10.0)  # as Ped2 was recorded


def _alarms(video: str, values: np.ndarray, store: Features, rule: EventRule) -> list[Event]:
    return find_events(values, _times(store, video), rule)


def _hit(video: str, alarm: Event, intervals: Intervals) -> bool:
    return any(start < alarm.end and alarm.start < end for start, end in intervals.get(video, []))


def _scores(checkpoint: Checkpoint, store: Features, videos: Sequence[str]) -> Scores:
    model = checkpoint.build()
    return {video: score_stored(video, model, store, CPU) for video in videos}


def glanced(
    path: Path, store: Features, labels: Labels, intervals: Intervals, settings: Settings
) -> tuple[float, float]:
    """AUC over the frames of abnormal test videos, before and after a click on each training event."""
    given = [
        Verdict(Moment(video, (start + end) // 2, None), ABNORMAL)
        for video, one in labels.items()
        if one.split == "train"
        for start, end in intervals.get(video, [])
    ]
    original, verdicts = load_checkpoint(path), placed(store, given, print)
    learnt = learn_from(original, path, store, verdicts, labels, settings, CPU).checkpoint
    before, after = (auc_of_abnormal(one.build(), store, labels, intervals) for one in (original, learnt))
    return before, after


def rows(draws: Sequence[Sequence[Counted]]) -> list[tuple[object, ...]]:
    """A row for each number of clicks: means over draws of false alarms, sums of events."""
    before, found = [draw[0] for draw in draws], []
    for same in zip(*draws, strict=True):
        false = np.array([one.false / one.hours for one in same])
        lost = sum(len(first.found - one.found) for first, one in zip(before, same, strict=True))
        new = sum(len(one.found - first.found) for first, one in zip(before, same, strict=True))
        left = sum(one.false for one in same) / max(1, sum(one.false for one in before))
        found.append(
            (
                f"{np.mean([one.clicks for one in same]):.1f}",
                f"{np.mean([one.normal for one in same]):.1f}",
                f"{false.mean():.1f} ± {false.std():.1f}",
                f"{left:.0%}",
                sum(len(one.found) for one in same),
                lost,
                new,
                sum(one.events for one in same),
            )
        )
    return found


def glance_row(aucs: Sequence[tuple[float, float]]) -> tuple[object, ...]:
    before, after = np.array(aucs).T
    figures = [f"{one.mean():.3f} ± {one.std():.3f}" for one in (before, after, after - before)]
    return *figures, int((after > before).sum()), len(aucs)


if __name__ == "__main__":
    main()
