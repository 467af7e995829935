"""The index of events, and what goes when: no clip is needed for it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.broker import until
from helpers.disks import full

from ssrl_pipeline.alarms.recording import keeper as keeper_module
from ssrl_pipeline.alarms.recording.archive import (
    INDEX,
    Archive,
    folder_name,
    open_archive,
    open_index,
    read_events,
    read_rows,
)
from ssrl_pipeline.alarms.recording.keeper import Keeper
from ssrl_pipeline.alarms.recording.retention import DAY, expired
from ssrl_pipeline.errors import BusyError, PipelineError
from ssrl_pipeline.settings import AlarmSettings

NOW = 2_000_000_000.0


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def archive(tmp_path: Path, said: list[str]) -> Iterator[Archive]:
    with open_archive(tmp_path / "events", said.append) as archive:
        yield archive


def event(archive: Archive, camera: str = "gate", **values: Any) -> dict[str, Any]:
    """An event that is over, with a clip of 1,000 bytes."""
    name, clip = archive.place(camera, values.get("made", NOW))
    clip.parent.mkdir(parents=True, exist_ok=True)
    clip.write_bytes(bytes(1000))
    row = {"id": name, "camera": camera, "state": "done", "made": NOW, "bytes": 1000}
    row |= {"clip": archive.relative(clip), **values}
    archive.write(row)
    return row


def test_rows_are_what_was_written(archive: Archive) -> None:
    row = event(archive, words=["riding a bike"], zones=["door"], peak_score=0.75)
    archive.write({"id": row["id"], "verdict": "abnormal", "end": 40})
    (found,) = archive.rows()
    assert {name: found[name] for name in row} == row
    assert (found["verdict"], found["end"], found["start"], found["told"]) == ("abnormal", 40, None, None)
    assert row["clip"] == f"gate/2033-05-18/{row['id']}.mp4" and row["id"].startswith("20330518-033320-")


def test_the_latest_events_are_read_while_others_write(archive: Archive) -> None:
    assert read_events(archive.folder / "none", 5) == []
    rows = [event(archive, made=NOW + number) for number in range(5)]
    ids = [row["id"] for row in rows]
    assert [row["id"] for row in read_events(archive.folder, 3)] == ids[2:]
    assert [row["id"] for row in read_events(archive.folder, 2, before=NOW + 3)] == ids[1:3]
    (found,) = read_events(archive.folder, 1, of=ids[0])
    assert (found["clip"], found["words"]) == (rows[0]["clip"], [])
    assert read_events(archive.folder, 1, of="nobody's") == []
    assert not (archive.folder / "none").exists()


def test_folders_of_cameras_are_safe_and_their_own() -> None:
    names = ["gate", "Tor 1", "Tor/1", "../x", "rtsp://***@host/x?y", "", ".", "x" * 200, "Straße_2"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(name and "/" not in name and not name.startswith((".", "-")) for name in folders)
    assert folders[0] == "gate" and folders[-1] == "Straße_2" and max(map(len, folders)) <= 70


def test_what_is_too_old_goes_and_what_was_confirmed_stays_longer() -> None:
    ages = {"new": (1, None), "old": (31, None), "confirmed": (31, "abnormal"), "ancient": (400, "abnormal")}
    rows = [
        {"id": name, "made": NOW - days * DAY, "verdict": verdict, "bytes": 10}
        for name, (days, verdict) in ages.items()
    ]
    rows += [{"id": "called normal", "made": NOW - 31 * DAY, "verdict": "normal", "bytes": 10}]
    assert {row["id"] for row in expired(rows, AlarmSettings(), NOW)} == {"old", "ancient", "called normal"}
    for_ever = AlarmSettings(keep_days=None, keep_confirmed_days=None, keep_gigabytes=None)
    assert expired(rows, for_ever, NOW) == []


def test_where_there_is_too_much_the_oldest_go_and_confirmed_ones_last() -> None:
    rows = [
        {"id": i, "made": NOW + i, "verdict": "abnormal" if i in (0, 3) else None, "bytes": 10**9}
        for i in range(6)
    ]

    def gone(gigabytes: float) -> list[object]:
        return [row["id"] for row in expired(rows, AlarmSettings(keep_gigabytes=gigabytes), NOW + 10)]

    assert gone(6) == [] and gone(4.5) == [1, 2] and gone(2) == [1, 2, 4, 5] and gone(1.5) == [1, 2, 4, 5, 0]


def test_a_file_that_cannot_be_removed_costs_no_other_event(
    archive: Archive, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stays(row: object) -> None:
        raise PermissionError(13, "Permission denied", "old.mp4")

    monkeypatch.setattr(archive, "expire", stays)
    event(archive, made=DAY)  # of 1970
    keeper = Keeper(archive, AlarmSettings(), said.append)
    row = {"id": "x", "camera": "gate", "state": "done", "made": NOW, "peak": 5, "start_s": 0.0, "end_s": 1.0}
    answers = []
    clip = archive.place("gate")[1]
    keeper.give(lambda: answers.append(keeper.keep(row, clip, {"error": "none"}, None, None)))
    keeper.close(20)
    assert answers == [{"clip": None, "still": None}]
    assert "old.mp4: cannot be removed (Permission denied)" in said


def test_expired_events_leave_no_file_and_no_empty_folder(archive: Archive) -> None:
    row, other = event(archive), event(archive, "yard")
    archive.expire(row)
    found = {one["id"]: one for one in archive.rows()}
    assert found[row["id"]]["state"] == "expired" and found[row["id"]]["clip"] is None
    assert not (archive.folder / "gate").exists() and (archive.folder / other["clip"]).is_file()


def test_one_run_at_a_time(archive: Archive, said: list[str]) -> None:
    with pytest.raises(BusyError, match="process .* writes its events there"):
        open_archive(archive.folder, said.append).__enter__()


def test_what_is_no_index_is_said(tmp_path: Path, said: list[str]) -> None:
    index = tmp_path / "index.sqlite"
    index.write_text("no database at all\n" * 100)
    with pytest.raises(PipelineError, match="index.sqlite: cannot be used as the index of events"):
        open_archive(tmp_path, said.append).__enter__()
    index.unlink()
    with sqlite3.connect(index) as later:
        later.execute("PRAGMA user_version=99")
    later.close()
    with pytest.raises(PipelineError, match="a later version"):
        open_archive(tmp_path, said.append).__enter__()


def test_events_wait_for_room_and_are_in_order(archive: Archive, said: list[str]) -> None:
    rows = [event(archive) for _ in range(2)]
    size = max(path.stat().st_size for path in archive.folder.glob("index.sqlite*"))
    long = ["x" * 40_000]
    with full(size):
        late = [
            {"id": f"z{i}", "camera": "gate", "state": "done", "made": NOW + 1, "words": long}
            for i in range(2)
        ]
        for row in late:
            archive.write(row)
        assert [row["id"] for row in archive.rows()] == sorted(row["id"] for row in rows)
    assert len(said) == 1 and "events wait for it in memory" in said[0]
    archive.write({"id": "z1", "verdict": "normal"})
    assert [row["id"] for row in archive.rows()][2:] == ["z0", "z1"]
    assert archive.rows("verdict IS NOT NULL")[0]["id"] == "z1"


def without_room(archive: Archive) -> None:
    """An event that the index has no room for."""
    event(archive)
    size = max(path.stat().st_size for path in archive.folder.glob("index.sqlite*"))
    with full(size):
        row = {"id": "late", "camera": "gate", "state": "done", "made": NOW + 1, "words": ["x" * 40_000]}
        archive.write(row)
    assert archive.is_waiting and len(archive.rows()) == 1


def test_what_waits_for_room_is_written_at_the_end(tmp_path: Path, said: list[str]) -> None:
    with open_archive(tmp_path, said.append) as archive:
        without_room(archive)
    assert len(said) == 1
    index = open_index(tmp_path / INDEX)
    assert [row["id"] for row in read_rows(index)][1:] == ["late"]
    index.close()


def test_what_waits_for_room_is_written_though_no_event_follows(
    archive: Archive, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_room(archive)
    monkeypatch.setattr(keeper_module, "ROOM_EVERY", 0.02)
    keeper = Keeper(archive, AlarmSettings(), said.append)
    until(lambda: not archive.is_waiting)
    keeper.close(10)
    assert len(archive.rows()) == 2


def test_an_event_that_a_full_disk_has_no_room_for_is_said_without_advice_for_commands(
    archive: Archive, said: list[str]
) -> None:
    keeper = Keeper(archive, AlarmSettings(), said.append)
    name, clip = archive.place("gate")
    found = {
        "error": f"{clip}: cannot be written, no space left on device; make room and run the same command"
    }
    row = {
        "id": name,
        "camera": "gate",
        "state": "done",
        "made": NOW,
        "start_s": 0.0,
        "end_s": 1.0,
        "peak": 3,
    }
    kept = keeper.keep(row, clip, found, None, None)
    keeper.close(10)
    assert kept == {"clip": None, "still": None}
    assert said == [f"gate: no clip of event {name}: {clip}: cannot be written, no space left on device"]
