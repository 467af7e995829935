"""Makes the files beside it with the version of commit e4b4852; see README.md.

python make.py FOLDER    # an empty one; run by that version's Python
"""

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ssrl_pipeline import cli, cli_train, train
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.score import score_stored
from ssrl_pipeline.store import FeatureStore, VideoMeta

SIZE = 16  # features
VIEWS = {"clip": 1, "patch2x3": 6}
PLANTED = 5.0  # the length of what is added to the features of abnormal snippets
ALIVE = 24  # units of the head that are not zero; see `few_units`
SHORT = (
    *("-o", "train.steps=8", "-o", "train.evaluate_every=2", "-o", "model.dropout=0.1"),
    *("-o", "train.optimiser.lr=0.02", "-o", "train.optimiser.warmup=2"),
)
RUNS = {
    "ssrl": SHORT,
    "memory": ("--model", "memory", "-o", "memory.limit=8"),
    "fused": ("--model", "fused", "-o", "memory.limit=8", *SHORT),
    "seeds": ("--seeds", "0", "1", *SHORT),
    "half": ("--features", "features16", "-o", "model.scales=[2x3]", *SHORT),
}
STAGED = ("-o", "train.schedule=staged", "-o", "model.patches=relation", *SHORT)
CHECKPOINTS = ("ssrl", "memory", "fused", "seeds/seed0", "seeds/seed1", "half")
STOP = 12  # of the 16 steps of both stages: where `staged` is stopped
LIVE = ("--preset", "live", "--weights", "random", "--dtype", "float16", "--engine", "eager")
SCORE = ("score", "--engine", "eager", "-o")
THRESHOLD, OTHERS = 0.3, (0.05, 0.95)  # that videos are scored by, and then again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    expected = made_up() | {"camera": camera()}
    Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def made_up() -> dict[str, Any]:
    """Stores of made-up features, and the runs that learn from them."""
    videos = {
        f"{split}/{kind} {split[:2]}{i}.mp4": (kind, split, 3 + i)
        for split, count in (("train", 4), ("val", 2), ("test", 2))
        for kind in ("normal", "abnormal")
        for i in range(count)
    }
    planted = {name: [1, 2] for name, (kind, _, _) in videos.items() if kind == "abnormal"}
    for root, dtype in (("features", "float32"), ("features16", "float16")):
        fill_store(FeatureStore.create(Path(root), recipe(), dtype), videos, planted)
    write_table("labels.csv", [("video", "label", "split"), *((n, k, s) for n, (k, s, _) in videos.items())])
    rows = [(name, 16, 33) for name in planted if name.startswith("test/")]
    write_table("intervals.csv", [("video", "start", "end"), *rows])

    with few_units():
        for name, options in RUNS.items():
            command("train", "--name", name, *options)
        command("train", "--name", "whole", *STAGED)
        with stopped_at(STOP):
            command("train", "--name", "staged", *STAGED, code=130)
    calibrated = command("calibrate", "--checkpoint", "runs/ssrl", "--false-alarms", "0.1", "--json")
    evaluations = {
        name: json.loads(command("evaluate", "--checkpoint", f"runs/{name}", *features_of(name), "--json"))
        for name in CHECKPOINTS
    }
    for curve in Path("runs").rglob("evaluation-test/*.png"):
        if curve.parent.parent.name != "memory":  # one of each kind is enough
            curve.unlink()
    command("store", "export", "features", "released")
    whole = [json.loads(line) for line in Path("runs/whole/metrics.jsonl").read_text().splitlines()]
    names = (*CHECKPOINTS, "whole")
    found = {
        "scores": {name: scores(name, videos) for name in names},
        "evaluations": evaluations,
        "calibrated": json.loads(calibrated),
        "whole": whole,
    }
    shutil.rmtree("runs/whole")
    found["runs"] = json.loads(command("runs", "--json"))
    shutil.make_archive("runs", "zip", ".", "runs")
    shutil.rmtree("runs")
    return found


def recipe() -> dict[str, Any]:
    return {
        "preset": "live",
        "backbone": "i3d",
        "weights_sha256": "random",
        "feature_size": SIZE,
        "views": VIEWS,
        "geometry": {name: "made up" for name in VIEWS},
    }


def fill_store(
    store: FeatureStore, videos: dict[str, tuple[str, str, int]], planted: dict[str, list[int]]
) -> None:
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(SIZE)
    direction *= PLANTED / np.linalg.norm(direction)
    for number, (name, (_, _, snippets)) in enumerate(videos.items()):
        added = np.zeros((snippets, 1, 1))
        added[planted.get(name, [])] = 1
        with store.writer(name) as writer:
            noise = {view: rng.standard_normal((snippets, count, SIZE)) for view, count in VIEWS.items()}
            writer.append({view: values + added * direction for view, values in noise.items()})
            writer.meta = VideoMeta(
                frames=16 * snippets - number,  # the last snippet is not whole
                snippets=snippets,
                fps=25.0 if number else 0.0,  # of the first it is not known
                width=64,
                height=48,
                decoder="made up",
                source_bytes=0,
                source_mtime_ns=0,
                source_sha256="",
            )


@contextmanager
def few_units() -> Iterator[None]:
    """The head begins with most units at zero, where they stay, so that checkpoints can be compressed."""
    build = train.Trainer._build

    def sparse(self: train.Trainer, stage: int) -> Any:
        model = build(self, stage)
        with torch.no_grad():
            for layer in (m for m in model.head.modules() if isinstance(m, torch.nn.Linear)):
                if layer.out_features > 1:
                    layer.weight[ALIVE:] = 0
                    layer.bias[ALIVE:] = 0
                if layer.in_features > SIZE:
                    layer.weight[:, ALIVE:] = 0
        return model

    train.Trainer._build = sparse
    yield
    train.Trainer._build = build


@contextmanager
def stopped_at(steps: int) -> Iterator[None]:
    """Ctrl-C comes when so many steps of all stages are done and saved."""
    report, done = cli_train._report, []

    def stop(evaluation: Any) -> None:
        done.append(evaluation)
        if 2 * len(done) == steps:
            raise KeyboardInterrupt

    cli_train._report = stop
    yield
    cli_train._report = report


def scores(name: str, videos: dict[str, Any]) -> dict[str, list[float]]:
    """Of every 16th frame, which is of every snippet."""
    store = FeatureStore.open(Path("features16" if name == "half" else "features"))
    model = load_checkpoint(Path("runs", name)).build()
    return {v: score_stored(v, model, store, torch.device("cpu"))[::16].tolist() for v in videos}


def features_of(name: str) -> tuple[str, ...]:
    return ("--features", "features16") if name == "half" else ()


def camera() -> dict[str, Any]:
    """Rendered videos, their features by an I3D of random weights, a memory of them, and scores."""
    Path("camera").mkdir()
    os.chdir("camera")
    for name, frames, event in (("monday", 33, 0), ("tuesday", 40, 0), ("robbery", 48, 16), ("yard", 36, 20)):
        render(Path(f"videos/{name}.mp4"), frames, event)
    shutil.move("videos/yard.mp4", "yard.mp4")
    command("extract", *LIVE)
    shutil.move("yard.mp4", "videos/yard.mp4")
    write_table("labels.csv", [("video", "label"), ("monday.mp4", "normal"), ("tuesday.mp4", "normal")])
    write_table("intervals.csv", [("video", "start", "end"), ("robbery.mp4", 16, 48)])
    command("train", "--name", "memory", "--model", "memory", "-o", "memory.limit=2")
    threshold = f"events.threshold={THRESHOLD}"
    command(*SCORE, threshold, "videos/yard.mp4")
    command(*SCORE, threshold, "videos/robbery.mp4", "--overlay")
    again: dict[str, Any] = {"robbery.mp4": {}, "yard.mp4": {}}
    shutil.copytree("scores", "again")
    for other in OTHERS:
        threshold = f"events.threshold={other}"
        command(*SCORE, threshold, *(f"videos/{name}" for name in again), "--out", "again")
        for name, found in again.items():
            found[str(other)] = json.loads(Path(f"again/{name}/events.json").read_text(encoding="utf-8"))
    shutil.rmtree("again")
    Path("scores/report.html").unlink()  # is large, and never read
    os.chdir("..")
    return again


def render(path: Path, frames: int, event: int) -> None:
    """A ball that rolls; from frame `event` on, where it is not 0, the picture flickers, too."""
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for i in range(frames):
        frame = np.full((48, 64, 3), 200 if event and i >= event and i % 4 < 2 else 90, np.uint8)
        cv2.circle(frame, (3 * i % 64, 16), 8, (0, 200, 255), -1)
        writer.write(frame)
    writer.release()


def write_table(name: str, rows: list[Any]) -> None:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def command(*arguments: str, code: int = 0) -> str:
    """What `ssrl-pipeline ARGUMENTS` prints."""
    device = [] if arguments[0] in ("store", "runs") else ["--device", "cpu"]
    sys.argv, printed = ["ssrl-pipeline", *arguments, *device], StringIO()
    print(*sys.argv, file=sys.stderr)
    try:
        with redirect_stdout(printed):
            cli.main()
        found = 0
    except SystemExit as stop:
        found = stop.code
    assert found == code, found
    return printed.getvalue()


if __name__ == "__main__":
    main()
