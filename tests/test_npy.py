"""NumPy's own reader gets back what was written row by row."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.npy import NpyWriter, rows_crc32


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-100, 100, shape)


def load_twice(path: Path) -> list[np.ndarray]:
    """The file as NumPy reads it into memory, and as it maps it from the disk."""
    return [np.load(path, allow_pickle=False), np.load(path, allow_pickle=False, mmap_mode="r")]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int64", ">f4"])
@pytest.mark.parametrize(
    ("row_shape", "chunks"),
    [((), [3]), ((5,), [1, 2]), ((10, 16), [1, 1, 1]), ((2, 3, 4), [4]), ((6, 7), [0, 3]), ((1, 0), [2])],
)
def test_rows_come_back(tmp_path: Path, dtype: str, row_shape: tuple[int, ...], chunks: list[int]) -> None:
    expected = np.abs(numbers(sum(chunks), *row_shape)).astype(dtype)
    writer = NpyWriter(tmp_path / "x.npy", row_shape, dtype)
    for rows in np.split(expected, np.cumsum(chunks)[:-1]):
        writer.append(rows)
    writer.close()
    assert writer.crc32 == rows_crc32(tmp_path / "x.npy") == f"{zlib.crc32(expected.tobytes()):08x}"
    for array in load_twice(tmp_path / "x.npy"):
        assert array.dtype == np.dtype(dtype)
        assert array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("row_shape", [(), (3,), (10, 1024)])
def test_no_rows_are_an_empty_array(tmp_path: Path, row_shape: tuple[int, ...]) -> None:
    NpyWriter(tmp_path / "x.npy", row_shape, "float32").close()
    for array in load_twice(tmp_path / "x.npy"):
        assert array.shape == (0, *row_shape)
        assert array.dtype == np.float32


def test_rows_are_converted_to_the_type_of_the_file(tmp_path: Path) -> None:
    writer = NpyWriter(tmp_path / "x.npy", (2,), "float16")
    writer.append(np.array([[1 / 3, 2048.9], [-1e-3, 0]], np.float64))
    writer.close()
    # The nearest numbers of 11 significant bits: above 2048 only every other integer is one.
    expected = np.array([[1365 / 4096, 2048], [-1049 / 2**20, 0]])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)


@pytest.mark.parametrize("view", [np.asfortranarray, lambda rows: rows[::-1], lambda rows: rows[:, ::2]])
def test_rows_may_lie_in_memory_in_any_order(tmp_path: Path, view) -> None:  # type: ignore[no-untyped-def]
    rows = view(numbers(4, 6, 5).astype("float32"))
    writer = NpyWriter(tmp_path / "x.npy", rows.shape[1:], "float32")
    writer.append(rows)
    writer.close()
    array = np.load(tmp_path / "x.npy")
    assert array.tolist() == rows.tolist()


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1), (3,)])
def test_rows_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    writer = NpyWriter(tmp_path / "x.npy", (3,), "float32")
    writer.append(np.ones((1, 3)))
    with pytest.raises(AssertionError):
        writer.append(np.zeros(shape))
    writer.close()
    assert np.load(tmp_path / "x.npy").tolist() == [[1, 1, 1]]


def test_format_is_version_one_with_data_on_a_cache_line(tmp_path: Path) -> None:
    NpyWriter(tmp_path / "x.npy", (3,), "float32").close()
    with (tmp_path / "x.npy").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        assert file.tell() % 64 == 0
