""".npy files: written row by row, so that their length need not be known or held in memory, and mapped.

Archives of them, .npz, are read whole.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ssrl_pipeline.disk.files import check_archive

HEADER_BYTES = 128  # magic, version, length, then the dictionary padded with spaces


def map_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped from the disk and not yet in memory.

    Nothing but plain numbers is read: no pickles, no archives of arrays, and no
    header that claims more than the file holds.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged or something else; one line says what.
    """
    with _one_line(), np.errstate(over="ignore"):  # of sizes that a header claims
        return np.lib.format.open_memmap(path, mode="r")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file as np.savez writes it, by name, in memory.

    Nothing but plain numbers is read, and never more than the file is long.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged or something else; one line says what.
    """
    with _one_line():
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            return {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}


def rows_crc32(path: Path) -> str:
    """The checksum of all that lies behind a header, to compare with :attr:`NpyWriter.crc32`.

    It is read piece by piece, not mapped: a file larger than the memory pushes nothing else out of it.

    Raises:
        OSError: it cannot be read.
    """
    crc = 0
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


def _array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{dtype} {list(shape)} is not what the file holds")
    array = np.frombuffer(content, dtype, offset=file.tell()).copy()
    return array.reshape(shape, order="F" if fortran else "C")


@contextmanager
def _one_line() -> Iterator[None]:
    """Makes a ValueError of what a damaged file is to NumPy and zipfile: nearly anything."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
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
        self._crc = 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """rows [n, *row_shape]."""
        assert rows.shape[1:] == self.row_shape, (rows.shape, self.row_shape)
        content = np.ascontiguousarray(rows, dtype=self.dtype).tobytes()
        self._file.write(content)
        self._crc = zlib.crc32(content, self._crc)
        self.rows += len(rows)

    @property
    def crc32(self) -> str:
        """The checksum of all rows, eight hexadecimal digits."""
        return f"{self._crc:08x}"

    def close(self) -> None:
        with self._file:  # which closes it where the disk has no room for the header, too
            self._write_header()

    def _write_header(self) -> None:
        shape = (self.rows, *self.row_shape)
        text = repr({"descr": self.dtype.str, "fortran_order": False, "shape": shape})
        prefix = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(prefix + text.encode("latin1").ljust(HEADER_BYTES - 11) + b"\n")
