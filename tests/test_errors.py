"""Which errors mean that the memory is exhausted. Texts are those of PyTorch 2.11 to 2.14 and OpenVINO."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline import checkpoint
from ssrl_pipeline.errors import PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.backbones.formats import read_weights

OUT_OF_MEMORY = (
    "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/ ...",
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB of which ...",
    "Triton Error [CUDA]: out of memory",
    "NCCL error in: NCCLUtils.cpp:94, unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "CUDA ran out of memory outside PyTorch's allocator. If this workload uses many dynamic shapes, ...",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)",
    "[enforce fail at alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough memory: you tried to allocate "
    "1981808640 bytes.",
    "Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc\n\n",
    "Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\nFailed to allocate 67108864 bytes "
    "of memory\n",
)
ANOTHER_FAULT = (
    "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress' in ...",
    "CUDA error: device-side assert triggered",
    "CUDA error: misaligned address",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, ...)`",
    "No valid triton configs. OutOfMemoryError: out of resource: triton_poi_fused_0 Required: 262144 "
    "Hardware limit:232448 Reducing block sizes or `num_stages` may help.",
    "Storage size calculation overflowed with sizes=[4611686018427387904]",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "Input type (unsigned char) and bias type (float) should be the same",
    "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:8910.",
    'Cannot load library "libopenvino_intel_cpu_plugin.so": no such file',
    "",
)


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_what_means_too_little_memory(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text)) and is_out_of_memory(torch.AcceleratorError(text))
    assert not is_out_of_memory(ValueError(text))  # of whoever quotes it
    assert not is_out_of_memory(PipelineError(text))


@pytest.mark.parametrize("text", ANOTHER_FAULT)
def test_what_does_not(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text)) and not is_out_of_memory(torch.AcceleratorError(text))
    assert is_out_of_memory(torch.OutOfMemoryError(text)) and is_out_of_memory(MemoryError(text))


def test_a_kernel_that_is_too_large_is_another_fault() -> None:
    errors = pytest.importorskip("triton.runtime.errors")
    assert not is_out_of_memory(errors.OutOfResources(262144, 232448, "shared memory"))


@pytest.mark.parametrize("module", [torch, np])
def test_what_this_machine_really_says(module: object) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        module.empty(1 << 50)  # type: ignore[attr-defined]
    assert is_out_of_memory(caught.value)


def test_it_does_not_load_torch() -> None:
    code = (
        "import sys; from ssrl_pipeline.errors import is_out_of_memory\n"
        "assert is_out_of_memory(MemoryError()) and is_out_of_memory(RuntimeError('out of memory'))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("read", [checkpoint.load, read_weights])
def test_a_file_that_is_too_large_is_not_damaged(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    assert read(tmp_path / "w.pt")
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")
    monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(RuntimeError) as caught:
        read(tmp_path / "w.pt")
    assert caught.value is error


def test_first_line() -> None:
    assert first_line(RuntimeError("\na\nb")) == "a"
    assert first_line(MemoryError()) == "MemoryError"
