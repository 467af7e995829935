"""torch.compile: a minute to start for each graph, then the least work for PyTorch; for long extractions.

A graph is of one size of clips and one size of batch: sizes that may change make slower code, and the
compiler then leaves out its choice of layouts. (That is of 2-d convolutions. Those in 3-d follow the
layout of clips and weights, which are channels last here.)
"""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import PipelineError, is_out_of_memory
from ssrl_pipeline.tf32 import allow_tf32

MOST_GRAPHS = 128  # of a network; behind PyTorch's own limit, 8, it would go on without compiling


class Compiled:
    """Runs a network that torch.compile makes faster.

    Batches are filled up, with their first clip, to a size that there is a graph for: the largest
    batch of such clips yet, or a half, a quarter and so on of it. In an extraction all groups of snippets
    but the last have the same size, so nothing is filled up there; the last costs at most twice its
    share. Never is a batch larger than one that was asked for, as the memory may not suffice for that.

    Args:
        module: uint8 [B, 3, t, h, w] -> float32 [B, ...].
        device: where it is.
        tf32: whether a GPU's convolutions may round to TF32.
    """

    name = "compile"

    def __init__(self, module: nn.Module, device: torch.device, tf32: bool = False):
        module = module.to(memory_format=torch.channels_last_3d)
        options: dict[str, Any] = {"freezing": True}  # weights laid out for their kernels
        self.module = torch.compile(
            module, dynamic=False, fullgraph=True, options=options if device.type == "cpu" else None
        )
        self.device, self.tf32 = device, tf32
        self.largest: dict[torch.Size, int] = {}  # size of clips -> of a batch of them

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]. Raises PipelineError where compiling fails."""
        rows, done = [], 0
        for size in self._sizes(clips.shape[1:], len(clips)):
            part = clips[done : done + size]
            rows.append(self._run(part, size)[: len(part)])
            done += size
        return torch.cat(rows)

    def _sizes(self, shape: torch.Size, count: int) -> Iterator[int]:
        """Of the batches that `count` clips are parted into."""
        while count > 0:
            if count >= 2 * self.largest.get(shape, 0):
                self.largest[shape] = count
            size = self.largest[shape]
            while size > 1 and (half := (size + 1) // 2) >= count:
                size = half
            yield size
            count -= size

    def _run(self, clips: Tensor, size: int) -> Tensor:
        clips = torch.cat([clips, clips[:1].expand(size - len(clips), -1, -1, -1, -1)])
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        try:
            with allow_tf32(self.tf32, self.device), torch._dynamo.config.patch(cache_size_limit=MOST_GRAPHS):
                result: Tensor = self.module(clips)
                return result
        except (torch._dynamo.exc.TorchDynamoException, CalledProcessError, OSError) as error:
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split("\n\n")[0].split())[:300]
            raise PipelineError(f"engine 'compile' failed, use another: {reason}") from error


def why_not_compile(device: torch.device) -> str | None:
    """Why torch.compile cannot make code for a device; None where nothing speaks against it."""
    if device.type == "cuda":
        return why_not_triton()
    if shutil.which("g++") or shutil.which("clang++"):
        return None
    return "it needs a C++ compiler (g++ or clang++)"


def why_not_triton() -> str | None:
    """Why Triton cannot make kernels for a GPU: for each it builds a C module of Python's, to start it."""
    if importlib.util.find_spec("triton") is None:
        return "it needs Triton, which comes with PyTorch for Linux"
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    if not any(map(shutil.which, compilers)):
        return f"Triton needs a C compiler ({' or '.join(compilers)} is not there)"
    scheme = sysconfig.get_default_scheme()  # on Debian that of local packages, without headers
    header = Path(sysconfig.get_path("include", scheme.replace("posix_local", "posix_prefix")), "Python.h")
    if not header.is_file():
        return f"Triton needs Python's headers, as in the package python3-dev ({header} is not there)"
    return None
