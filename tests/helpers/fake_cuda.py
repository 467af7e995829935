"""A device that plays CUDA on a machine without one: `device="cuda"` runs, and the CPU computes it.

A tensor of it says `cuda:0`, takes PyTorch's CUDA paths (autograd, autocast, fused optimisers), and
behaves as a GPU's where a CPU's would forgive:

- tensors of two devices do not meet, `.numpy()` is refused, memory has an end;
- every wait of the host for a device is noted with the line that made it (`waits`), and so is every
  copy to a device that the host stands by (`uploads`);
- copies to pinned memory come late: until somebody waits, rubbish is there;
- work of two streams that meets in memory without an order is an error
  (:mod:`helpers.fake_streams`).

Not played: kernels (cuDNN, Triton, torch.compile, CUDA graphs), their rounding and their speed, and
several processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.fake_device import FakeCuda
from helpers.fake_streams import Event, Stream
from torch import Tensor

from ssrl_pipeline.extractors import views

PINNING = ("empty", "zeros", "ones", "full", "empty_like", "zeros_like")  # take pin_memory


@contextmanager
def fake_cuda(devices: int = 2) -> Iterator[FakeCuda]:
    """PyTorch finds CUDA devices within, and what is made on them lives as long.

    Raises:
        AssertionError: at the end, a fault that could not be told before.
    """
    if torch.cuda.is_available():
        pytest.skip("a real CUDA device is here: the tests of test_gpu.py ask it")
    if torch.version.cuda is None:
        pytest.skip("this build of PyTorch does not know of CUDA")
    torch._C._ensureCUDADeviceGuardSet()  # autograd asks it for streams
    found = FakeCuda(devices)
    with pytest.MonkeyPatch.context() as patch, _as_fake_tensors_need(), _kernels(found):
        patch.setattr(FakeCuda, "_current", found)
        for name, value in _answers(found).items():
            patch.setattr(torch.cuda, name, value)
        for name in PINNING:
            patch.setattr(torch, name, _pinning(found, getattr(torch, name)))
        patch.setattr(Tensor, "is_pinned", lambda tensor, device=None: found.is_pinned(tensor))
        patch.setattr(Tensor, "pin_memory", lambda tensor, device=None: _pinned(found, tensor))
        patch.setattr(torch.backends.cudnn, "enabled", False)
        patch.setattr(views, "kernels_for", lambda device: None)  # Triton's
        yield found
        found.finish()


@contextmanager
def _as_fake_tensors_need() -> Iterator[None]:
    """What PyTorch does by itself with tensors of its own classes."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay themselves in module.to
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") copies as `to` does
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_swap_module_params_on_conversion(before)


@contextmanager
def _kernels(found: FakeCuda) -> Iterator[None]:
    """Where every tensor of a device begins."""

    def kernel(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(
            *sizes: Any, dtype: Any = None, device: Any = None, memory_format: Any = None, **_: Any
        ) -> Tensor:
            form = {} if memory_format is None else {"memory_format": memory_format}
            return found.wrap(make(*sizes, dtype=dtype, **form), found.device(device))

        return made

    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", kernel(torch.empty), "CUDA")
    library.impl("empty_strided", kernel(torch.empty_strided), "CUDA")
    try:
        yield
    finally:
        library._destroy()


def _answers(found: FakeCuda) -> dict[str, Any]:
    """What torch.cuda says."""

    def random_state(device: Any = "cuda") -> Tensor:
        found.touched.add(device if isinstance(device, int) else found.device(device).index)
        return torch.zeros(16, dtype=torch.uint8)

    def synchronize(device: Any = None) -> None:
        found.streams.wait("synchronize", found.streams.everything())

    def free_and_total(device: Any = "cuda") -> tuple[int, int]:
        return found.memory - found.allocated[found.device(device or "cuda").index], found.memory

    def stream(device: Any = None) -> Stream:
        return Stream(found.streams, found.device(device or "cuda").index)

    def properties(device: Any = None) -> SimpleNamespace:
        card = {"name": "made up", "major": 9, "minor": 0, "multi_processor_count": 132}
        return SimpleNamespace(**card, total_memory=found.memory)

    def set_device(device: Any) -> None:
        found.streams.device = device if isinstance(device, int) else found.device(device).index

    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "device_count": lambda: len(found.allocated),
        "current_device": lambda: found.streams.device,
        "set_device": set_device,
        "get_device_name": lambda device=None: "made up",
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": properties,
        "mem_get_info": free_and_total,
        "memory_allocated": lambda device="cuda": found.allocated[found.device(device or "cuda").index],
        "max_memory_allocated": lambda device="cuda": found.peak[found.device(device or "cuda").index],
        "empty_cache": synchronize,
        "synchronize": synchronize,
        "manual_seed_all": lambda seed: None,  # a device draws from the CPU's generator
        "get_rng_state": random_state,
        "set_rng_state": lambda state, device="cuda": random_state(device),
        "Stream": stream,
        "Event": lambda **options: Event(found.streams),
        "stream": found.streams.use,
        "current_stream": lambda device=None: found.streams.now(found.device(device or "cuda").index),
    }


def _pinning(found: FakeCuda, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def made(*arguments: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        result = make(*arguments, **options)
        return found.pin(result) if pin_memory else result

    return made


def _pinned(found: FakeCuda, tensor: Tensor) -> Tensor:
    if tensor.is_cuda:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    return tensor if found.is_pinned(tensor) else found.pin(tensor.clone())
