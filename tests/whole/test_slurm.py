"""The scripts for Slurm, with two "nodes" on this machine: what srun and scontrol do is done by stubs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.folders import contents
from helpers.groups import STAGED

from ssrl_pipeline.features.opening import open_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Slurm's nodes run Linux"),
    pytest.mark.usefixtures("quick_network"),
]
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "slurm"
SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do shift; done
pids=()
for node in 0 1; do SLURM_NODEID=$node "$@" & pids+=($!); done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit $status
"""
SCONTROL = """#!/usr/bin/env bash
[ "$*" = "show hostnames node[1-2]" ] && printf '127.0.0.1\\nnode2\\n'
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands and variables."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(text)
        stub.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "RENDEZVOUS_PORT": str(port),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "1",
    }.items():
        monkeypatch.setenv(name, value)


def start(script: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPTS / script)],
        cwd=folder,
        env={**os.environ, **variables},
        start_new_session=True,  # so that a test can end all of it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it said on stderr; where it does not end, all that it started is ended."""
    try:
        return process.communicate(timeout=120)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # which torchrun passes on to its processes
        raise


def finish(process: subprocess.Popen[str]) -> str:
    """What it said on stderr."""
    errors = ended(process)
    assert process.returncode == 0, errors
    return errors


def ranks(parent: int) -> list[int]:
    """The training processes below a process, of each node in turn."""
    listing = Path(f"/proc/{parent}/task/{parent}/children")
    found = []
    for child in [int(child) for child in listing.read_text().split()] if listing.exists() else []:
        command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        is_rank = "ssrl_pipeline" in command and "torch.distributed.run" not in command
        found += [child] if is_rank else ranks(child)
    return found


def test_two_nodes_meet_train_and_go_on_after_a_kill(project: Path, slurm: None) -> None:
    settings = (*STAGED, "-o", "train.steps=32", "-o", "train.evaluate_every=4", "-o", "train.segments=8")
    variables = {"LABELS": "labels.csv", "ARGUMENTS": " ".join(("--device", "cpu", *settings))}
    process = start("train_multinode.sbatch", project, NAME="killed", **variables)
    end = time.monotonic() + 120
    while not (project / "runs/killed/last.pt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    both = ranks(process.pid)
    assert len(both) == 2
    environments = [Path(f"/proc/{rank}/environ").read_text().split("\0") for rank in both]
    assert [e for one in environments for e in one if e.startswith("WORLD_SIZE")] == ["WORLD_SIZE=2"] * 2
    assert {e for one in environments for e in one if e.startswith("GROUP_RANK")} == {
        "GROUP_RANK=0",
        "GROUP_RANK=1",
    }
    os.kill(both[1], signal.SIGKILL)
    errors = ended(process)
    assert process.returncode == 1, errors
    again = finish(start("train_multinode.sbatch", project, NAME="killed", **variables))
    assert "step    4 " in errors
    assert "stage 1  step    4 " not in again  # it went on


def test_the_tasks_of_an_array_make_the_store_of_one_run(
    slurm: None, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(3):
        make_video(tmp_path / f"videos/{number % 2}/{number}.mp4", frames=20 + number)
    variables = {"ARGUMENTS": "--preset live --weights random --engine eager --device cpu"}
    tasks = [
        start("extract_array.sbatch", tmp_path, SLURM_ARRAY_TASK_ID=task, **variables) for task in ("0", "1")
    ]
    for task, said in enumerate([finish(process) for process in tasks]):
        assert f"task {task} of" in said
    finish(start("extract_array.sbatch", tmp_path, FEATURES="single", **variables))
    assert open_store(tmp_path / "single").videos() == ["0/0.mp4", "0/2.mp4", "1/1.mp4"]
    assert contents(tmp_path / "features") == contents(tmp_path / "single")
