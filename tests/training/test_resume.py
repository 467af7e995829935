"""A training run that is killed and started again ends as one that was not, to the last bit."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssrl_pipeline.features.store import FeatureStore

KILLS = 2
SETTINGS = (
    *("-o", "train.schedule=staged", "-o", "train.segments=8", "-o", "train.steps=60"),
    *("-o", "train.evaluate_every=3", "-o", "train.optimiser.schedule=cosine"),
)


@pytest.fixture
def project(tiny_store: Callable[..., FeatureStore], tmp_path: Path) -> Path:
    videos = {
        f"{kind}/{split}/{i}.mp4": 8
        for kind in ("normal", "abnormal")
        for split in ("train", "val")
        for i in range(4)
    }
    tiny_store(videos, {video: (2, 3) for video in videos if "abnormal" in video}, root=tmp_path / "features")
    return tmp_path


def start(project: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ssrl_pipeline", "train", "--name", name, "--device", "cpu", *SETTINGS]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def progress(project: Path, name: str) -> int:
    path = project / "runs" / name / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_killed_at_random_moments(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = start(project, "whole")
    assert whole.wait(300) == 0
    evaluations = progress(project, "whole")
    assert evaluations == 2 * 60 / 3
    seed = time.time_ns()
    moments, killed_at = random.Random(seed), []
    for kill in range(KILLS):
        # From the beginning of the run on, anywhere in the next third: within a step, a save, a stage.
        first = kill * evaluations // KILLS
        target = moments.randint(first, first + evaluations // KILLS - 2)
        process = start(project, "killed")
        while process.poll() is None and progress(project, "killed") <= target:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        assert process.wait(60) == -9, f"seed {seed}: not killed at {target} of {evaluations} evaluations"
        killed_at.append(progress(project, "killed"))
    with capsys.disabled():
        print(f" killed after {killed_at} of {evaluations} evaluations ", end="")
    last = start(project, "killed")
    assert last.wait(300) == 0
    for name in ("stage1.pt", "stage2.pt", "best.pt", "last.pt"):
        same(
            *(torch.load(project / "runs" / run / name, weights_only=True) for run in ("whole", "killed")),
            f"seed {seed}, {name}",
        )
    assert (project / "runs/whole/metrics.jsonl").read_text() == (
        project / "runs/killed/metrics.jsonl"
    ).read_text()
    left = [path.name for path in (project / "runs/killed").iterdir() if not path.name.startswith(".")]
    assert sorted(left) == ["best.pt", "config.yaml", "last.pt", "metrics.jsonl", "stage1.pt", "stage2.pt"]


def same(a: object, b: object, where: str) -> None:
    """Equal to the last bit, tensors at any depth."""
    assert type(a) is type(b), where
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}, {key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where
