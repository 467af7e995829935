"""gpu_check.py's steps about several processes: NCCL with one of them, gloo with two on one GPU."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from gpu_common import Check
from gpu_steps_model import labelled, made_up_store
from torch import distributed, nn

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.settings import LossSettings, ModelSettings, TrainSettings
from ssrl_pipeline.training.group import Group, join
from ssrl_pipeline.training.kinds.ssrl import train_ssrl

VIEWS, SIZE = {"clip": 2, "patch2x3": 6}, 64
LIMIT = 45  # seconds for a group
FOLDER = "SSRL_GPU_CHECK_FOLDER"  # where a member finds what all share


def launch(check: Check, member: str, processes: int) -> None:
    """Runs a member of a group in so many processes; each writes its results itself."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    script = Path(__file__).with_name("gpu_check.py")
    command += [str(script), "--part", str(check.part), "--step", member, "--out", str(check.out)]
    command += ["--tiny"] if check.tiny else []
    environment = {**os.environ, FOLDER: str(check.folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    try:
        code = process.wait(LIMIT * (5 if check.tiny else 1))
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends its members, which are in sessions of their own
        process.wait(10)
        raise
    if code:
        raise RuntimeError(f"{member} ended with exit code {code}; see the log")


def nccl(check: Check) -> None:
    launch(check, "nccl-member", 1)


def nccl_member(check: Check) -> None:
    """A group of one, made by `join` in the way that groups of several are: it is told of two processes."""
    real = distributed.init_process_group

    def alone(*arguments: Any, **options: Any) -> None:
        os.environ["WORLD_SIZE"] = "1"
        real(*arguments, **options)

    distributed.init_process_group = alone
    os.environ["WORLD_SIZE"] = "2"
    with join(check.device.type) as group:
        check.report("backend", distributed.get_backend_config())
        x = torch.arange(4.0, device=group.device)
        distributed.all_reduce(x)
        check.report("all_reduce", str(x.tolist() == [0, 1, 2, 3]), "right")
        distributed.barrier()
        group.wait()
        check.report("barrier", "passed")
        cuda = group.device.type == "cuda"
        linear = nn.Linear(4, 1).to(group.device)
        wrapped = nn.parallel.DistributedDataParallel(linear, device_ids=[group.device] if cuda else None)
        wrapped(x[None]).sum().backward()
        assert linear.weight.grad is not None
        check.report("gradient through the group", str(torch.equal(linear.weight.grad[0], x)), "right")
        values: list[Any] = [None]
        distributed.all_gather_object(values, "here")
        check.report("objects", str(values == ["here"]), "right")


def gloo(check: Check) -> None:
    """Training by two processes that share a device ends with the weights of one."""
    store = made_up_store(check.folder / "features", labelled(8), 16, VIEWS, SIZE)
    run(check, store, Group(check.device), "one")
    launch(check, "gloo-member", 2)
    one, two = (load_checkpoint(check.folder / name / "best.pt").weights for name in ("one", "two"))
    off = max((one[name].double() - two[name].double()).abs().max().item() for name in one)
    check.report("weights of two processes", off, "largest difference", "from those of one")


def gloo_member(check: Check) -> None:
    distributed.init_process_group("gloo")
    folder = Path(os.environ[FOLDER])
    device = torch.device("cuda:0" if check.device.type == "cuda" else "cpu")
    group = Group(device, distributed.get_rank(), distributed.get_world_size())
    run(check._replace(folder=folder), open_store(folder / "features"), group, "two")
    distributed.destroy_process_group()


def run(check: Check, store: Any, group: Group, name: str) -> None:
    """Without dropout, which differs between processes."""
    steps = 4 if check.tiny else 12
    settings = TrainSettings(steps=steps, evaluate_every=steps, loss=LossSettings(dropout=0))
    model = ModelSettings(dropout=0, patches="relation")
    train_ssrl(store, labelled(8), check.folder / name, model, settings, group)
