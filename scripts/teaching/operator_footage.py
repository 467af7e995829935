"""What a simulated operator looks at: UCSD Ped2 in ten draws, or clips with labels alone (vioperu).

The truth is Ped2's folder (labels.csv, intervals.csv and draws.json), or a table of clips with the columns
video, label, part and place.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.data import Intervals, Label, Labels, frame_labels, read_intervals, read_labels
from ssrl_pipeline.features import Features
from ssrl_pipeline.models import Detector
from ssrl_pipeline.scoring import score_stored

CPU = torch.device("cpu")


class Watch(NamedTuple):
    """The footage of one camera: what is reviewed, and what nobody clicks."""

    name: str
    run: str  # the training that its detector is of
    reviewed: list[str]  # in order of time
    others: list[str]


class Draw(NamedTuple):
    number: int
    labels: Labels  # train: learned from
    watches: list[Watch]


class Footage(NamedTuple):
    intervals: Intervals  # of abnormal videos, frames; a clip's is all of it
    draws: list[Draw]
    exact: bool  # whether it is known when in a video something happens


def read_footage(store: Features, truth: Path, draws: Sequence[int]) -> Footage:
    """What the store has of it; `draws` are numbers, of which Ped2 has ten."""
    return _ped2(store, truth, draws) if truth.is_dir() else _clips(store, truth, draws)


def auc_of_abnormal(model: Detector, store: Features, labels: Labels, intervals: Intervals) -> float:
    """Over the frames of abnormal test videos."""
    truth, scores = [], []
    for video, one in labels.items():
        if one.split == "test" and one.abnormal:
            scores.append(score_stored(video, model, store, CPU))
            truth.append(frame_labels(video, one, intervals, len(scores[-1])))
    return float(roc_auc_score(np.concatenate(truth), np.concatenate(scores)))


def _ped2(store: Features, data: Path, draws: Sequence[int]) -> Footage:
    named = {Path(video).name: video for video in store.videos()}  # with or without a folder before
    labels = {named[Path(video).name]: label for video, label in read_labels(data / "labels.csv").items()}
    known = read_intervals(data / "intervals.csv").items()
    intervals = {named[Path(video).name]: pairs for video, pairs in known}
    drawn = json.loads((data / "draws.json").read_text())
    found = []
    for number in draws:
        train = {named[Path(video).name] for video in drawn[number]["train"]}
        own = {v: Label(one.abnormal, "train" if v in train else "test") for v, one in labels.items()}
        tested = [video for video in own if video not in train]
        found.append(Draw(number, own, [_halves("ped2", f"draw{number}", tested, own, number)]))
    return Footage(intervals, found, exact=True)


def _clips(store: Features, table: Path, draws: Sequence[int]) -> Footage:
    with table.open(encoding="utf-8") as file:
        rows = {row["video"]: row for row in csv.DictReader(file)}
    rows = {video: rows[video] for video in store.videos() if video in rows}
    labels = {
        video: Label(row["label"] == "abnormal", "train" if row["part"] == "train" else "test")
        for video, row in rows.items()
    }
    intervals = {video: [(0, store.meta(video).frames)] for video, one in labels.items() if one.abnormal}
    places = sorted({row["place"] for row in rows.values()})
    found = []
    for number in draws:
        watches = []
        for place in places:
            own = [v for v, row in rows.items() if row["place"] == place and labels[v].split == "test"]
            if len(own) > 1:
                watches.append(_halves(place, "all", own, labels, number))
        found.append(Draw(number, labels, watches))
    return Footage(intervals, found, exact=False)


def _halves(name: str, run: str, videos: list[str], labels: Labels, seed: int) -> Watch:
    """Half of the normal and half of the abnormal videos are reviewed."""
    generator = np.random.default_rng(seed)
    kinds = [[video for video in videos if labels[video].abnormal == kind] for kind in (False, True)]
    shuffled = [generator.permutation(kind).tolist() for kind in kinds]
    reviewed = generator.permutation([video for kind in shuffled for video in kind[::2]]).tolist()
    return Watch(name, run, reviewed, [video for kind in shuffled for video in kind[1::2]])
