"""Events of streams and files, from the decoder to the archive: clips, stills and what is told of them."""

import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.live_video import Live, marked_video
from helpers.recorded import Watched, check_clip, rows_of
from live_stream import read_mark
from PIL import Image

from ssrl_pipeline.alarms.recording import recorder as recorder_module
from ssrl_pipeline.alarms.recording.opening import open_recorder
from ssrl_pipeline.settings import AlarmSettings
from ssrl_pipeline.watching import camera
from ssrl_pipeline.watching.post import Line


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(camera, "FIRST_WAIT", 0.05)


def test_events_of_a_live_stream_have_clips_of_its_own_frames(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 260, bright=[(100, 150)])
    folder = tmp_path / "events"
    with Live(source) as live:
        watched = Watched([f"gate={live.url}"], AlarmSettings(str(folder), before=1.0, after=1.0))
        watched.until = lambda line: line["type"] == "event_end"
        assert watched.run() == []
    (start,), (end,) = watched.of("event_start"), watched.of("event_end")
    (row,) = rows_of(folder)
    assert row["id"] == start["id"] == end["id"] and row["camera"] == "gate" and row["state"] == "done"
    assert start["clip"] is None and start["still"] == str(folder / row["still"])
    assert end["clip"] == str(folder / row["clip"]) and end["still"] == str(folder / row["still"])
    numbers = check_clip(folder, row, source)
    shift = numbers[0] - row["clip_first"]  # the stream was joined on its way
    begin, over = end["start"] + shift, end["end"] + shift
    assert 84 <= begin <= 116 and 134 <= over <= 166  # snippets that are half light and more
    assert begin - 25 - 25 <= numbers[0] <= begin - 25 and numbers[0] % 25 == 0  # the key frame before
    assert over + 23 <= numbers[-1] <= over + 28  # to a second behind it, and not far beyond
    assert [row[name] for name in ("start", "end", "peak")] == [
        end[name] for name in ("start", "end", "peak")
    ]
    assert read_mark(np.array(Image.open(end["still"]))) == end["peak"] + shift
    record = json.loads((folder / row["clip"]).with_suffix(".json").read_text())
    scores = dict(map(tuple, record["scores"]))
    told = {line["time_s"]: line["score"] for line in watched.of("score")}
    assert len(scores) >= 5 and all(
        told[time_s] == pytest.approx(score, abs=1e-6) for time_s, score in scores.items()
    )
    assert min(scores) <= end["start_s"] and max(scores) >= end["end_s"]
    assert row["bytes"] == sum(path.stat().st_size for path in (folder / row["clip"]).parent.iterdir())
    assert row["made"] <= row["told"] <= time.time() and row["verdict"] is None


def test_the_start_is_told_at_once_and_scores_are_not_held_up(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 260, bright=[(90, 120)])
    folder = tmp_path / "events"
    with Live(source) as live:
        watched = Watched([f"gate={live.url}"], AlarmSettings(str(folder), before=1.0, after=3.0))
        watched.until = lambda line: line["type"] == "event_end"
        watched.run()
    kinds = [line["type"] for _, line in watched.lines if line["type"] != "connected"]
    at = {line["type"]: moment for moment, line in watched.lines}
    light = next(moment for moment, line in watched.lines if line.get("score", 0) > 0.5)
    assert at["event_start"] - light < 1.5
    behind = kinds[kinds.index("event_start") + 1 : kinds.index("event_end")]
    assert behind.count("score") >= 4  # while its clip goes on
    moments = [moment for moment, line in watched.lines if line["type"] == "score"]
    assert np.diff(moments).max() < 16 / 25 + 0.6


def test_a_stream_that_is_cut_has_the_clip_up_to_there(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 500, bright=[(100, 300)])
    folder = tmp_path / "events"
    with Live(source) as live:
        watched = Watched([f"gate={live.url}"], AlarmSettings(str(folder), before=1.0, after=1.0))
        ends: list[Line] = []

        def cut(line: Line) -> None:
            if line["type"] == "event_start" and not ends:
                threading.Timer(1.0, live.cut.set).start()
            if line["type"] == "lost":
                live.cut.clear()

        watched.during = cut
        watched.until = lambda line: len(watched.of("event_end")) == 2
        watched.run()
    first, second = rows_of(folder)
    for row in (first, second):
        numbers = check_clip(folder, row, source, unread=3)
        assert row["end"] - row["start"] <= len(numbers)
    assert first["clip_last"] < second["clip_first"] <= second["start"]
    assert len(watched.of("event_start")) == 2


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", ".mp4"), ("mjpeg", ".avi")])
def test_what_browsers_do_not_play_is_encoded(codec: str, suffix: str, tmp_path: Path) -> None:
    source = marked_video(tmp_path / f"a{suffix}", 200, bright=[(60, 110)], codec=codec)
    folder = tmp_path / "events"
    watched = Watched([f"gate={source}"], AlarmSettings(str(folder), before=1.0, after=1.0))
    assert watched.run() == []
    (row,) = rows_of(folder)
    numbers = check_clip(folder, row, source, exact=False)
    assert numbers[0] == row["clip_first"] <= row["start"] and row["end"] <= row["clip_last"]
    assert [path.suffix for path in sorted((folder / row["clip"]).parent.iterdir())] == [
        ".jpg",
        ".json",
        ".mp4",
    ]
    assert watched.of("event_end")[0]["clip"].endswith(".mp4")


def test_events_that_go_on_at_the_end_of_a_file_are_whole(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 200, bright=[(0, 40), (150, 200)])
    folder = tmp_path / "events"
    assert Watched([f"gate={source}"], AlarmSettings(str(folder))).run() == []
    first, last = rows_of(folder)
    assert check_clip(folder, first, source)[0] == 0
    assert check_clip(folder, last, source)[-1] == 199 == last["end"] - 1


def test_a_long_event_has_the_clip_of_its_beginning_and_the_still_of_its_peak(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 300, bright=[(100, 300)])
    folder = tmp_path / "events"
    watched = Watched([f"gate={source}"], AlarmSettings(str(folder), before=1.0, longest=3.0))
    assert watched.run() == []
    (row,) = rows_of(folder)
    numbers = check_clip(folder, row, source)
    assert 75 <= len(numbers) <= 78
    record = json.loads((folder / row["clip"]).with_suffix(".json").read_text())
    assert record["clip_note"] == "longer than 3 seconds"


KILLED = """
    import os, signal, sys
    sys.path[:0] = {path!r}
    import threading
    from helpers.recorded import Watched
    from ssrl_pipeline.settings import AlarmSettings

    def main():
        watched = Watched(["gate=" + sys.argv[1]], AlarmSettings(sys.argv[2], before=1.0, after=30.0))
        def kill(line):
            if line["type"] == "event_start":
                threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGKILL)).start()
        watched.during = kill
        watched.run()

    if __name__ == "__main__":
        main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_is_marked_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = marked_video(tmp_path / "a.mp4", 400, bright=[(50, 400)])
    folder = tmp_path / "events"
    here = Path(__file__).resolve()
    paths = [str(here.parents[2]), str(here.parents[3] / "scripts" / "endurance")]
    code = tmp_path / "killed.py"
    code.write_text(textwrap.dedent(KILLED.format(path=paths)))
    with Live(source) as live:
        job = subprocess.run([sys.executable, str(code), live.url, str(folder)], timeout=60)
    assert job.returncode == -signal.SIGKILL
    (row,) = rows_of(folder)  # safe to read
    assert row["state"] == "open" and row["end"] is None and (folder / "index.sqlite").is_file()
    day = next((folder / "gate").iterdir())
    deadline = time.monotonic() + 10  # the decoding process sees that its parent is gone
    while time.monotonic() < deadline and not list(day.glob(".*.part*")):
        time.sleep(0.1)
    assert list(day.glob(".*.part*"))
    time.sleep(1)
    with open_recorder(AlarmSettings(str(folder)), lambda name: None, lambda line: None):
        pass
    (row,) = rows_of(folder)
    assert row["state"] == "interrupted" and row["clip"] is None
    assert (folder / row["still"]).is_file()
    assert not list(day.glob(".*.part*"))
    assert "events that a run before could not finish: 1" in caplog.text


def test_a_disk_without_room_loses_clips_and_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that cannot be written stands for it; the recorder's own test has the full disk."""
    source = marked_video(tmp_path / "a.mp4", 200, bright=[(60, 110)])
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "gate").write_text("in the way")
    monkeypatch.setattr(recorder_module, "STILL_WAIT", 0.5)
    watched = Watched([f"gate={source}"], AlarmSettings(str(folder)))
    assert watched.run() == []
    assert sum(line["frames"] for line in watched.of("score")) == 200
    (start,), (end,) = watched.of("event_start"), watched.of("event_end")
    assert start["still"] is None and end["clip"] is None and end["still"] is None
    (row,) = rows_of(folder)
    assert row["state"] == "done" and row["clip"] is None
    assert f"no clip of event {row['id']}" in caplog.text


def test_the_index_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 300, bright=[(50, 80), (150, 180), (250, 280)])
    folder = tmp_path / "events"
    seen: list[int] = []
    watched = Watched([f"gate={source}"], AlarmSettings(str(folder), before=0.0, after=0.0))

    def read(line: Line) -> None:
        if line["type"] == "event_end":
            with sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True) as index:
                seen.append(index.execute("SELECT count(*) FROM events WHERE state = 'done'").fetchone()[0])

    watched.during = read
    assert watched.run() == []
    assert seen[0] >= 1 and seen[-1] == 3 and [line["event"] for line in watched.of("event_end")] == [1, 2, 3]
