"""Reference values of independent implementations, where this machine has them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="no ../shared/golden here")


def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


def filler() -> tuple[Callable[..., np.ndarray], Callable[..., dict[str, np.ndarray]]]:
    """`draw` and `fill_state_dict` of golden/fill.py."""
    spec = importlib.util.spec_from_file_location("fill", FOLDER / "fill.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.draw, module.fill_state_dict


def filled(keys: np.ndarray) -> dict[str, np.ndarray]:
    """Golden parameters for a list of "name:(shape)"."""
    _, fill_state_dict = filler()
    shapes = {}
    for key in map(str, keys):
        name, _, shape = key.partition(":")
        shapes[name] = tuple(int(part) for part in shape.strip("()").split(",") if part.strip())
    return fill_state_dict(shapes)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
