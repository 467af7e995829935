"""gpu_check.py's steps about what comes after the features: training, scoring, heat, cameras.

Dimensions: T snippets, P crops or patches, F feature size.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from benchmark_model import scoring as scoring_ways
from benchmark_model import training as training_ways
from benchmark_rounds import Bench, wall
from gpu_common import Check

from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.extractors.backbones import BACKBONES
from ssrl_pipeline.extractors.presets import PRESETS
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, cut_snippets
from ssrl_pipeline.features.meta import VideoMeta
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.models.live_window import WindowScorer
from ssrl_pipeline.models.long_video import score_long
from ssrl_pipeline.models.occlusion import HeatStream
from ssrl_pipeline.scales import scale_of
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.ssrl import train_ssrl
from ssrl_pipeline.training.run_folder import Evaluation
from ssrl_pipeline.watching.watch import TOGETHER

FPS = 25  # of a camera
CAMERAS = (1, 2, 4, 8, 16, 32, 64, 128)


def made_up_store(
    root: Path, videos: Mapping[str, Label], length: int, views: Mapping[str, int], size: int
) -> FeatureStore:
    """Random features; those of abnormal videos are larger in one direction in the middle."""
    recipe = {
        "preset": "made up",
        "backbone": "made up",
        "weights_sha256": "random",
        "feature_size": size,
        "views": dict(views),
        "geometry": {name: "made up" for name in views},
    }
    store = create_store(root, recipe)
    rng = np.random.default_rng(0)
    for video, label in videos.items():
        rows = {name: rng.random((length, count, size), np.float32) for name, count in views.items()}
        if label.abnormal:
            for values in rows.values():
                values[length // 3 : length // 2, :, : size // 8] += 1
        with store.writer(video) as writer:
            writer.append(rows)
            writer.meta = VideoMeta(
                frames=SNIPPET_FRAMES * length,
                snippets=length,
                fps=FPS,
                width=320,
                height=240,
                decoder="made up",
                source_bytes=0,
                source_mtime_ns=0,
                source_sha256="",
            )
    return store


def labelled(count: int) -> dict[str, Label]:
    """Videos to train on and to choose by, half of each abnormal."""
    return {f"{split}{i}.mp4": Label(i % 2 == 1, split) for split in ("train", "val") for i in range(count)}


def training(check: Check) -> None:
    """Steps alone at the paper's sizes, and then the trainer with everything that it does besides."""
    store_views, size, steps = PRESETS["paper"].view_sizes, 1024, 60
    if check.tiny:
        store_views, size, steps = {"clip": 1, "patch2x3": 6}, 16, 4
    if check.tiny:
        check.skip("steps of the paper's sizes", "too much for a try on a CPU")
    else:
        for precision in ("float32", "bfloat16"):
            folder = check.folder / precision
            folder.mkdir()
            for row in training_ways(Bench(folder, 10, check.device), precision):
                check.report(f"{row.part}: {row.way}", row.rate, row.unit, f"{row.ratio:.2f} times the first")
    videos = labelled(4 if check.tiny else 12)
    store = made_up_store(check.folder / "features", videos, 32, store_views, size)
    for precision in ("float32", "bfloat16"):
        stamps: list[tuple[int, float, float]] = []

        def note(evaluation: Evaluation) -> None:
            stamps.append((evaluation.step, time.perf_counter(), evaluation.loss))  # noqa: B023

        settings = TrainSettings(steps=steps, evaluate_every=steps // 2, precision=precision)
        group = Group(check.device)
        model = ModelSettings(patches="relation")
        train_ssrl(store, videos, check.folder / f"run-{precision}", model, settings, group, note)
        (first, begun, _), (last, ended, loss) = stamps[0], stamps[-1]
        beside = f"an evaluation among them; loss {loss:.4g}"
        check.report(f"trainer, joint, {precision}", (last - first) / (ended - begun), "steps/s", beside)


def scoring(check: Check) -> None:
    """An hour of features in chunks and at once, and what each patch adds."""
    if check.tiny:
        check.skip("scoring an hour", "too much for a try on a CPU")
    else:
        for row in scoring_ways(Bench(check.folder, 5, check.device)):
            check.report(f"an hour: {row.way}", row.rate, row.unit, f"{row.ratio:.2f} times the first")
    torch.manual_seed(0)
    count, size = (8, 16) if check.tiny else (512, 1024)
    model = SSRL(size, ("2x3", "3x5"), crops=1).eval()
    views = {name: torch.rand(count, n, size) for name, n in model.views.items()}
    by_cpu = score_long(model, [views], torch.device("cpu"))
    model.to(check.device)
    off = (score_long(model, [views], check.device) - by_cpu).abs().max().item()
    check.report("scores", off, "largest difference", "from the CPU's")

    def heat() -> None:
        stream = HeatStream(model, check.device)
        stream.add(views)
        stream.heat()

    heat()
    seconds = wall(heat, check.device)
    check.report(
        "heat of 2x3 and 3x5",
        count / seconds,
        "snippets/s",
        f"{count * SNIPPET_FRAMES / FPS / seconds:.4g} times as fast as a camera",
    )


def cameras(check: Check) -> None:
    """How many cameras' snippets can be described and scored together before the next ones arrive."""
    period = SNIPPET_FRAMES / FPS
    sizes = ((160, 120),) if check.tiny else ((320, 240), (1920, 1080))
    for preset in ("live",) if check.tiny else ("live", "fast"):
        extractor = check.extractor(preset)
        scales = [scale_of(name) for name in PRESETS[preset].view_sizes if name != "clip"]
        model = SSRL(BACKBONES["i3d"].feature_size, scales, crops=PRESETS[preset].view_sizes["clip"])
        scorer = WindowScorer(model.eval().to(check.device), check.device, size=16, delay=1)
        for width, height in sizes:
            frames = check.frames(width, height, 4)
            own = list(cut_snippets(frames, pending=extractor.pending()))
            held, best = 0, 0.0
            for count in CAMERAS[: 1 if check.tiny else None]:
                windows = [scorer.window() for _ in range(count)]

                def round_of_all() -> None:
                    for begin in range(0, len(windows), TOGETHER):  # noqa: B023
                        part = windows[begin : begin + TOGETHER]  # noqa: B023
                        features = extractor.describe([own[i % len(own)] for i in range(len(part))])  # noqa: B023
                        views = {
                            name: torch.from_numpy(np.concatenate([one[name] for one in features]))
                            for name in model.views  # noqa: B023
                        }
                        scorer.add(part, views)  # noqa: B023

                for _ in range(0 if check.tiny else 3):
                    round_of_all()
                took = sorted(wall(round_of_all, check.device) for _ in range(1 if check.tiny else 5))[-1]
                held, best = (count, count / took) if took <= period else (held, best)
                if took > period:
                    best = max(best, count / took)
                    break
            name = f"{preset}, {check.engine}, {check.precision}, {width}x{height}"
            beside = f"groups of {held} were in time; {best:.4g} snippets/s; decoding is not among it"
            check.report(f"cameras of {FPS} frames/s, {name}", best * period, "cameras", beside)
