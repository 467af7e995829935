"""Every kind of detector on clips of many cameras: the given split, from place to place, and over groups.

    python scripts/places/kinds.py STORE clips.csv --kinds probe,memory
    python scripts/places/kinds.py STORE clips.csv --kinds auto --rows given "fold 0"

A row is a way to part the clips. `given` trains on part train and judges by part test and the hard normal
clips (part false_positives); `a > b` trains at one place and judges by the other's; a fold trains on four
fifths of the groups and judges by the rest. Groups are clips whose pictures are alike (k-means of the mean
features of whole pictures), which is harder than the cameras. Columns are those of places.py.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from places import HEADER, Clip, cells, hard, judge, labelled, read_clips, score, show, train
from sklearn.cluster import KMeans
from sklearn.model_selection import StratifiedGroupKFold

from ssrl_pipeline.data import Label
from ssrl_pipeline.features import Features, open_features

GROUPS, FOLDS = 30, 5


class Row(NamedTuple):
    name: str
    learned: dict[str, Label]
    judged: list[str]


def rows(store: Features, clips: Mapping[str, Clip], places: tuple[str, str]) -> Iterator[Row]:
    plain = [video for video, clip in clips.items() if clip.part != "false_positives"]
    own = [video for video in plain if clips[video].part == "train"]
    test = [video for video, clip in clips.items() if clip.part in ("test", "false_positives")]
    yield Row("given", labelled(clips, own), test)
    for here, there in (places, places[::-1]):
        at = {place: [video for video in plain if clips[video].place == place] for place in places}
        yield Row(f"{here} > {there}", labelled(clips, at[here]), at[there])
    groups = alike(store, plain)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    abnormal = [clips[video].abnormal for video in plain]
    for number, (own_rows, others) in enumerate(folds.split(plain, abnormal, groups)):
        learned = {plain[i]: Label(abnormal[i], None, group=str(groups[i])) for i in own_rows}
        yield Row(f"fold {number}", learned, [plain[i] for i in others])


def alike(store: Features, videos: list[str]) -> list[int]:
    """The group of each video."""
    pictures = np.stack([store.read(video, ["clip"])["clip"].mean((0, 1)) for video in videos])
    scaled = (pictures - pictures.mean(0)) / (pictures.std(0) + 1e-6)
    found: list[int] = KMeans(GROUPS, n_init=10, random_state=0).fit(scaled).labels_.tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--kinds", default="probe,memory,motion,ssrl,fused,auto")
    parser.add_argument("--places", default="and,tala", help="two of them")
    parser.add_argument("--rows", nargs="*", help="by their names; all where none are named")
    given = parser.parse_args()
    store = open_features(str(given.store), "store")
    clips = {video: clip for video, clip in read_clips(given.clips).items() if video in set(store.videos())}
    first, second = given.places.split(",")
    parted = [row for row in rows(store, clips, (first, second)) if not given.rows or row.name in given.rows]
    difficult = [video for video, clip in clips.items() if clip.part == "false_positives"]
    header = [name for name in HEADER if name != "adapted"]
    show(*header)
    show(*["---"] * len(header))
    for kind in given.kinds.split(","):
        figures = []
        for row in parted:
            with tempfile.TemporaryDirectory() as folder:
                detector = train(kind, store, row.learned, Path(folder) / "run")
            figures.append(judge(score(detector, store, row.judged), clips, store))
            show(kind, row.name, *cells(figures[-1]), *hard(score(detector, store, difficult)))
        show(kind, "mean", float(np.mean([one.auc for one in figures])), "", "", "", "")


if __name__ == "__main__":
    main()
