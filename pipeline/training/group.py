"""Training in several processes; the one module that knows torch.distributed.

    torchrun --nproc-per-node 2 -m ssrl_pipeline train --name first
    ssrl-pipeline train --devices 2

Everything else is given a :class:`Group`, which has one member where nobody started several.

Tensors on GPUs are exchanged by NCCL; tensors on the CPU and Python objects by gloo, which is
also how one process waits for another, for hours if need be. A process that fails ends at once
and leaves the group as it is: taking it down would wait for the others, which wait for this
process. They see that it is gone, and end as well.
"""

import logging
import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.modules.batchnorm import _BatchNorm

from ssrl_pipeline.errors import PipelineError, how_it_ended
from ssrl_pipeline.extractors import find_device

MOST_RESTARTS = 3
TIMEOUT = timedelta(days=7)  # of waiting for others: the main process may be packing months of features
BEREFT = 75  # exit code of a process that ends because another one has

# what gloo, NCCL and the store by which processes meet say of a process that is no longer there
_GONE = re.compile(r"by peer|Read error|Write error|Broken pipe|ncclRemoteError|likely closed", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """The processes that train one model together, as one of them sees it."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files and talks to the person."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model such that gradients are means over the group; batch norms see the whole group's batch."""
        if self.size == 1:
            return model
        _share_batch_norms(model, self.size)
        cuda = self.device.type == "cuda"
        return nn.parallel.DistributedDataParallel(model, device_ids=[self.device] if cuda else None)

    def accumulating(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Gradients add up within; with the last part of a batch they are exchanged."""
        if isinstance(wrapped, nn.parallel.DistributedDataParallel) and not last:
            return wrapped.no_sync()
        return nullcontext()

    def gather(self, x: Tensor) -> Tensor:
        """[n, ...] of each process, on the CPU or its GPU -> [size * n, ...], in order of rank.

        Gradients go to this process's own part; whoever computes the same loss
        from the result in every process multiplies it by `size`, because
        :meth:`wrap` takes the mean.
        """
        if self.size == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.size)]
        distributed.all_gather(parts, x.detach().contiguous())
        parts[self.rank] = x
        return torch.cat(parts)

    def collect(self, value: Any) -> list[Any]:
        """The value of every process, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through first, so that the others find what it made."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def wait(self) -> None:
        """Until all are here. (PyTorch's barrier would pass through the GPUs.)"""
        self.collect(None)


@contextmanager
def join(device: str) -> Iterator[Group]:
    """The group that torchrun started this process in, or a group of one.

    Args:
        device: `auto`, `cpu` or `cuda`; in a group of one also `cuda:N`.

    Raises:
        PipelineError: the device is not there, or all processes were to share one GPU.
        SystemExit: another process of the group has ended too early.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(find_device(device))
        return
    if ":" in device:
        raise PipelineError(f"--device {device}: with several processes each takes a GPU; say --device cuda")
    local = find_device(device)
    if local.type == "cuda":
        local = find_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(local)
    group = _meet(local)
    try:
        yield group
        group.wait()  # here the end of one that still works is noticed; NCCL's own end would wait on
    except RuntimeError as error:
        if not _GONE.search(str(error)):
            raise
        log.warning("process %d of %d ends, because another one has", group.rank, group.size)
        sys.exit(BEREFT)
    distributed.destroy_process_group()


def _meet(local: torch.device) -> Group:
    """The group of all processes that were started with this one, each on a device of its own."""
    cuda = local.type == "cuda"
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT, device_id=local if cuda else None
    )
    return Group(local, distributed.get_rank(), distributed.get_world_size())


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Runs ``ssrl-pipeline ARGUMENTS`` in several processes on this machine, until all are done.

    Where a process is killed, all are started again, three times at most, and go
    on from what was saved.

    Raises:
        PipelineError: a process failed; what it printed says why.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    for restart in range(MOST_RESTARTS + 1):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "ssrl_pipeline", *arguments)
            return
        except SignalException as error:  # by then the processes are ended
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + error.sigval)
        except ChildFailedError as error:
            causes = {r: f for r, f in error.failures.items() if f.exitcode != BEREFT} or error.failures
            rank, failure = min(causes.items(), key=lambda item: item[1].timestamp)
            if failure.exitcode >= 0 or restart == MOST_RESTARTS:
                ended = how_it_ended(failure.exitcode)
                raise PipelineError(f"process {rank} of {processes} {ended}") from error
            log.warning("process %d was killed; starting again from what was saved", rank)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so are its gradients, as every process uses it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class _GroupBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes. (PyTorch's own needs CUDA.)"""

    size = 1

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ...] -> the same shape."""
        if not self.training:
            return super().forward(x)
        x = x.float()  # also in mixed precision
        assert self.running_mean is not None and self.running_var is not None
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *(1 for _ in dims[1:])]
        mean = _Sum.apply(x.mean(dims)) / self.size  # every process has equally many
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().mean(dims)) / self.size
        with torch.no_grad():
            n = self.size * x.numel() // x.shape[1]
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * n / (n - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)


def _share_batch_norms(model: nn.Module, size: int) -> None:
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = _GroupBatchNorm
            module.size = size  # type: ignore[assignment]
