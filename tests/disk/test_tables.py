"""Text of any encoding, lists and frame numbers; tables of videos are in test_labels.py."""

from pathlib import Path

import pytest

from ssrl_pipeline.disk.cells import frame_pairs
from ssrl_pipeline.disk.tables import read_lines, read_text
from ssrl_pipeline.errors import LabelError

TEXT = "c\u00e1mara\n\u76d1\u63a7\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)  # without a mark, UTF-16 is known by its first character
def test_text_in_any_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(TEXT.encode(encoding))
    assert read_text(path) == TEXT


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        ("a\nb\nc\u00e1mara".encode("latin-1"), ["line 3", "0xe1", "UTF-8"]),
        ("\u76d1\u63a7".encode("gbk"), ["line 1", "UTF-8"]),
        (b"a\nb\0c", ["line 2", "zero byte"]),
        (b"PK\x03\x04 and so on", ["workbook", "CSV"]),
        (b"\xff\xfea\0b", ["UTF-16"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS pointer"]),
        (b"<!DOCTYPE html><html></html>", ["web page"]),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes, mentions: list[str]) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(LabelError) as caught:
        read_text(path)
    assert [word for word in (str(path), *mentions) if word not in str(caught.value)] == []


def test_lines_without_comments_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# mine\n\n a \r\n#b\n#\nc", encoding="utf-8")
    assert list(read_lines(path)) == [(3, "a"), (4, "#b"), (6, "c")]


def test_pairs_of_frame_numbers() -> None:
    assert frame_pairs(["165", "240", "-1", "-1", "300", "300"], "f, line 1") == [(165, 240), (300, 300)]


@pytest.mark.parametrize("numbers", [["1"], ["a", "2"], ["5", "2"], ["-1", "2"], ["1.5", "2"], ["", "2"]])
def test_what_are_no_pairs_is_refused_with_its_place(numbers: list[str]) -> None:
    with pytest.raises(LabelError, match="file, line 7"):
        frame_pairs(numbers, "file, line 7")
