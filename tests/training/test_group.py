"""Several processes train the model that one does, and a process that is killed costs nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.groups import STAGED, greatest_difference
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.training import group as distributed
from ssrl_pipeline.training.bags import share_of_batch
from ssrl_pipeline.training.group import Group, join

STEPS = ("-o", "train.steps=12", "-o", "train.evaluate_every=4", "-o", "train.segments=8")
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


def test_two_processes_reach_the_weights_of_one(project: Path) -> None:
    run(project, *train("--name", "one", *NO_DROPOUT))
    done = run(project, *TORCHRUN, *train("--name", "two", *NO_DROPOUT))
    assert greatest_difference(project, "one", "two") < 1e-5
    assert done.stdout.count("best.pt") == 1  # the main process alone speaks
    start = torch.load(project / "runs/one/stage1.pt", weights_only=True)["weights"]["relation.fuse.0.weight"]
    end = torch.load(project / "runs/one/stage2.pt", weights_only=True)["weights"]["relation.fuse.0.weight"]
    assert (start - end).abs().max() > 1e-3  # ten thousand times the tolerance was learned


def test_a_killed_process_costs_nothing(project: Path) -> None:
    long = ("-o", "train.steps=32", "--devices", "2")
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


SCRIPT = """
import sys, time
from datetime import timedelta
import torch
from torch.distributed import all_reduce, distributed_c10d
from ssrl_pipeline.training import group as distributed

what = sys.argv[1]
if what == "short timeouts of PyTorch":
    distributed_c10d.default_pg_timeout = timedelta(seconds=1)
if what == "a short timeout of ours":
    distributed.TIMEOUT = timedelta(seconds=1)
with distributed.join("cpu") as group:
    if "short" in what:
        with group.main_first():
            time.sleep(4 if group.is_main else 0)
        sys.stdout.write(f"{group.gather(torch.tensor([group.rank])).tolist()}\\n")
    else:
        group.collect(None)  # all are connected
        if group.rank == 1:
            if what == "work that it began itself":
                all_reduce(torch.zeros(1), async_op=True)
            time.sleep(1)
            print("raised at", time.time())
            raise ValueError("the fault of one")
    if what == "wait":
        group.wait()
    if what == "main_first":
        with group.main_first():
            time.sleep(600 if group.is_main else 0)
    if what == "work that it began itself":  # and that nobody joins
        time.sleep(600)
"""


def script(folder: Path, what: str, processes: int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of SCRIPT in several processes."""
    (folder / "script.py").write_text(SCRIPT)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    started = subprocess.Popen(
        [sys.executable, *command, str(folder / "script.py"), what],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, errors = started.communicate(timeout=240)
    finally:
        started.terminate()  # which torchrun passes on to its processes, where they hang
    return started.returncode, out, errors


@pytest.mark.parametrize(
    "what",
    [
        "wait",
        "work that it began itself",
        pytest.param("main_first", marks=pytest.mark.slow),
        pytest.param("the end", marks=pytest.mark.slow),
    ],
)
def test_one_that_fails_alone_ends_all(what: str, tmp_path: Path) -> None:
    code, out, errors = script(tmp_path, what, processes=3 if what == "wait" else 2)
    assert code == 1
    assert time.time() - float(out.split()[-1]) < 90  # the others would wait ten minutes
    assert errors.count("ValueError: the fault of one") == 1
    assert "RuntimeError" not in errors  # what the others met is no fault of theirs


def test_the_main_process_may_work_for_long(tmp_path: Path) -> None:
    code, out, errors = script(tmp_path, "short timeouts of PyTorch", processes=2)
    assert (code, out.splitlines()) == (0, ["[0, 1]"] * 2), errors
    code, _, errors = script(tmp_path, "a short timeout of ours", processes=2)
    assert code == 1 and "Timed out waiting 1000ms" in errors  # so there is something to outlast


@pytest.mark.parametrize(
    ("codes", "starts", "told"),
    [
        ({0: distributed.BEREFT, 1: 3}, 1, "process 1 of 2 ended with exit code 3"),
        ({1: 3, 0: -signal.SIGTERM}, 1, "process 1 of 2 ended with exit code 3"),
        ({0: distributed.BEREFT, 1: -signal.SIGKILL}, 4, "process 1 of 2 was ended by SIGKILL"),
    ],
)
def test_the_first_to_end_decides_what_follows(
    codes: dict[int, int], starts: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are seen dead within one second, the clock by which PyTorch tells who was first."""
    started = []

    def launched(config: object, program: str) -> Callable[..., None]:
        started.append(program)
        failures = {rank: ProcessFailure(rank, 1, code, "none") for rank, code in codes.items()}
        for failure in failures.values():
            failure.timestamp = 0

        def failing(*arguments: str) -> None:
            raise ChildFailedError("train", failures)

        return failing

    monkeypatch.setattr(distributed, "elastic_launch", launched)
    with pytest.raises(PipelineError, match=told):
        distributed.launch(2, ["train"])
    assert len(started) == starts


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
