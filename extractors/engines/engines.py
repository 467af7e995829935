"""Engines: what runs a network on the pixels of clips, as fast as the machine allows.

All give the same features, but for rounding. B clips, t frames, h x w pixels.
"""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import ConfigError, PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors import DensePatches, EngineName, Normalisation
from ssrl_pipeline.extractors.backbones import Backbone, InceptionI3d
from ssrl_pipeline.extractors.engines.compiled import Compiled, why_not_compile, why_not_triton
from ssrl_pipeline.extractors.engines.fold import folded
from ssrl_pipeline.extractors.engines.openvino import OpenVino
from ssrl_pipeline.extractors.engines.precision import BOUNDS, PRECISIONS, choose_precision
from ssrl_pipeline.extractors.engines.rearranged import RearrangedI3d
from ssrl_pipeline.extractors.graphs import Graphs
from ssrl_pipeline.tf32 import allow_tf32

ENGINES = get_args(EngineName)
AUTO = ("openvino", "triton", "eager")  # what `auto` tries, the fastest that starts within a minute first
HALVES = ("bfloat16", "float16")  # the precisions of the kernels in Triton
SHARED_MEMORY = 227 << 10  # bytes of a program that they ask for, as a chip of capability 9.0 has them

T = TypeVar("T")

log = logging.getLogger(__name__)  # without any set-up a warning is one line on stderr


class Engine(Protocol):
    """Runs a network on clips. One that runs them clip by clip has `each`, too, as OpenVino."""

    @property
    def name(self) -> str: ...

    def __call__(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]."""
        ...


class OnPixels(nn.Module):
    """A network with its normalisation before it and float32 behind it.

    What runs it on a GPU does so in :func:`allow_tf32`, by what it says of itself.
    """

    def __init__(
        self, network: nn.Module, normalisation: Normalisation, dtype: torch.dtype, tf32: bool = False
    ):
        super().__init__()
        self.network = network.to(dtype)
        self.mean, self.std = normalisation
        self.dtype, self.tf32 = dtype, tf32

    def extra_repr(self) -> str:
        """What its weights do not tell of it."""
        return f"mean={self.mean}, std={self.std}"

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, ...]."""
        return cast(Tensor, self.network(((clips.float() - self.mean) / self.std).to(self.dtype)).float())


class Eager:
    """PyTorch itself, with channels last in memory; on a GPU too."""

    name = "eager"

    def __init__(self, module: OnPixels):
        self.module = module.to(memory_format=torch.channels_last_3d)

    @torch.inference_mode()
    def __call__(self, clips: Tensor) -> Tensor:
        with allow_tf32(self.module.tf32, clips.device):
            return cast(Tensor, self.module(clips.contiguous(memory_format=torch.channels_last_3d)))


class Kernels:
    """Our own kernels for I3D; see :mod:`ssrl_pipeline.extractors.engines.triton`."""

    name = "triton"

    def __init__(self, network: nn.Module):
        self.network = network  # of pixels

    @torch.inference_mode()
    def __call__(self, clips: Tensor) -> Tensor:
        with torch.cuda.device(clips.device):  # Triton starts kernels on the current one
            return cast(Tensor, self.network(clips)).float()


class Fallback:
    """The first engine while it works; from its first failure on the second.

    Running out of memory does not count as one: whoever asked may ask for less at a time.
    """

    def __init__(self, first: Engine, second: Callable[[], Engine]):
        self.engine, self.second = first, second
        self.failed = False

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def each(self) -> Callable[[Sequence[Tensor]], list[Tensor]] | None:
        """None where the engine has none."""
        return self._each if hasattr(self.engine, "each") else None

    def __call__(self, clips: Tensor) -> Tensor:
        return self._run(lambda engine: engine(clips))

    def _each(self, batches: Sequence[Tensor]) -> list[Tensor]:
        return self._run(lambda engine: _each_of(engine, batches))

    def _run(self, run: Callable[[Engine], T]) -> T:
        if not self.failed:
            try:
                return run(self.engine)
            except Exception as error:  # compilers raise nearly anything
                if is_out_of_memory(error):
                    raise
                _tell(self.engine.name, error)
                self.engine, self.failed = self.second(), True
        return run(self.engine)


def _each_of(engine: Any, batches: Sequence[Tensor]) -> list[Tensor]:
    found: list[Tensor] = engine.each(batches) if hasattr(engine, "each") else list(map(engine, batches))
    return found


def make_engine(
    name: str,
    network: nn.Module,
    normalisation: Normalisation,
    device: torch.device,
    precision: str = "auto",
    graphs: Graphs | None = None,
) -> Engine:
    """An engine for a network, of which it takes a copy with batch norms folded.

    Args:
        name: of :data:`ENGINES`. `auto` is openvino on a CPU, triton on a GPU that can run it and
            eager elsewhere; where the first fails it goes on with eager and says so. In bfloat16 and
            int8 on a CPU it is openvino alone, whose failure is an error.
        network: in evaluation mode; normalised float [B, 3, t, h, w] -> [B, ...].
        normalisation: of the pixels.
        device: where the clips are.
        precision: `auto`, or of :data:`PRECISIONS`; see :func:`choose_precision`.
        graphs: make and keep OpenVINO's; None: they are kept nowhere.

    Raises:
        ConfigError: an unknown engine or precision, or one that is not for the device.
        PipelineError: the engine that is named cannot start here.
    """
    check_engine(name, precision, device)
    precision = choose_precision(precision, device, name)
    if name != "auto" and (reason := why_not(name, device, network)):
        raise PipelineError(f"engine {name!r} does not run here: {reason}")
    makers = _makers(network, normalisation, device, precision, graphs or Graphs())
    if name == "auto" and device.type == "cpu" and precision in BOUNDS:
        name = "openvino"  # PyTorch is slow in it or cannot, and float32 would not be what the recipe names
    if name != "auto":
        try:
            return makers[name]()
        except ImportError as error:
            raise PipelineError(f"engine {name!r} does not run here: {first_line(error)}") from error
    for first in AUTO:
        suits = first != "triton" or precision in HALVES
        if first == "eager" or not suits or why_not(first, device, network):
            continue
        try:
            return Fallback(makers[first](), makers["eager"])
        except Exception as error:
            if is_out_of_memory(error):
                raise
            _tell(first, error)
    return makers["eager"]()


def _makers(
    network: nn.Module, normalisation: Normalisation, device: torch.device, precision: str, graphs: Graphs
) -> dict[str, Callable[[], Engine]]:
    """What makes each engine of a network."""

    def module(dtype: torch.dtype = PRECISIONS[precision]) -> OnPixels:
        fast = folded(network).to(device)
        if device.type == "cuda":
            fast = _with_i3d(fast, RearrangedI3d)
        return OnPixels(fast, normalisation, dtype, precision == "tf32").eval()

    def kernels() -> Kernels:
        from ssrl_pipeline.extractors.engines.triton import TritonI3d  # Triton is not for every system

        fast, dtype = folded(network).to(device), PRECISIONS[precision]
        return Kernels(_with_i3d(fast, lambda i3d: TritonI3d(i3d, normalisation, dtype)).eval())

    return {
        "openvino": lambda: OpenVino(module(torch.float32), precision, graphs),
        "triton": kernels,
        "compile": lambda: Compiled(module(), device, precision == "tf32"),
        "eager": lambda: Eager(module()),
    }


def _with_i3d(network: nn.Module, make: Callable[[InceptionI3d], Backbone]) -> nn.Module:
    """The network with what is made of its I3D in the place of that; others as they are."""
    if isinstance(network, DensePatches):
        return DensePatches(cast(Backbone, _with_i3d(network.backbone, make)), network.grids)
    return make(network) if isinstance(network, InceptionI3d) else network


def check_engine(name: str, precision: str, device: torch.device) -> None:
    """Raises :class:`ConfigError` for an engine or a precision that is unknown or not for the device."""
    if name not in ENGINES:
        raise ConfigError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    chosen = choose_precision(precision, device, name)
    if name == "triton" and device.type == "cuda" and chosen not in HALVES:
        raise ConfigError(
            f"engine 'triton' computes in {' or '.join(HALVES)}, not in {chosen}; use --precision bfloat16"
        )


def why_not(name: str, device: torch.device, network: nn.Module | None = None) -> str | None:
    """Why an engine cannot run on a device; None where nothing speaks against it.

    Args:
        network: that it is to run, where that matters.
    """
    if name == "openvino" and device.type != "cpu":
        return f"it is for CPUs, not for {device}"
    if name == "openvino" and importlib.util.find_spec("openvino") is None:
        return "it is not installed (pip install openvino, where that has wheels)"
    if name == "compile":
        return why_not_compile(device)
    if name == "triton":
        return _why_not_kernels(device, network)
    return None


def _why_not_kernels(device: torch.device, network: nn.Module | None) -> str | None:
    if device.type != "cuda":
        return f"it is for GPUs, not for {device}"
    if not isinstance(getattr(network, "backbone", network), InceptionI3d | None):
        return "it is for the backbone i3d"
    if reason := why_not_triton():
        return reason
    if importlib.util.find_spec("triton.tools.tensor_descriptor") is None:
        return "it needs Triton 3.4 or newer, which comes with PyTorch 2.8"
    card = torch.cuda.get_device_properties(device)
    if card.major < 9 or getattr(card, "shared_memory_per_block_optin", 0) < SHARED_MEMORY:
        return "it needs a GPU of compute capability 9.0 with 227 KB of shared memory, as an H100 has"
    return None


def _tell(name: str, error: Any) -> None:
    reason = " ".join(str(error).split())[:200]
    log.warning("engine %s failed, going on with eager: %s", name, reason)
