"""TF32, in which a GPU's convolutions round what they multiply to 11 bits unless they are told not to.

PyTorch allows it by default, without a word; here it is where a precision says so alone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# PyTorch's switches of TF32. Once the new ones are set, from 2.9 on, reading the old ones raises.
_CONVOLUTIONS: Any = getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)
_PRODUCTS: Any = torch.backends.cuda.matmul
_SWITCH, _ON, _OFF = (
    ("fp32_precision", "tf32", "ieee")
    if hasattr(torch.backends.cudnn, "conv")
    else ("allow_tf32", True, False)
)
_SWITCHING = threading.RLock()  # they are the whole process's


@contextmanager
def allow_tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """While it lasts, a GPU's convolutions round to TF32, or else neither they nor matrix products do.

    Afterwards PyTorch's switches are as they were. On a CPU it does nothing.
    """
    if device.type == "cpu":
        yield
        return
    wanted = [(_CONVOLUTIONS, _ON)] if allowed else [(_CONVOLUTIONS, _OFF), (_PRODUCTS, _OFF)]
    with _SWITCHING:
        before = [(where, getattr(where, _SWITCH)) for where, _ in wanted]
        try:
            _switch(wanted)
            yield
        finally:
            _switch(before)


def _switch(values: list[tuple[Any, Any]]) -> None:
    for where, value in values:
        if getattr(where, _SWITCH) != value:
            setattr(where, _SWITCH, value)
