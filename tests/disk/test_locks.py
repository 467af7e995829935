"""Two processes that want the same place: one has it, the other is told who."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.disk import locks
from ssrl_pipeline.disk.files import clear_leftovers, whole_file, whole_folder
from ssrl_pipeline.disk.locks import locked
from ssrl_pipeline.errors import BusyError
from ssrl_pipeline.extraction.storing import claim_each
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.run_folder import owned

HOLD = """
import sys
from pathlib import Path
from ssrl_pipeline.disk.locks import locked
with locked(Path(sys.argv[1])) as holder:
    print(holder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "None\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lock_is_gone_with_its_file(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / ".lock") as holder:
        assert holder is None
        assert (tmp_path / "a" / ".lock").exists()
    assert list((tmp_path / "a").iterdir()) == []


def test_the_process_that_has_it_is_named_until_it_is_killed(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / ".lock") as process:
        with locked(tmp_path / ".lock") as holder:
            assert holder is not None and f"process {process.pid} on " in holder
        assert (tmp_path / ".lock").exists()
        process.kill()
        process.wait()
        with locked(tmp_path / ".lock") as holder:
            assert holder is None


def test_a_damaged_note_names_nobody_and_locks_all_the_same(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / ".lock"):
        (tmp_path / ".lock").write_bytes(b'{"pid": "\xff')
        with locked(tmp_path / ".lock") as holder:
            assert holder == "another process"


def test_a_lock_that_its_holder_removes_meanwhile_is_not_taken_for_one(tmp_path: Path, monkeypatch) -> None:
    """Who opened the file before it was removed would hold what nobody else sees."""
    lock, opened = locks.try_lock, []

    def slow(descriptor: int) -> bool | None:
        if not opened:
            (tmp_path / ".lock").unlink()  # as its last holder does between our opening and locking it
        opened.append(descriptor)
        return lock(descriptor)

    monkeypatch.setattr(locks, "try_lock", slow)
    with locked(tmp_path / ".lock") as holder:
        assert holder is None
        assert (tmp_path / ".lock").exists()
    assert len(opened) == 2


def test_a_file_system_without_locks_is_said_once_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "try_lock", lambda descriptor: None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with locked(tmp_path / ".lock") as holder:
                assert holder is None
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [str(tmp_path)]


def test_a_second_training_in_a_folder_is_told_who_is_there(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    message = rf"{run}: process \d+ on .*choose another --name"
    group = Group(device=None)  # type: ignore[arg-type]
    with held_elsewhere(run / ".lock"), pytest.raises(BusyError, match=message), owned(run, group):
        pytest.fail("trained beside another")
    with owned(run, group):
        pass


def test_a_new_run_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".best.pt.0123abcd.part").write_bytes(b"half")
    (tmp_path / "best.pt").write_bytes(b"whole")
    with owned(tmp_path, Group(device=None)):  # type: ignore[arg-type]
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "best.pt"]


LEFT = [".a.npy.0123abcd.part", ".a.mp4.0123abcd.part.mp4", ".b.0123abcd.part"]
NOT_LEFT = ["a.npy", ".a.npy", "a.0123abcd.part", ".a.0123.part", ".a.0123abcd.part~"]


def test_leftovers_go_and_nothing_else(tmp_path: Path) -> None:
    for name in (*LEFT[:2], *NOT_LEFT):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / LEFT[2]).mkdir()
    (tmp_path / LEFT[2] / "x.npy").write_bytes(b"x")
    clear_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(NOT_LEFT)


def test_leftovers_of_one_target_go_alone(tmp_path: Path) -> None:
    for name in LEFT[:2]:
        (tmp_path / name).write_bytes(b"x")
    clear_leftovers(tmp_path, "a.npy")
    assert [p.name for p in tmp_path.iterdir()] == [LEFT[1]]


@pytest.mark.skipif(os.name == "nt", reason="there what is being written is kept by being open")
def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with whole_file(tmp_path / "x") as scratch, whole_folder(tmp_path / "y") as folder:
        scratch.write_bytes(b"x")
        (folder / "z").write_bytes(b"z")
        clear_leftovers(tmp_path)
    assert (tmp_path / "x").read_bytes() == b"x"
    assert (tmp_path / "y" / "z").read_bytes() == b"z"


def test_a_store_is_cleared_by_the_next_extraction(tiny_store: Callable[..., FeatureStore]) -> None:
    store = tiny_store({"a/b.mp4": 2})
    before = sorted(store.root.rglob("*"))
    (store.root / "a" / ".c.mp4.0123abcd.part").mkdir()
    (store.root / "a" / ".c.mp4.lock").write_bytes(b"")
    create_store(store.root, store.recipe)
    assert sorted(store.root.rglob("*")) == before


def test_a_video_that_another_extracts_comes_last(
    tiny_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = tiny_store({"z.mp4": 1})
    names = ("a.mp4", "b.mp4", "c.mp4")
    with held_elsewhere(store.root / ".a.mp4.lock") as process:
        claims = claim_each(store, {name: tmp_path / name for name in names})
        for name in names[1:]:
            claimed = next(claims)
            assert claimed is not None and (claimed.name, claimed.path) == (name, tmp_path / name)
            with store.claim(name) as mine:
                assert not mine  # we have it until we give it back
            claimed.claim.close()
        assert [next(claims), next(claims)] == [None, None]
        process.kill()
        process.wait()
        last = next(claims)
        assert last is not None and last.name == "a.mp4"
        last.claim.close()
        assert list(claims) == []


def test_names_and_arrays_of_the_store_are_untouched_by_a_claim(
    tiny_store: Callable[..., FeatureStore],
) -> None:
    store = tiny_store({"a.mp4": 2})
    with store.claim("a.mp4") as mine:
        assert mine
        with store.claim("a.mp4") as again:
            assert not again
        assert store.videos() == ["a.mp4"]
        assert np.isfinite(store.read("a.mp4")["clip"]).all()
