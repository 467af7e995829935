"""OpenVINO and NNCF, imported without the telemetry that comes with them."""

import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"  # tells Google Analytics of every import, conversion and quantisation


def import_openvino() -> Any:
    """The module. OpenVINO does without its telemetry where that is missing, as it seems to be here.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" in sys.modules:  # the caller's own, who has decided on it
        return sys.modules["openvino"]
    with _without_telemetry():
        import openvino  # it sends telemetry, which has to be off before
    return openvino


def import_nncf() -> Any:
    """Likewise.

    Raises:
        ImportError: it is not installed.
    """
    import_openvino()
    talker = logging.getLogger("torch.utils.cpp_extension")  # warns of CUDA that is not there
    level = talker.level
    talker.setLevel(logging.ERROR)
    try:
        with _without_telemetry():
            import nncf  # as above, and few need it
    finally:
        talker.setLevel(level)
    return nncf


def operations(opset: str) -> Any:
    """What makes the nodes of a set of operations, like ``opset8``."""
    openvino = import_openvino()
    found = getattr(openvino, opset, None)
    return found or getattr(openvino.runtime, opset)  # where it is in releases of 2024


def replace_node(node: Any, other: Any) -> None:
    """In the graph of the first, for all that reads its only output."""
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(other.output(0))


@contextmanager
def _without_telemetry() -> Iterator[None]:
    known = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if known is not None:
            sys.modules[_TELEMETRY] = known


@cache
def abilities() -> frozenset[str]:
    """What OpenVINO says that this CPU computes in fast: FP32, BF16, INT8; nothing where it does not run."""
    if importlib.util.find_spec("openvino") is None:
        return frozenset()
    try:
        return frozenset(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    except Exception:  # a library of it may be missing, or another version's
        return frozenset()
