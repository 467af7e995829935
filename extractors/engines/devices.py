"""A device: which one, and how much it describes at once."""

import logging

import torch

from ssrl_pipeline.errors import ConfigError, PipelineError

BATCH = {"cpu": 1, "cuda": 16}  # snippets described together
BATCH_PIXELS = {"cpu": 16 * 10 * 224 * 224, "cuda": 16 * 16 * 10 * 224 * 224}  # ten crops of a snippet, of 16

log = logging.getLogger(__name__)


class Budget:
    """How much is described at once; less, once a device's memory did not suffice.

    Args:
        device: does it.
        batch: snippets; None: as the device is.
        pixels: of what passes the network at once, views x frames x height x width; None likewise.
    """

    def __init__(self, device: torch.device, batch: int | None = None, pixels: int | None = None):
        self.device = device
        self.batch = batch or BATCH[device.type]
        self.pixels = pixels or BATCH_PIXELS[device.type]
        self.scarce = False  # whether it did not suffice

    def halve(self) -> None:
        """Goes on with groups of half the size, after an allocation that failed."""
        if not self.scarce:
            log.warning("%s: out of memory, going on with smaller batches", self.device)
        self.scarce = True
        self.batch = max(1, self.batch // 2)
        torch.cuda.empty_cache()


def find_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        PipelineError: a device that is unknown or missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unsupported device {name!r}; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"device {name!r} is missing: PyTorch finds {torch.cuda.device_count()} CUDA devices"
        )
    return device
