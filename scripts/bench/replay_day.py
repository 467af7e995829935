"""How long `ssrl-pipeline replay` takes over a day of stored features, and of scores: it decodes no video.

    python scripts/bench/replay_day.py --folder replay_day

The features are made up, an hour in each video (12 GB for a day of `fast` views in float32), and stay in the
folder for the next time. Times are of whole commands, from their start to their end, by the clock and in
processor time; memory is the command's peak. A file that was just written is still in the page cache, as far
as that holds it: a slow disk adds the time that it needs to read the views that the detector looks at.
"""

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from long_video import made_up_features

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.console import table
from ssrl_pipeline.events import ChosenRule, EventRule
from ssrl_pipeline.features import FeatureStore, Recipe, VideoMeta, create_store
from ssrl_pipeline.models import Detector, LinearProbe, fit_memory
from ssrl_pipeline.models.memory import MOST_LEARNT
from ssrl_pipeline.results import VideoScores
from ssrl_pipeline.scales import parse_scale, view_of
from ssrl_pipeline.teaching.lessons import Lesson

FPS = 25
SNIPPETS = FPS * 3600 // 16  # of an hour
FITTED = 512  # snippets that the memory is made of, which keeps 256
THRESHOLD = 0.6  # beside the one that alarms now


class Cost(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_gib: float
    alarms: tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("replay_day"))
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--snippets", type=int, default=SNIPPETS, help="of an hour")
    parser.add_argument("--scales", nargs="*", default=["2x3", "3x5"], help="fast: 2x3 3x5")
    parser.add_argument("--feature-size", type=int, default=1024)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    views = {"clip": 1} | {view_of(scale): math.prod(parse_scale(scale)) for scale in a.scales}
    torch.manual_seed(0)
    probe = LinearProbe(a.feature_size, views).eval()
    store = made_up_store(a.folder / "features", probe, a.hours, a.snippets, a.dtype)
    rows = next(made_up_features(probe, FITTED))
    patches = {name: count for name, count in views.items() if name != "clip"} or views
    videos = np.arange(len(rows["clip"])) % 4
    models = {"probe": probe, "memory": fit_memory(lambda name: rows[name].numpy(), patches, videos)}
    models["taught"] = taught = copy.deepcopy(models["memory"])
    called_normal = {name: torch.ones(MOST_LEARNT, count, dtype=torch.int) for name, count in patches.items()}
    taught.learn([Lesson(rows, torch.zeros(MOST_LEARNT), called_normal)])  # as much as a memory takes
    for name, model in models.items():
        save_checkpoint(a.folder / f"{name}.pt", Checkpoint.of(model, store.recipe, {}, {}))
    made_up_results(a.folder / "scores", store.recipe, a.hours, a.snippets)
    runs = {name: ["--now-checkpoint", f"{name}.pt", "--threshold", str(THRESHOLD)] for name in models}
    for now, then in (("probe", "memory"), ("memory", "taught")):
        runs[f"{now} > {then}"] = ["--now-checkpoint", f"{now}.pt", "--checkpoint", f"{then}.pt"]
    runs["scores"] = ["--scores", "scores", "--threshold", str(THRESHOLD)]
    found = [(name, *replay(a.folder, options, a.threads)) for name, options in runs.items()]
    print(f"{a.hours} hours, {a.hours * a.snippets} snippets")
    print(table(found, ("replay", "seconds", "CPU seconds", "peak GiB", "alarms")))


def made_up_store(root: Path, model: Detector, hours: int, snippets: int, dtype: str) -> FeatureStore:
    recipe = {
        "preset": "fast",
        "backbone": "i3d",
        "weights_sha256": "made up",
        "feature_size": model.feature_size,
        "views": model.views,
        "geometry": {name: "made up" for name in model.views},
    }
    store = create_store(root, recipe, dtype)
    known = store.videos()
    for video in (f"hour{hour:02}.mp4" for hour in range(hours)):
        if video in known:
            continue
        with store.writer(video) as writer:
            for views in made_up_features(model, snippets):
                writer.append({name: rows.numpy() for name, rows in views.items()})
            writer.meta = VideoMeta(16 * snippets, snippets, FPS, 640, 360, "made up", 0, 0, "")
    return store


def made_up_results(folder: Path, recipe: Recipe, hours: int, snippets: int) -> None:
    """As `score` leaves them, without pictures."""
    for hour in range(hours):
        video = Path(f"hour{hour:02}.mp4")
        if (folder / video / "scores.json").exists():
            continue
        draw = np.random.default_rng(hour)
        scores = draw.beta(2, 8, snippets).astype(np.float32)
        rule = ChosenRule(EventRule(), "nowhere")
        own = VideoScores(
            video, scores.repeat(16), scores, FPS, 640, 360, "made up", Path("probe.pt"), recipe, rule
        )
        own.save(folder / video, contact_sheet=False)


def replay(folder: Path, options: list[str], threads: int) -> Cost:
    command = [sys.executable, "-m", "ssrl_pipeline", "replay", "--features", "features", "--json", *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}")
    now, then = json.loads(told)["alarms"]
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, (now, then))


if __name__ == "__main__":
    main()
