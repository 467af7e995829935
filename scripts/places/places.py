"""What a detector of one place is worth at another, as it comes and adapted to it.

    python scripts/places/places.py STORE clips.csv --kinds probe,memory

Trains each kind at one place and judges it by the clips of another. Adapting takes half of the other place's
normal clips, without labels; both are judged by the other half and the abnormal clips, and halves change
places, so that every normal clip is judged once. A clip's score is the mean of its snippets' log odds. Beside
every area under the curve stand the alarms: the share of normal frames from the default threshold on, and
events per camera and day, as if the clips were of one camera.

`clips.csv` has the columns video, label, part (train, val, test, or false_positives) and place. Clips of part
false_positives are judged by the common detectors alone, under "hard".
"""

import argparse
import csv
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.adapting import adapt_checkpoint
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.data import Label
from ssrl_pipeline.events import EventRule, count_false_alarms
from ssrl_pipeline.features import Features, open_features
from ssrl_pipeline.scoring import frame_scores, score_snippets
from ssrl_pipeline.settings import MemorySettings, ModelSettings, Settings
from ssrl_pipeline.training import Group, Task, train_detector

CPU = torch.device("cpu")
SHARE = 0.01  # of normal frames that may alarm
HEADER = (
    "kind",
    "trained on > judged on",
    "adapted",
    "AUC",
    "normal frames",
    "alarms a day",
    "hard: frames",
    "clips",
)


class Clip(NamedTuple):
    abnormal: bool
    part: str
    place: str


class Figures(NamedTuple):
    auc: float
    frames: float  # share of the normal clips' that alarm
    per_day: float  # events on normal clips


Scores = Mapping[str, np.ndarray]  # clip -> [T]


def read_clips(path: Path) -> dict[str, Clip]:
    with path.open(encoding="utf-8") as file:
        return {
            row["video"]: Clip(row["label"] == "abnormal", row["part"], row["place"])
            for row in csv.DictReader(file)
        }


def train(kind: str, store: Features, labels: Mapping[str, Label], run: Path) -> Checkpoint:
    """As `train --model KIND` does with its defaults."""
    settings = Settings(model=ModelSettings(kind=kind))  # type: ignore[arg-type]
    return load_checkpoint(train_detector(Task(settings, run, store, dict(labels), Group(CPU))))


def labelled(clips: Mapping[str, Clip], chosen: Iterable[str]) -> dict[str, Label]:
    return {video: Label(clips[video].abnormal, None) for video in chosen}


def score(checkpoint: Checkpoint, store: Features, videos: Iterable[str]) -> dict[str, np.ndarray]:
    model = checkpoint.build()
    return {video: score_snippets(video, model, store.read(video), CPU) for video in videos}


def auc_of_clips(scores: Scores, clips: Mapping[str, Clip]) -> float:
    """Each by the mean log odds of its snippets."""

    def odds(values: np.ndarray) -> float:
        exact = values.astype(np.float64).clip(1e-9, 1 - 1e-9)
        return float(np.mean(np.log(exact) - np.log1p(-exact)))

    abnormal = [clips[video].abnormal for video in scores]
    return float(roc_auc_score(abnormal, [odds(values) for values in scores.values()]))


def judge(scores: Scores, clips: Mapping[str, Clip], store: Features) -> Figures:
    frames = {
        video: frame_scores(values, store.meta(video).frames, store.starts(video))
        for video, values in scores.items()
        if not clips[video].abnormal
    }
    found = count_false_alarms(frames, {video: store.times(video) for video in frames}, EventRule())
    return Figures(auc_of_clips(scores, clips), found.share, 24 * (found.per_hour or 0.0))


def hard(scores: Scores) -> tuple[float, str]:
    """Share of frames, and how many of the clips, that alarm."""
    clips = sum(bool((values >= 0.5).any()) for values in scores.values())
    pooled = np.concatenate(list(scores.values()))
    return float((pooled >= 0.5).mean()), f"{clips} of {len(scores)}"


def adapted(
    checkpoint: Checkpoint,
    store: Features,
    clips: Mapping[str, Clip],
    other: list[str],
    draws: int,
    memory: MemorySettings,
) -> list[tuple[Figures, Figures]]:
    """Without and with adapting, for each half of each draw."""
    normal, found = sorted(video for video in other if not clips[video].abnormal), []
    abnormal = [video for video in other if clips[video].abnormal]
    common = score(checkpoint, store, other)
    for seed in range(draws):
        drawn = np.random.default_rng(seed).permutation(normal).tolist()
        middle = len(drawn) // 2
        for own, rest in ((drawn[:middle], drawn[middle:]), (drawn[middle:], drawn[:middle])):
            judged = [*rest, *abnormal]
            fitted = adapt_checkpoint(checkpoint, store, "other", sorted(own), SHARE, memory, CPU).checkpoint
            scores = score(fitted.for_camera("other"), store, judged)
            before = judge({video: common[video] for video in judged}, clips, store)
            found.append((before, judge(scores, clips, store)))
    return found


def mean(judged: Iterable[Figures]) -> Figures:
    return Figures(*np.mean(list(judged), axis=0).tolist())


def show(*values: object) -> None:
    shown = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in values]
    print("| " + " | ".join(shown) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--kinds", default="probe,memory,ssrl,fused,auto")
    parser.add_argument("--places", default="and,tala", help="two of them")
    parser.add_argument("--draws", type=int, default=5, help="of the halves that adapting takes")
    parser.add_argument(
        "--memory-views", default="clip", help="that adapting remembers; a place is many cameras"
    )
    given = parser.parse_args()
    store, clips = open_features(str(given.store), "store"), read_clips(given.clips)
    clips = {video: clip for video, clip in clips.items() if video in set(store.videos())}
    difficult = [video for video, clip in clips.items() if clip.part == "false_positives"]
    plain = {video: clip for video, clip in clips.items() if clip.part != "false_positives"}
    memory = MemorySettings(views=tuple(given.memory_views.split(",")))
    first, second = given.places.split(",")
    show(*HEADER)
    show(*["---"] * len(HEADER))
    for kind in given.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            learned = [video for video, clip in plain.items() if clip.part == "train"]
            common = train(kind, store, labelled(clips, learned), Path(folder) / "given")
            scores = score(common, store, [video for video in plain if video not in set(learned)])
            fooled = hard(score(common, store, difficult))
            show(kind, "train > test", "no", *cells(judge(scores, clips, store)), *fooled)
            for here, there in ((first, second), (second, first)):
                own = [video for video, clip in plain.items() if clip.place == here]
                other = [video for video, clip in plain.items() if clip.place == there]
                common = train(kind, store, labelled(clips, own), Path(folder) / here)
                pairs = adapted(common, store, clips, other, given.draws, memory)
                fooled = hard(score(common, store, difficult))
                show(kind, f"{here} > {there}", "no", *cells(mean(one for one, _ in pairs)), *fooled)
                show(kind, f"{here} > {there}", "yes", *cells(mean(one for _, one in pairs)), "", "")


def cells(judged: Figures) -> tuple[object, ...]:
    return judged.auc, judged.frames, f"{judged.per_day:.0f}"


if __name__ == "__main__":
    main()
