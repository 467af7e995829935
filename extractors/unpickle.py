"""Pickles from strangers, read without running anything they say.

A pickle is a program. This reader lets it build dictionaries, lists, strings,
numbers and NumPy arrays; whatever else it asks for is refused by name.
"""

import io
import pickle
from typing import Any

import numpy as np

from ssrl_pipeline.errors import WeightsError

_ADMITTED: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
for _package in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _ADMITTED[f"{_package}.multiarray", "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ADMITTED[f"{_package}.multiarray", "scalar"] = np.float64(0).__reduce__()[0]
    _ADMITTED[f"{_package}.numeric", "_frombuffer"] = np.empty(1).__reduce_ex__(5)[0]


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
        return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise WeightsError(f"the pickle is damaged ({type(error).__name__}: {error})") from error
