""".npy files: written row by row, so that their length need not be known or held in memory, and mapped."""

from pathlib import Path
from typing import Any

import numpy as np

_HEADER_BYTES = 128  # magic, version, length, then the dictionary padded with spaces


def map_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped from the disk and not yet in memory.

    Nothing but plain numbers is read: no pickles, no archives of arrays, and no
    header that claims more than the file holds.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged or something else; one line says what.
    """
    try:
        with np.errstate(over="ignore"):  # of sizes that a header claims
            return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy raises nearly anything on a damaged header
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(reason) from error


class NpyWriter:
    """Appends rows to a .npy file of format 1.0; the header gets its true length on closing.

    Args:
        path: a file that does not exist yet.
        row_shape: the shape of one row.
        dtype: of the file; rows are converted.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: Any):
        self.row_shape, self.dtype, self.rows = row_shape, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """rows [n, *row_shape]."""
        assert rows.shape[1:] == self.row_shape, (rows.shape, self.row_shape)
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.rows += len(rows)

    def restart(self) -> None:
        """Drops all rows."""
        self.rows = 0
        self._file.truncate(_HEADER_BYTES)
        self._file.seek(_HEADER_BYTES)

    def close(self) -> None:
        with self._file:  # which closes it where the disk has no room for the header, too
            self._write_header()

    def _write_header(self) -> None:
        shape = (self.rows, *self.row_shape)
        text = repr({"descr": self.dtype.str, "fortran_order": False, "shape": shape})
        prefix = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(prefix + text.encode("latin1").ljust(_HEADER_BYTES - 11) + b"\n")
