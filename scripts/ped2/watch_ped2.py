"""How `watch`'s scores differ from those of whole videos, on UCSD Ped2, after scripts/ped2/ped2.py.

    python scripts/ped2/watch_ped2.py --data ped2 --features features --runs runs

A camera's snippets are scored only among the latest ones. For each window and delay (in snippets),
the first table gives the mean and the greatest absolute difference from the score within the whole
video, and the AUC over the frames of all test videos and of abnormal ones alone, beside that of
whole videos. These are means over the draws. Ped2's videos have 8 to 12 snippets, so a window of 16
holds a whole one. The second table therefore takes a draw's test videos one after the other as one
stream, as from a camera. In the third, every second snippet of that stream is dropped, and the
window is kept or starts anew; dropped frames are not judged.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ped2_common import options, read_draws, split
from torch import Tensor

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import read_intervals, read_labels
from ssrl_pipeline.data.splits import ground_truth
from ssrl_pipeline.evaluation.metrics import frame_metrics
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import Detector
from ssrl_pipeline.scoring.stored import frame_scores, score_snippets

CPU = torch.device("cpu")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="*", default=["ssrl-clip+2x3+3x5", "fused-clip+2x3+3x5"])
    parser.add_argument("--windows", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--delays", type=int, nargs="*", default=[0, 1, 2, 5])
    a = parser.parse_args()

    store = open_store(a.features)
    labels, intervals = read_labels(a.data / "labels.csv"), read_intervals(a.data / "intervals.csv")
    draws = read_draws(a.data)
    for name in a.models:
        figures: dict[tuple[str, str, str], list[list[float]]] = defaultdict(list)
        for number, train in enumerate(draws):
            truth = ground_truth(store, split(labels, train), intervals, "test")
            model = load_checkpoint(a.runs / name / f"draw{number}" / "best.pt").build()
            for way, found in judge_draw(model, store, truth, a.windows, a.delays).items():
                figures[way].append(found)
        rows = [(*way, *np.mean(found, axis=0)) for way, found in figures.items()]
        header = ("scored", "window", "delay", "mean difference", "greatest", "AUC, all", "AUC, abnormal")
        print(f"{name}, {len(draws)} draws\n{table(rows, header)}\n", flush=True)


def judge_draw(
    model: Detector,
    store: FeatureStore,
    truth: dict[str, np.ndarray],
    windows: Sequence[int],
    delays: Sequence[int],
) -> dict[tuple[str, str, str], list[float]]:
    """(What was scored, window, delay) -> the figures of :class:`Judge`."""
    stored = {video: store.read(video) for video in truth}
    whole = {video: score_snippets(video, model, stored[video], CPU) for video in truth}
    judge = Judge(truth, whole)
    found = {("whole videos", "-", "-"): judge(whole)}
    pasts = {video: Past(model, features) for video, features in stored.items()}
    joined_up = {n: np.concatenate([np.asarray(f[n]) for f in stored.values()]) for n in model.views}
    stream = Past(model, joined_up)
    cuts = np.cumsum([len(scores) for scores in whole.values()])[:-1]

    def as_videos(scores: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(truth, np.split(scores, cuts), strict=True))

    every = np.arange(stream.length)
    found["all as one video", "-", "-"] = judge(as_videos(score_snippets("stream", model, joined_up, CPU)))
    for window in windows:
        fitting = [delay for delay in delays if delay < window]
        alone = {video: past.scores(window, fitting) for video, past in pasts.items()}
        joined = stream.scores(window, fitting)
        half = stream.only(every[::2]).scores(window, fitting)
        for i, delay in enumerate(fitting):
            way = (str(window), str(delay))
            found[("each video alone", *way)] = judge({video: scores[i] for video, scores in alone.items()})
            found[("one stream", *way)] = judge(as_videos(joined[i]))
            found[("every second, window kept", *way)] = judge(as_videos(spread(half[i], every)))
    anew = stream.only(every[::2]).scores(1, [0])[0]
    found["every second, begun anew", "1", "0"] = judge(as_videos(spread(anew, every)))
    # The best that can be reached: the same snippets' scores within whole videos.
    best = np.concatenate(list(whole.values()))[::2]
    found["every second, whole videos", "-", "-"] = judge(as_videos(spread(best, every)))
    return found


class Past:
    """A sequence of snippets, scored in windows as :mod:`ssrl_pipeline.models.live_window` does.

    All windows of a length pass the model together, and one pass serves every delay.
    """

    @torch.inference_mode()
    def __init__(self, model: Detector, features: Mapping[str, np.ndarray]):
        self.model = model
        views = {n: torch.from_numpy(np.array(features[n], np.float32))[None] for n in model.views}
        self.kept = [  # of each part: summaries [R, T, W], or scores [T] where it does not relate snippets
            part.summarise(views)[0] if part.related else part.raw(views)[0] for part in model.parts
        ]

    @property
    def length(self) -> int:
        return self.kept[0].shape[1 if self.model.parts[0].related else 0]

    def only(self, chosen: np.ndarray) -> "Past":
        """These snippets, as if there had been no others."""
        part = copy.copy(self)
        part.kept = [kept[..., chosen, :] if kept.dim() > 1 else kept[chosen] for kept in self.kept]
        return part

    @torch.inference_mode()
    def scores(self, window: int, delays: Sequence[int]) -> np.ndarray:
        """float32 [delays, T]."""
        found = [
            self._related(part, kept, window, delays) if part.related else kept.expand(len(delays), -1)
            for part, kept in zip(self.model.parts, self.kept, strict=True)
        ]
        return self.model.outward(found).numpy()

    def _related(self, model: Detector, kept: Tensor, window: int, delays: Sequence[int]) -> Tensor:
        """[delays, T] of a part that relates snippets."""
        last = self.length - 1
        result = torch.zeros(len(delays), self.length)
        ends = torch.arange(self.length)
        for length in range(1, min(window, self.length) + 1):
            same = ends[ends + 1 == length] if length < window else ends[ends + 1 >= length]
            for part in same.split(32):
                x = torch.stack([kept[:, e - length + 1 : e + 1] for e in part.tolist()])  # [n, R, t, W]
                related = model.relate(x)
                for row, e in enumerate(part.tolist()):
                    for i, delay in enumerate(delays):
                        begin = e - delay
                        for t in range(max(begin, 0), (last if e == last else begin) + 1):
                            result[i, t] = model.score(related[row, None, :, t - e + length - 1])[0]
        return result


def spread(scores: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Scores of every second snippet -> of all, nan where there is none."""
    found = np.full(len(every), np.nan, np.float32)
    found[::2] = scores
    return found


class Judge:
    """Compares snippet scores with those of whole videos, and frames with the truth; nan is not looked at."""

    def __init__(self, truth: dict[str, np.ndarray], whole: dict[str, np.ndarray]):
        self.truth, self.whole = truth, whole

    def __call__(self, scores: dict[str, np.ndarray]) -> list[float]:
        """Mean and greatest difference, AUC over all videos and over abnormal ones."""
        away = np.abs(np.concatenate([scores[video] - self.whole[video] for video in scores]))
        frames = {video: frame_scores(scores[video], len(self.truth[video])) for video in scores}
        seen = {video: ~np.isnan(values) for video, values in frames.items()}
        m = frame_metrics(
            {video: values[seen[video]] for video, values in frames.items()},
            {video: self.truth[video][seen[video]] for video in frames},
        )
        return [float(np.nanmean(away)), float(np.nanmax(away)), m.auc, m.abnormal_auc]


if __name__ == "__main__":
    main()
