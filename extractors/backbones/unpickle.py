"""Pickles from strangers, read without running anything they say.

A pickle is a program. This reader lets it build dictionaries, lists, strings,
numbers and NumPy arrays; whatever else it asks for is refused by name. NumPy's
own functions are not called with what a pickle says, either: an array of objects
made from bytes takes these for addresses in memory. Stand-ins take their place,
which make arrays of plain numbers from as many bytes as these need.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

from ssrl_pipeline.errors import WeightsError

_PLAIN = "biufcSU"  # kinds of types without references


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, name: Any = None, *ignored: Any):
        self.value = np.dtype(name if isinstance(name, str) else "O")
        self._check()

    def __setstate__(self, state: Any) -> None:
        order, rest = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest):
            raise WeightsError("it has arrays of structures; only those of numbers are admitted")
        self.value = self.value.newbyteorder(order)

    def _check(self) -> None:
        if self.value.kind not in _PLAIN:
            raise WeightsError(f"it has arrays of {self.value}; only those of numbers are admitted")


class _Array:
    """Stands for numpy.ndarray."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _reconstruct(*ignored: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, *ignored: Any) -> _Array:
    array = _Array()
    array.value = _array(data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(data, str):  # Python 2's bytes
        data = data.encode("latin1")
    if not isinstance(dtype, _Dtype) or len(data) != math.prod(shape) * dtype.value.itemsize:
        raise WeightsError("it has an array whose shape is not that of its numbers")
    return np.frombuffer(bytearray(data), dtype.value).reshape(shape, order="F" if order == "F" else "C")


_ADMITTED: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}
for _package in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _ADMITTED[f"{_package}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_package}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_package}.numeric", "_frombuffer"] = _frombuffer


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise WeightsError(f"it asks for {module}.{name}; only NumPy arrays are admitted") from None


def load_arrays(data: bytes) -> Any:
    """Unpickles nested dictionaries of NumPy arrays, also those that Python 2 wrote.

    Raises:
        WeightsError: the pickle asks for anything else, or is damaged.
    """
    try:
        return _plain(_ArrayUnpickler(io.BytesIO(data), encoding="latin1").load(), set())
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise WeightsError(f"the pickle is damaged ({type(error).__name__}: {error})") from error


def _plain(tree: Any, met: set[int]) -> Any:
    """Arrays for their stand-ins. Shared branches, which could be unrolled without end, are refused."""
    if isinstance(tree, _Array):
        if tree.value is None:
            raise WeightsError("it has an array without numbers")
        return tree.value
    if not isinstance(tree, dict | list | tuple):
        return tree
    if id(tree) in met and tree:
        raise WeightsError("it holds one part twice")
    met.add(id(tree))
    if isinstance(tree, dict):
        return {key: _plain(value, met) for key, value in tree.items()}
    return type(tree)(_plain(value, met) for value in tree)
