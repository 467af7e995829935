"""The numbers that a backbone computes in: what a device can do, and how far features are apart.

Distances are relative: the L2 norm of the difference of features over that of float32's. With I3D's
published weights they were 1.4e-3 for TF32 (its rounding played on a CPU), 1.6e-3 for float16 and
1.3e-2 for bfloat16. A GPU without Triton may resize to a grey level beside a CPU's, which adds 2e-3.
"""

import logging
from functools import cache

import torch

from ssrl_pipeline.errors import ConfigError

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,  # whose convolutions round what they multiply to 11 bits
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
INTERCHANGEABLE = 3e-3  # features that are no further apart may meet in a store: float32's and tf32's
# How far from float32's the others are. A recipe names these. float16 would do without on this network,
# but whether its numbers, which end at 65504, suffice depends on weights and clips.
BOUNDS = {"bfloat16": 2e-2, "float16": 5e-3}
WRONG_CUDNN = (90800, 91500)  # from, to: pytorch/pytorch#163539; PyTorch's own workaround is for the same

log = logging.getLogger(__name__)


def offered(device: torch.device) -> tuple[str, ...]:
    """The precisions that a device works in; `auto` is the first."""
    if device.type == "cpu":
        return ("float32",)
    of_all_gpus = ("float32", "bfloat16", "float16")
    has_tf32 = torch.cuda.get_device_capability(device) >= (8, 0)
    return ("tf32", *of_all_gpus) if has_tf32 else of_all_gpus


def choose_precision(precision: str, device: torch.device) -> str:
    """One of :data:`PRECISIONS`, also for `auto`.

    Raises:
        ConfigError: it is unknown, or the device does not work in it.
    """
    there = offered(device)
    if precision == "auto":
        return there[0]
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}; there are auto, {', '.join(PRECISIONS)}")
    if precision not in there:
        raise ConfigError(f"precision {precision!r} is not for {device}, which works in {', '.join(there)}")
    return precision


def recorded(precision: str) -> dict[str, str]:
    """What a recipe says of a precision: nothing of `auto` and of those that are interchangeable."""
    return {"precision": precision} if precision in BOUNDS else {}


def cudnn_version() -> str | None:
    """``9.19.0``; None without cuDNN."""
    version = torch.backends.cudnn.version()
    return version and f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def warn_of_cudnn(precision: str) -> None:
    """Says so, once, where the cuDNN at hand is known for wrong results in a GPU's precision."""
    first, end = WRONG_CUDNN
    if PRECISIONS[precision].itemsize == 2 and first <= (torch.backends.cudnn.version() or 0) < end:
        warn_once(
            f"cuDNN {cudnn_version()}: versions 9.8 to 9.14 give wrong results for large 3-d convolutions in "
            f"{precision} (pytorch/pytorch#163539); install 9.15 or newer, or use --precision float32"
        )


@cache
def warn_once(message: str) -> None:
    """A line of warning, the first time in this process."""
    log.warning(message)
