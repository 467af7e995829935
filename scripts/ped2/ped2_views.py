"""Which sizes of frames and patches are worth their work on UCSD Ped2: the search behind the presets.

    python scripts/ped2/ped2_views.py --data ped2 --features searched --runs runs

Each candidate is a preset of its own, in a store of its own below --features; memory and probe learn from it
in all ten draws. It gives the work of a snippet and the mean AUC over the frames of all 18 test videos, and
of abnormal ones alone. The data folder is as ped2.py wants it. What is already extracted is not done again.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ped2 import measure
from ped2_common import describe, options, read_draws, split

from ssrl_pipeline.config import load_config
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import read_intervals, read_labels
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.presets import PRESETS, Preset
from ssrl_pipeline.extractors.views import Crops, Grid, Resize
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

GMAC = 287.4 / (224 * 224 + 2 * 360 * 630)  # a pixel of 16 frames, as in `fast`
KINDS = ("memory", "probe")


class Candidate(NamedTuple):
    height: int  # of the frame that patches are cut from
    width: int
    grids: tuple[tuple[int, int], ...]
    crop: int = 112
    stride: int = 1  # every such frame of a snippet is described

    @property
    def name(self) -> str:
        grids = "+".join(f"{rows}x{columns}" for rows, columns in self.grids)
        return f"{grids}_of_{self.height}x{self.width}" + (f"_stride{self.stride}" if self.stride > 1 else "")

    @property
    def work(self) -> float:
        """GMAC of a snippet."""
        return GMAC * (self.crop**2 + len(self.grids) * self.height * self.width) / self.stride

    def preset(self) -> Preset:
        crop = Crops("clip", Resize(self.crop * 256 // 224), self.crop, "centre")
        frame = Resize((self.height, self.width))
        return Preset(self.name, (crop, *(Grid(*grid, frame) for grid in self.grids)))


SMALL, MIDDLE, LARGE = (240, 420), (300, 525), (360, 630)
CANDIDATES = (
    Candidate(*SMALL, ((2, 3),)),  # `live`
    Candidate(*SMALL, ((3, 5),)),
    Candidate(*SMALL, ((4, 7),)),
    Candidate(*SMALL, ((2, 3), (3, 5))),
    Candidate(*SMALL, ((3, 5), (4, 7))),
    Candidate(*MIDDLE, ((2, 3),)),
    Candidate(*MIDDLE, ((3, 5),)),
    Candidate(*MIDDLE, ((2, 3), (3, 5))),
    Candidate(*LARGE, ((4, 7),)),
    Candidate(*LARGE, ((2, 3),), 224),
    Candidate(*LARGE, ((3, 5),), 224),
    Candidate(*LARGE, ((2, 3),), 224, 2),
    Candidate(*LARGE, ((3, 5),), 224, 2),
    Candidate(*LARGE, ((2, 3), (3, 5)), 224, 2),
    Candidate(*LARGE, ((2, 3), (3, 5)), 224),  # `fast`
)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--names", nargs="*", help="of candidates; all where none are named")
    parser.add_argument("--precision", default="int8")
    a = parser.parse_args()
    labels, intervals = read_labels(a.data / "labels.csv"), read_intervals(a.data / "intervals.csv")
    settings, group = load_config(Settings, None, [], {}), Group(torch.device("cpu"))
    rows = []
    for candidate in CANDIDATES:
        if a.names and candidate.name not in a.names:
            continue
        store = described(candidate, a.data, a.features / candidate.name, a.precision)
        row: list[object] = [candidate.name, round(candidate.work)]
        for kind in KINDS:
            own = dataclasses.replace(settings, model=dataclasses.replace(settings.model, kind=kind))
            figures = []
            for number, draw in enumerate(read_draws(a.data)):
                drawn, run = split(labels, draw), a.runs / candidate.name / f"{kind}{number}"
                best = train_detector(Task(own, run, store, drawn, group))
                figures.append(measure(best, store, drawn, intervals, group))
            row += [round(float(mean), 4) for mean in np.mean(figures, axis=0)]
        rows.append(row)
        print(*row, flush=True)
    names = [f"{kind}, {which}" for kind in KINDS for which in ("all", "abnormal")]
    print(table(sorted(rows, key=lambda row: row[1]), ("views", "GMAC", *names)))


def described(candidate: Candidate, data: Path, features: Path, precision: str) -> FeatureStore:
    PRESETS[candidate.name] = candidate.preset()
    extractor = FeatureExtractor("i3d", candidate.name, "cpu", precision=precision)
    extractor.backbone.frame_stride = candidate.stride  # type: ignore[misc]
    return describe(data, features, extractor)


if __name__ == "__main__":
    main()
