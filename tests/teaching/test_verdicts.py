"""feedback.csv: what counts of it, and the commands that write it."""

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Result, run_main
from helpers.stores import RECIPE, add

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.settings import DataSettings
from ssrl_pipeline.teaching.place import names_in_store
from ssrl_pipeline.teaching.verdicts import (
    Moment,
    Patch,
    Verdict,
    add_verdict,
    parse_patch,
    read_verdicts,
    undo,
)

HEADER = "video,verdict,frame,time,patch,note,who,when\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        return Result(run_main(*arguments), *capfd.readouterr())

    return call


def read(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    said: list[str] = []
    return [(str(one.moment), one.word) for one in read_verdicts(path, said.append)], said


def test_the_latest_line_on_a_moment_counts_and_undo_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "feedback.csv"
    first, second = Moment("a.mp4", 30, 1.0), Moment("a.mp4", None, 2.5)
    patch = first._replace(patch=Patch("2x3", 5))
    for moment, word in ((first, "normal"), (second, "normal"), (patch, "abnormal"), (first, "abnormal")):
        add_verdict(path, Verdict(moment, word))
    all_three = [("a.mp4, 2.5 s", "normal"), ("a.mp4, frame 30, 1 s, patch 2x3:5", "abnormal")]
    assert read(path) == ([*all_three, ("a.mp4, frame 30, 1 s", "abnormal")], [])
    assert undo(path, None, None, "me", print).word == "abnormal"
    assert read(path)[0] == [("a.mp4, frame 30, 1 s", "normal"), *all_three]
    undo(path, "a.mp4", Moment("a.mp4", 30, None), "me", print)
    assert read(path) == (all_three, [])
    assert len(path.read_text().splitlines()) == 7  # nothing is ever taken out
    with pytest.raises(LabelError, match="no verdict on b.mp4 counts"):
        undo(path, "b.mp4", None, "me", print)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_moment_is_the_same_by_its_frame_and_by_its_time(tmp_path: Path, swapped: bool) -> None:
    path = tmp_path / "feedback.csv"
    lines = ["a.mp4,normal,,12.5", "a.mp4,abnormal,312,12.5"]
    path.write_text(
        HEADER + "\n".join([*(lines[::-1] if swapped else lines), "a.mp4,normal,313,12.5"]) + "\n"
    )
    first, second = read(path)[0]
    assert first[1] == ("normal" if swapped else "abnormal")
    assert second == ("a.mp4, frame 313, 12.5 s", "normal")
    undo(path, None, Moment("a.mp4", 312, 12.5), "", print)
    assert read(path)[0][0][1] == ("abnormal" if swapped else "normal")


def test_two_who_undo_at_once_undo_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "feedback.csv"
    for name, word in (("a.mp4", "normal"), ("b.mp4", "normal"), ("a.mp4", "abnormal")):
        add_verdict(path, Verdict(Moment(name, 1, None), word))
    both = threading.Barrier(2)

    def slow(*arguments: Any) -> list[Verdict]:
        found = read_verdicts(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return found

    monkeypatch.setattr("ssrl_pipeline.teaching.verdicts.read_verdicts", slow)
    threads = [threading.Thread(target=undo, args=(path, None, None, "", print)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert read(path)[0] == [("a.mp4, frame 1", "normal")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "feedback.csv"
    text = "Video;Verdict;Time;Note\r\ncámara.mp4;Normal;12,5;a, b\r\n"
    path.write_bytes(text.encode(encoding))
    add_verdict(path, Verdict(Moment("b.mp4", None, 3.0), "abnormal"))
    found = read(path)
    assert found == ([("cámara.mp4, 12.5 s", "normal"), ("b.mp4, 3 s", "abnormal")], [])


def test_garbage_costs_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "feedback.csv"
    lines = (
        *(
            "a.mp4,normal,1",
            "a.mp4,perhaps,1",
            "a.mp4,normal,x",
            "a.mp4,normal",
            ",normal,3",
            'a.mp4,"normal,4',
        ),
        *("a.mp4,normal,,noon", "a.mp4,normal,5,,2x3:6", "b.mp4,undo,1", "\x00\x00", "b.mp4,abnormal,,1:00"),
        "a,normal,1,2,3x5:0,note,me,now,and,more",
    )
    path.write_text(HEADER + "\n".join(lines))
    found, said = read(path)
    assert found == [("a.mp4, frame 1", "normal"), ("b.mp4, 60 s", "abnormal")]
    numbers = [int(text.split("line ")[1].split(":")[0]) for text in said]
    assert numbers == [3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    assert all(text.endswith("the line is passed over") for text in said)


@pytest.mark.parametrize("text", ["2x3", "2x3:6", "0x3:0", "2x3:-1", "x:1", "2x3:1:1"])
def test_what_is_no_patch_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"2x3|0x3|x:1"):
        parse_patch(text)


def test_commands_fill_in_frame_and_time(run: Callable[..., Result], tmp_path: Path) -> None:
    store = create_store(tmp_path / "features", RECIPE, "float32")
    add(store, "gate/a.mp4")  # 40 frames, 12.5 a second
    (tmp_path / "videos" / "gate").mkdir(parents=True)
    (tmp_path / "videos" / "gate" / "a.mp4").touch()
    assert (
        run("feedback", "add", "videos/gate/a.mp4", "--at", "1.2s", "--normal", "--patch", "2x3:4").code == 0
    )
    assert (
        run(
            "feedback", "add", "gate/a.mp4", "--frame", "20", "--abnormal", "--note", "a\nb", "--who", "me"
        ).code
        == 0
    )
    listed = json.loads(run("feedback", "list", "--json").out)
    assert [(one["frame"], one["time"], one["patch"], one["verdict"]) for one in listed] == [
        (15, 1.2, "2x3:4", "normal"),
        (20, 1.6, None, "abnormal"),
    ]
    assert (listed[1]["note"], listed[1]["who"]) == ("a b", "me")
    undone = run("feedback", "undo")
    assert (undone.code, "frame 20" in undone.out) == (0, True)
    assert run("feedback", "undo", "gate/a.mp4", "--frame", "15", "--patch", "2x3:4").code == 0
    assert json.loads(run("feedback", "list", "--json").out) == []
    assert run("feedback", "undo").code == 1


def test_a_video_is_found_by_the_end_of_its_path(run: Callable[..., Result], tmp_path: Path) -> None:
    store = create_store(tmp_path / "features", RECIPE, "float32")
    for name in ("gate/a.mp4", "gate/b.mp4", "yard/b.mp4"):
        add(store, name)
    assert "40 frames" in run("feedback", "add", "a.mp4", "--frame", "99999", "--normal").err
    assert "with its folders" in run("feedback", "add", "b.mp4", "--frame", "1", "--normal").err
    assert not (tmp_path / "feedback.csv").exists()
    for name in ("a.mp4", "old/gate/a.mp4", "yard/a.mp4"):
        assert run("feedback", "add", name, "--frame", "1", "--normal").code == 0
    names = [one["video"] for one in json.loads(run("feedback", "list", "--json").out)]
    assert names == ["gate/a.mp4", "yard/a.mp4"]
    assert run("feedback", "undo", "gate/a.mp4", "--patch", "2x3:0").code == 2
    for _ in range(2):
        assert run("feedback", "undo", "a.mp4", "--frame", "1").code == 0
    assert [one["video"] for one in json.loads(run("feedback", "list", "--json").out)] == ["yard/a.mp4"]

    name_of = names_in_store(DataSettings(features=str(tmp_path / "features")), print)
    for path, name in (("videos/gate/a.mp4", "gate/a.mp4"), ("/d/gate/a.mp4", "gate/a.mp4")):
        assert name_of(Path(path)) == name
    assert name_of(Path("videos/yard/a.mp4")) == "yard/a.mp4"
    assert name_of(Path("/d/yard/a.mp4")) == "/d/yard/a.mp4"


@pytest.mark.parametrize(
    ("arguments", "code", "mentions"),
    [
        (("a.mp4", "--normal"), 2, "--at 12.5s"),
        (("a.mp4", "--at", "1s"), 2, "--abnormal"),
        (("a.mp4", "--at", "soon", "--normal"), 2, "'soon' is no time"),
        (("a.mp4", "--frame", "1", "--normal", "--patch", "9"), 2, "2x3:4"),
        (("a.mp4", "--frame", "40", "--normal"), 1, "40 frames, 0 to 39"),
        (("a.mp4", "--at", "3:00", "--normal"), 1, "40 frames"),
        (("a.mp4", "--at", "3s", "--frame", "1", "--normal"), 1, "frame 1 is at 0.08 s"),
    ],
)
def test_mistakes_are_told(
    run: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], code: int, mentions: str
) -> None:
    add(create_store(tmp_path / "features", RECIPE, "float32"), "a.mp4")
    done = run("feedback", "add", *arguments)
    assert (done.code, mentions in done.err) == (code, True), done.err
    assert not (tmp_path / "feedback.csv").exists()
