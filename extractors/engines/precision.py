"""The numbers that a backbone computes in: what a device can do, and how far features are apart.

Distances are relative: the L2 norm of the difference of features over that of float32's. With I3D's
published weights they were 1.4e-3 for TF32 (its rounding played on a CPU), 1.6e-3 for float16, 1.3e-2
for bfloat16 and 6e-2 to 7e-2 for int8. A GPU without Triton may resize to a grey level beside a CPU's,
which adds 2e-3.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extractors.graphs import Calibration, abilities, why_not_int8

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,  # whose convolutions round what they multiply to 11 bits
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # of what is not quantised
}
INTERCHANGEABLE = 3e-3  # features that are no further apart may meet in a store: float32's and tf32's
# How far from float32's the others are. A recipe names these. float16 would do without on this network,
# but whether its numbers, which end at 65504, suffice depends on weights and clips.
BOUNDS = {"bfloat16": 2e-2, "float16": 5e-3, "int8": 0.1}
WRONG_CUDNN = (90800, 91500)  # from, to: pytorch/pytorch#163539; PyTorch's own workaround is for the same

log = logging.getLogger(__name__)


def offered(device: torch.device, engine: str = "auto") -> tuple[str, ...]:
    """The precisions that a device works in with an engine; `auto` is the first."""
    if device.type == "cpu":
        can = _of_a_cpu(engine)
        return (
            *(("bfloat16",) if "BF16" in can else ()),
            "float32",
            *(("int8",) if "INT8" in can and not why_not_int8() else ()),
        )
    of_all_gpus = ("float32", "bfloat16", "float16")
    has_tf32 = torch.cuda.get_device_capability(device) >= (8, 0)
    return ("tf32", *of_all_gpus) if has_tf32 else of_all_gpus


def _of_a_cpu(engine: str) -> frozenset[str]:
    """What it computes in fast, beside float32."""
    return abilities() if engine in ("auto", "openvino") else frozenset()  # PyTorch's bfloat16 is slow there


def unnamed(device: torch.device) -> str:
    """The precision that a device takes for features of which a recipe names none."""
    return "float32" if device.type == "cpu" else offered(device)[0]


def choose_precision(precision: str, device: torch.device, engine: str = "auto") -> str:
    """One of :data:`PRECISIONS`, also for `auto`.

    Raises:
        ConfigError: it is unknown, or the device does not work in it with the engine.
    """
    if precision != "auto" and precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}; there are auto, {', '.join(PRECISIONS)}")
    if precision == "float32":
        return precision
    there = offered(device, engine)
    if precision == "auto":
        return there[0]
    if precision == "int8" not in there and device.type == "cpu" and "INT8" in _of_a_cpu(engine):
        raise ConfigError(f"precision int8 {why_not_int8()}")
    if precision not in there:
        on = f"{device} with engine {engine!r}" if engine != "auto" else str(device)
        raise ConfigError(f"precision {precision!r} is not for {on}, which works in {', '.join(there)}")
    return precision


def recorded(
    precision: str, calibration: Calibration | None = None, int8_pools: bool = True
) -> dict[str, str]:
    """What a recipe says of a precision: nothing of `auto` and of those that are interchangeable."""
    if precision not in BOUNDS:
        return {}
    if precision != "int8":
        return {"precision": precision}
    pools = {"pools": precision} if int8_pools else {}
    return {"precision": precision, "calibration": (calibration or Calibration()).sha256, **pools}


def has_int8_pools(recipe: Mapping[str, Any] | None) -> bool:
    """Whether max-pools are in int8, too, where features are; a recipe of before they were names none."""
    return recipe is None or recipe.get("precision") != "int8" or "pools" in recipe


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


def warn_of_calibration(precision: str, calibration: object) -> None:
    """Says so, once, where clips to quantise by are named and nothing is quantised."""
    if calibration is not None and precision != "int8":
        warn_once(f"--calibration {calibration} is not used: it is for --precision int8")


@cache
def warn_once(message: str) -> None:
    """A line of warning, the first time in this process."""
    log.warning(message)
