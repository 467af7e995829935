"""Files and folders that appear whole or not at all."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.disk.files import (
    file_sha256,
    free_bytes,
    require_writable,
    scratch_name,
    whole_file,
    whole_folder,
    write_json,
    write_text,
    write_together,
)
from ssrl_pipeline.errors import PipelineError


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not: path -> content, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_whole_file_makes_parents_and_leaves_only_the_file(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a" / "b" / "x.txt") as scratch:
        scratch.write_bytes(b"new")
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/x.txt": b"new"}


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch) -> None:
    """So that a power cut leaves no name with nothing behind it; the name itself is flushed last."""
    steps: list[tuple[str, int]] = []
    flush, rename = os.fsync, Path.replace

    def note_flush(descriptor: int) -> None:
        steps.append(("flush", os.fstat(descriptor).st_ino))
        flush(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        steps.append(("rename", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_rename)
    with whole_file(tmp_path / "file") as scratch:
        scratch.write_bytes(b"x")
    file, parent = ((tmp_path / name).stat().st_ino for name in ("file", "."))
    named = [] if os.name == "nt" else [("flush", parent)]  # Windows flushes no folders
    assert steps == [("flush", file), ("rename", file), *named]
    steps.clear()
    with whole_folder(tmp_path / "folder") as scratch:
        (scratch / "file").write_bytes(b"x")
    folder, file = ((tmp_path / name).stat().st_ino for name in ("folder", "folder/file"))
    within = [("flush", file), *([] if os.name == "nt" else [("flush", folder)])]
    assert steps == [*within, ("rename", folder), *named]


def test_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_bytes(b"old")
    with whole_file(target) as scratch:
        scratch.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        assert scratch.parent == tmp_path  # a rename is one step within a folder only
    assert tree(tmp_path) == {"x.txt": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [b"old", None])
def test_whole_file_after_an_error_is_as_before(
    tmp_path: Path, old: bytes | None, error: type[BaseException]
) -> None:
    if old is not None:
        (tmp_path / "x.txt").write_bytes(old)
    before = tree(tmp_path)
    with pytest.raises(error), whole_file(tmp_path / "x.txt") as scratch:
        scratch.write_bytes(b"half of the ne")
        raise error
    assert tree(tmp_path) == before


def test_whole_folder_replaces_the_old_one_entirely(tmp_path: Path) -> None:
    target = tmp_path / "a" / "folder"
    target.mkdir(parents=True)
    (target / "only in the old.txt").write_bytes(b"old")
    with whole_folder(target) as scratch:
        (scratch / "x.txt").write_bytes(b"new")
        assert tree(target) == {"only in the old.txt": b"old"}
    assert tree(tmp_path) == {"a": None, "a/folder": None, "a/folder/x.txt": b"new"}


def test_whole_folder_makes_parents(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a" / "folder") as scratch:
        (scratch / "x.txt").write_bytes(b"new")
    assert tree(tmp_path) == {"a": None, "a/folder": None, "a/folder/x.txt": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [True, False])
def test_whole_folder_after_an_error_is_as_before(
    tmp_path: Path, old: bool, error: type[BaseException]
) -> None:
    if old:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x.txt").write_bytes(b"old")
    before = tree(tmp_path)
    with pytest.raises(error), whole_folder(tmp_path / "folder") as scratch:
        (scratch / "x.txt").write_bytes(b"half of the ne")
        raise error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("write, method", [(whole_file, "touch"), (whole_folder, "mkdir")])
def test_a_signal_as_soon_as_it_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Any], method: str
) -> None:
    make = getattr(Path, method)

    def interrupted(path: Path, *arguments: Any, **named: Any) -> None:
        make(path, *arguments, **named)
        if path.suffix == ".part":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, method, interrupted)
    with pytest.raises(KeyboardInterrupt), write(tmp_path / "x"):
        pass
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("step", [0, 1])
def test_a_signal_while_a_folder_is_replaced_leaves_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    (tmp_path / "folder").mkdir()
    done, replace = [], Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        made = replace(path, target)
        done.append(path)
        if len(done) == step + 1:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "folder") as scratch:
        (scratch / "new").touch()
    assert tree(tmp_path) == {"folder": None, **({"folder/new": b""} if step else {})}


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.txt").write_bytes(b"old")
    before, replace = tree(tmp_path), Path.replace

    def refuses_the_new(path: Path, target: Path) -> Path:
        if (path / "x.txt").read_bytes() == b"new":
            raise PermissionError(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuses_the_new)
    with pytest.raises(PermissionError), whole_folder(tmp_path / "folder") as scratch:
        (scratch / "x.txt").write_bytes(b"new")
    assert tree(tmp_path) == before


def test_whole_folder_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    """A store or a folder of scores that is pointed at the videos must not cost a video."""
    (tmp_path / "video.mp4").write_bytes(b"precious")
    with pytest.raises((OSError, PipelineError)), whole_folder(tmp_path / "video.mp4") as scratch:
        (scratch / "x.txt").write_bytes(b"new")
    assert tree(tmp_path) == {"video.mp4": b"precious"}


def test_scratch_names_are_hidden_beside_the_target_and_never_the_same(tmp_path: Path) -> None:
    names = {scratch_name(tmp_path / "x.txt") for _ in range(100)}
    assert len(names) == 100
    assert {name.parent for name in names} == {tmp_path}
    assert all(name.name.startswith(".") for name in names)


def test_write_text_is_utf8_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "Straße 交通\n")
    assert (tmp_path / "x.txt").read_bytes() == b"Stra\xc3\x9fe \xe4\xba\xa4\xe9\x80\x9a\n"


@pytest.mark.parametrize("late", ["one", "two"])
def test_files_are_written_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_together({one: b"1", two: b"2"})
    before = tree(tmp_path)
    assert before == {"one": b"1", "two": b"2"}

    def full(path: Path) -> None:
        if path.name.startswith(f".{late}"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssrl_pipeline.disk.files._flush", full)
    with pytest.raises(PipelineError):
        write_together({one: b"new", two: b"new"})
    assert tree(tmp_path) == before


def test_write_json_can_be_read_by_machines_and_people(tmp_path: Path) -> None:
    value = {"videos": ["Straße.mp4"], "frames": 17, "fps": 29.97, "labels": None}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "Straße" in text
    assert text.endswith("}\n")


def test_write_json_of_what_json_cannot_say_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"path": object()})
    assert tree(tmp_path) == {"x.json": b"1\n"}


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_file_sha256_is_that_of_all_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
    (tmp_path / "x").write_bytes(content[:size])
    assert file_sha256(tmp_path / "x") == hashlib.sha256(content[:size]).hexdigest()


def test_file_sha256_of_a_published_example(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "x") == digest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc, where nobody may write")
@pytest.mark.parametrize(
    "command",
    [
        ("score", "a.mp4", "--out", "{}"),
        ("evaluate", "--out", "{}"),
        ("export", "{}/a.onnx"),
        ("extract", "--videos", "a.mp4", "--features", "{}"),
        ("train", "--runs", "{}"),
        ("demo", "--out", "{}"),
        ("store", "export", "features", "{}"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no checkpoint, no store and no video: they are not looked at before."""
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"no video")
    for place, reason in (("/proc/results", "/proc allows"), ("a.mp4/results", "a.mp4 is a file")):
        done = CliRunner().invoke(cli, [word.format(place) for word in command])
        assert done.exit_code == 1, done.output
        assert str(done.exception).startswith(f"{place}: cannot be written (") and reason in str(
            done.exception
        )
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]


def test_a_folder_that_is_not_there_yet_can_be_written(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    assert 0 < free_bytes(tmp_path / "a" / "b") == free_bytes(tmp_path)
