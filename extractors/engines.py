"""Engines: what runs a network on the pixels of clips, as fast as the machine allows.

All give the same features, but for rounding. B clips, t frames, h x w pixels.
"""

import importlib.util
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extractors.compiled_engine import Compiled, why_not_compile
from ssrl_pipeline.extractors.fold import folded
from ssrl_pipeline.extractors.openvino_engine import OpenVino
from ssrl_pipeline.extractors.precision import PRECISIONS, allow_tf32, choose_precision
from ssrl_pipeline.extractors.presets import Normalisation

ENGINES = ("auto", "openvino", "compile", "eager")
AUTO = ("openvino", "eager")  # what `auto` tries, the fastest that starts within seconds first

log = logging.getLogger(__name__)  # without any set-up a warning is one line on stderr


class Engine(Protocol):
    """Runs a network on clips."""

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


class Fallback:
    """The first engine while it works; from its first failure on the second."""

    def __init__(self, first: Engine, second: Callable[[], Engine]):
        self.engine, self.second = first, second
        self.failed = False

    @property
    def name(self) -> str:
        return self.engine.name

    def __call__(self, clips: Tensor) -> Tensor:
        if not self.failed:
            try:
                return self.engine(clips)
            except RuntimeError as error:
                _tell(self.engine.name, error)
                self.engine, self.failed = self.second(), True
        return self.engine(clips)


def make_engine(
    name: str,
    network: nn.Module,
    normalisation: Normalisation,
    device: torch.device,
    precision: str = "auto",
) -> Engine:
    """An engine for a network, of which it takes a copy with batch norms folded.

    Args:
        name: of :data:`ENGINES`. `auto` is openvino on a CPU that has it and eager
            elsewhere, and where openvino fails it goes on with eager and says so.
        network: in evaluation mode; normalised float [B, 3, t, h, w] -> [B, ...].
        normalisation: of the pixels.
        device: where the clips are.
        precision: `auto`, or of :data:`PRECISIONS`; see :func:`choose_precision`.

    Raises:
        ConfigError: an unknown engine or precision, or one that is not for the device.
        PipelineError: the engine that is named cannot start here.
    """
    check_engine(name, precision, device)
    precision = choose_precision(precision, device)
    if name != "auto" and (reason := why_not(name, device)):
        raise PipelineError(f"engine {name!r} does not run here: {reason}")

    def module() -> OnPixels:
        one = OnPixels(folded(network), normalisation, PRECISIONS[precision], precision == "tf32")
        return one.to(device).eval()

    if name == "compile":
        return Compiled(module(), device, precision == "tf32")
    if name == "openvino":
        return OpenVino(module())
    if name == "auto" and "openvino" in AUTO and why_not("openvino", device) is None:
        try:
            return Fallback(OpenVino(module()), lambda: Eager(module()))
        except (RuntimeError, ImportError, OSError) as error:
            _tell("openvino", error)
    return Eager(module())


def check_engine(name: str, precision: str, device: torch.device) -> None:
    """Raises :class:`ConfigError` for an engine or a precision that is unknown or not for the device."""
    if name not in ENGINES:
        raise ConfigError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    choose_precision(precision, device)


def why_not(name: str, device: torch.device) -> str | None:
    """Why an engine cannot run on a device; None where nothing speaks against it."""
    if name == "openvino" and device.type != "cpu":
        return f"it is for CPUs, not for {device}"
    if name == "openvino" and importlib.util.find_spec("openvino") is None:
        return "it is not installed (pip install 'ssrl-pipeline[openvino]')"
    if name == "compile":
        return why_not_compile(device)
    return None


def _tell(name: str, error: Any) -> None:
    reason = " ".join(str(error).split())[:200]
    log.warning("engine %s failed, going on with eager: %s", name, reason)
