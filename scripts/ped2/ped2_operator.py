"""A simulated operator on UCSD Ped2: alarms are reviewed in order, and verdicts given from the ground truth.

    python scripts/ped2/ped2_operator.py --data ped2 --features features --runs runs --models memory ssrl

Of each draw's 18 test videos half are reviewed, chosen at random, and half are never clicked: on these false
alarms an hour and events found are counted, before and after 1, 5 and 20 clicks, at the threshold above which
a tenth of the normal snippets of the reviewed half was before. For SSRL also the AUC over the snippets of
abnormal test videos after one click in the middle of each abnormal training video's event.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ped2_common import options, read_draws, split
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import Intervals, Labels, read_intervals, read_labels
from ssrl_pipeline.events import EventRule, find_events
from ssrl_pipeline.features import FeatureStore, open_store
from ssrl_pipeline.scoring import score_snippets
from ssrl_pipeline.settings import EventSettings, Settings
from ssrl_pipeline.teaching.learning import learn_from
from ssrl_pipeline.teaching.lessons import placed
from ssrl_pipeline.teaching.verdicts import Moment, Verdict
from ssrl_pipeline.times import FrameTimes
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

CLICKS = (0, 1, 5, 20)
CPU = torch.device("cpu")
Scores = dict[str, np.ndarray]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--draws", type=int, nargs="*", help="all where none are named")
    parser.add_argument("--models", nargs="*", choices=("memory", "ssrl"), default=("memory", "ssrl"))
    arguments = parser.parse_args()
    store = open_store(arguments.features)
    labels = read_labels(arguments.data / "labels.csv")
    intervals = read_intervals(arguments.data / "intervals.csv")
    named = {Path(video).name: video for video in store.videos()}  # with or without a folder before
    labels = {named[Path(v).name]: label for v, label in labels.items()}
    intervals = {named[Path(v).name]: pairs for v, pairs in intervals.items()}
    draws = read_draws(arguments.data)
    for kind in arguments.models:
        rows = []
        for draw in arguments.draws or range(len(draws)):
            drawn = split(labels, {named[Path(v).name] for v in draws[draw]})
            path = _train(kind, store, drawn, arguments.runs / "operator" / kind / f"draw{draw}")
            rows += _review(draw, path, store, drawn, intervals)
            print(*rows[-len(CLICKS) :], sep="\n", flush=True)
            if kind == "ssrl":
                print("one click per abnormal training video:", *_glances(path, store, drawn, intervals))
        print(table(_means(rows), (kind, "clicks", "false alarms an hour", "events found", "of")))


def _train(kind: str, store: FeatureStore, labels: Labels, run: Path) -> Path:
    if (run / "best.pt").exists():
        return run / "best.pt"
    settings = Settings()
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, kind=kind))  # type: ignore[arg-type]
    return train_detector(Task(settings, run, store, labels, Group(CPU)))


def _review(
    draw: int, path: Path, store: FeatureStore, labels: Labels, intervals: Intervals
) -> list[tuple[object, ...]]:
    """Draw, clicks, false alarms an hour, events found and events of the videos that were not clicked."""
    original, generator = load_checkpoint(path), np.random.default_rng(draw)
    test = {
        kind: [v for v, one in labels.items() if (one.split, one.abnormal) == ("test", kind)]
        for kind in (0, 1)
    }
    shuffled = [generator.permutation(videos).tolist() for videos in test.values()]
    reviewed = generator.permutation([v for videos in shuffled for v in videos[::2]]).tolist()
    others = [v for videos in shuffled for v in videos[1::2]]
    before = _scores(original, store, [*reviewed, *others])
    normal = np.concatenate([before[v][~_truth(v, len(before[v]), intervals)] for v in reviewed])
    rule = EventRule(threshold=float(np.quantile(normal, 0.9)), shortest=0.0, gap=0.0)
    settings = dataclasses.replace(Settings(), events=EventSettings(threshold=rule.threshold))
    given = [
        Verdict(Moment(v, peak, None), "abnormal" if _hit(v, peak, peak + 1, intervals) else "normal")
        for v in reviewed
        for _, _, peak in _alarms(v, before[v], store, rule)
    ]
    rows: list[tuple[object, ...]] = []
    for clicks in CLICKS:
        verdicts = placed(store, given[:clicks], print)
        if clicks and not any(not one.verdict.abnormal for one in verdicts) and original.kind == "memory":
            checkpoint = original  # nothing to learn from yet
        else:
            checkpoint = learn_from(original, path, store, verdicts, labels, settings, CPU).checkpoint
        rows.append((draw, clicks, *_count(_scores(checkpoint, store, others), store, rule, intervals)))
    return rows


def _count(
    scores: Scores, store: FeatureStore, rule: EventRule, intervals: Intervals
) -> tuple[float, int, int]:
    false, found, hours = 0, 0, 0.0
    for video, values in scores.items():
        alarms = _alarms(video, values, store, rule)
        false += sum(not _hit(video, start, end, intervals) for start, end, _ in alarms)
        found += sum(
            any(s < end and start < e for start, end, _ in alarms) for s, e in intervals.get(video, [])
        )
        hours += store.times(video).seconds(store.meta(video).frames) / 3600
    return false / hours, found, sum(len(intervals.get(video, [])) for video in scores)


def _alarms(
    video: str, values: np.ndarray, store: FeatureStore, rule: EventRule
) -> list[tuple[int, int, int]]:
    frames = store.meta(video).frames
    times = store.times(video)
    events = find_events(values.repeat(16)[:frames], times if times.known else FrameTimes(10.0), rule)
    return [(event.start, event.end, event.peak) for event in events]


def _hit(video: str, start: int, end: int, intervals: Intervals) -> bool:
    return any(s < end and start < e for s, e in intervals.get(video, []))


def _truth(video: str, snippets: int, intervals: Intervals) -> np.ndarray:
    return np.array([_hit(video, 16 * t, 16 * (t + 1), intervals) for t in range(snippets)])


def _scores(checkpoint: Checkpoint, store: FeatureStore, videos: Sequence[str]) -> Scores:
    model = checkpoint.build()
    return {v: score_snippets(v, model, store.read(v, model.views), CPU) for v in videos}


def _glances(path: Path, store: FeatureStore, labels: Labels, intervals: Intervals) -> list[float]:
    """AUC over the snippets of abnormal test videos, before and after."""
    given = [
        Verdict(Moment(v, sum(intervals[v][0]) // 2, None), "abnormal")
        for v, one in labels.items()
        if one.split == "train" and one.abnormal
    ]
    test = [v for v, one in labels.items() if one.split == "test" and one.abnormal]
    original, verdicts = load_checkpoint(path), placed(store, given, print)
    learnt = learn_from(original, path, store, verdicts, labels, Settings(), CPU).checkpoint
    aucs = []
    for checkpoint in (original, learnt):
        scores = _scores(checkpoint, store, test)
        truth = np.concatenate([_truth(v, len(scores[v]), intervals) for v in test])
        aucs.append(float(roc_auc_score(truth, np.concatenate([scores[v] for v in test]))))
    return aucs


def _means(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for clicks in CLICKS:
        figures = np.array([row[2:] for row in rows if row[1] == clicks], float)
        false = f"{figures[:, 0].mean():.1f} ± {figures[:, 0].std():.1f}"
        found.append(("", clicks, false, int(figures[:, 1].sum()), int(figures[:, 2].sum())))
    return found


if __name__ == "__main__":
    main()
