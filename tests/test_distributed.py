"""Several processes train the model that one does, and a process that is killed costs nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from ssrl_pipeline import distributed
from ssrl_pipeline.bags import share_of_batch
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.distributed import Group, join
from ssrl_pipeline.errors import PipelineError

STEPS = ("-o", "train.steps=12", "-o", "train.evaluate_every=4", "-o", "train.segments=8")
STAGED = ("-o", "train.schedule=staged", "-o", "train.optimiser.lr=3e-3", "-o", "train.optimiser.warmup=3")
NO_DROPOUT = ("-o", "model.dropout=0", "-o", "train.loss.dropout=0")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def train(*options: str) -> tuple[str, ...]:
    return ("-m", "ssrl_pipeline", "train", "--device", "cpu", *STEPS, *STAGED, *options)


def greatest_difference(project: Path, first: str, second: str) -> float:
    a, b = (load_checkpoint(project / "runs" / name / "best.pt").weights for name in (first, second))
    assert a.keys() == b.keys()
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def test_two_processes_reach_the_weights_of_one(project: Path) -> None:
    run(project, *train("--name", "one", *NO_DROPOUT))
    done = run(project, *TORCHRUN, *train("--name", "two", *NO_DROPOUT))
    assert greatest_difference(project, "one", "two") < 1e-5
    assert done.stdout.count("best.pt") == 1  # the main process alone speaks
    start = torch.load(project / "runs/one/stage1.pt", weights_only=True)["weights"]["relation.fuse.0.weight"]
    end = torch.load(project / "runs/one/stage2.pt", weights_only=True)["weights"]["relation.fuse.0.weight"]
    assert (start - end).abs().max() > 1e-3  # ten thousand times the tolerance was learned


def test_a_killed_process_costs_nothing(project: Path) -> None:
    long = ("-o", "train.steps=60", "--devices", "2")
    run(project, *train("--name", "whole", *long))
    command = [sys.executable, *train("--name", "killed", *long)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = project / "runs" / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = children(started.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors
    assert "was killed; starting again" in errors
    assert greatest_difference(project, "whole", "killed") == 0


def children(pid: int) -> list[int]:
    """The training processes below the one that launched them."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if not listing.exists():
        pytest.skip("this system does not list a process's children")
    found = [int(child) for child in listing.read_text().split()]
    return [c for c in found if "ssrl_pipeline" in Path(f"/proc/{c}/cmdline").read_text()]


def test_batches_are_the_same_at_any_world_size() -> None:
    batch = list(range(100, 116))  # eight normal bags, eight abnormal ones
    for size in (1, 2, 4, 8):
        shares = [share_of_batch(batch, rank, size) for rank in range(size)]
        assert {len(share) for share in shares} == {16 // size}
        halves = [(s[: len(s) // 2], s[len(s) // 2 :]) for s in shares]
        assert [i for normal, _ in halves for i in normal] == batch[:8]
        assert [i for _, abnormal in halves for i in abnormal] == batch[8:]


def test_a_group_of_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join("cpu") as group:
        assert group == Group(torch.device("cpu")) and group.is_main
        model, x = nn.Linear(2, 2), torch.ones(3, 2)
        assert group.wrap(model) is model and group.gather(x) is x and group.collect(7) == [7]
        assert not torch.distributed.is_initialized()


def test_one_gpu_for_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PipelineError, match="say --device cuda"), join("cuda:1"):
        pass


def test_what_failed_in_a_process_is_said_and_not_tried_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "labels.csv").write_text("video,label\nnobody.mp4,normal\n")
    monkeypatch.chdir(project)
    with pytest.raises(PipelineError, match="of 2 ended with exit code 1"):
        distributed.launch(2, ["train", "--name", "x", "--device", "cpu"])
    errors = capfd.readouterr().err
    assert "no abnormal video to train on" in errors
    assert "Traceback" not in errors and "starting again" not in errors
