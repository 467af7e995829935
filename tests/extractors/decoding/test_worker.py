"""Decoders that hang, crash or eat memory, and consumers that leave: nothing stays and nothing breaks."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.processes import state

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import Limits, Video, open_video, probe, video
from ssrl_pipeline.extractors.decoding.decoder import open_file
from ssrl_pipeline.extractors.decoding.process import WorkerProcess
from ssrl_pipeline.extractors.decoding.shared_frames import BLOCK_FRAMES, SLOTS

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Video]:
    """fake("hang_later", Limits(...)): a video read by one of tests/fake_decoders.py."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"content")

    def opened(name: str, limits: Limits | None = None) -> Video:
        monkeypatch.setitem(video.OPENERS, "file", f"helpers.fake_decoders:{name}")
        return open_video(path, limits)

    return opened


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split()}


def held() -> list[set[Any]]:
    """What this process has: children, open files, threads."""
    return [children(), *(set(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))]  # noqa: PTH208


def still(pid: int) -> bool:
    """Has used no processor for half a second."""

    def used() -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = used()
    time.sleep(0.5)
    return used() == before


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(1200):  # a minute: machines are busy
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_frames_and_times_are_those_of_the_decoder(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=150, size=(128, 64))
    expected = [(frame.copy(), time) for frame, time in open_file(str(path)).frames]
    with open_video(path) as opened:
        got = [(frame, opened.time) for frame in opened.frames]  # more than the ring holds, kept all at once
    assert len(got) == 150
    np.testing.assert_array_equal([frame for frame, _ in got], [frame for frame, _ in expected])
    assert [time for _, time in got] == [time for _, time in expected]
    assert [time for _, time in got] == pytest.approx(np.arange(150) / 10)


def test_frames_that_are_lent_are_those_that_are_copied(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    """They lie in the ring: 150 frames in the places of four blocks."""
    path = make_video(tmp_path / "a.mp4", frames=150, size=(128, 64))
    frames, places = [], set()
    for frame in open_video(path, lend=True).frames:
        frames.append(frame.copy())
        places.add(frame.ctypes.data)
    np.testing.assert_array_equal(frames, list(open_video(path).frames))
    assert len(places) == SLOTS * BLOCK_FRAMES


@on_linux
def test_the_decoder_has_the_threads_that_it_may(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=150, size=(320, 240))  # more than the ring holds: it waits

    def counted(threads: int) -> tuple[int, list[np.ndarray]]:
        before = children()
        with open_video(path, Limits(threads=threads)) as opened:
            (pid,) = children() - before
            first = next(opened.frames)
            return len(list(Path(f"/proc/{pid}/task").iterdir())), [first, *opened.frames]

    few, expected = counted(1)
    many, found = counted(7)
    assert few <= 2  # the main one, that which hears
    assert many >= few + 6
    np.testing.assert_array_equal(found, expected)


def test_frames_larger_than_a_block(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=6, size=(4800, 2400))  # 33 MiB a frame
    expected = [frame.mean() for frame, _ in open_file(str(path)).frames]
    assert [frame.mean() for frame in open_video(path).frames] == expected


def test_decoder_that_hangs(fake: Callable[..., Video]) -> None:
    with pytest.raises(VideoError, match="the decoder gave no answer for 0.5 seconds, after 0 frames"):
        fake("hang_at_once", Limits(seconds=0.5))
    with pytest.raises(VideoError, match=r"a.mp4: the decoder .* answer for 3 seconds, after 16 frames \("):
        list(fake("hang_later", Limits(seconds=3)).frames)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_decoder_that_crashes(fake: Callable[..., Video]) -> None:
    said = r"the decoder crashed: .* SIGABRT \(corrupted double-linked list\), after 16 frames"
    with pytest.raises(VideoError, match=said):
        list(fake("abort").frames)
    with pytest.raises(VideoError, match="the decoder crashed: .* SIGKILL, after 0 frames"):
        fake("kill_itself")
    with pytest.raises(VideoError, match=r"exit code 1 \(ZeroDivisionError: by a frame of no height\)"):
        fake("raise_what_nobody_expects")


@on_linux
def test_decoder_that_eats_memory(fake: Callable[..., Video]) -> None:
    with pytest.raises(VideoError, match=r"the decoder wants more memory than 0.5 GiB, after 16 frames"):
        list(fake("eat_memory", Limits(memory=1 << 29)).frames)


def test_frames_that_change_their_size(fake: Callable[..., Video]) -> None:
    frames = fake("change_size").frames
    assert [int(next(frames)[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(VideoError, match="a.mp4: frame 3 is 10x6, those before are 8x4"):
        next(frames)


def test_what_is_told_of_the_frames(fake: Callable[..., Video]) -> None:
    with fake("remark") as opened:
        times = [opened.time for _ in opened.frames]
        assert times == [0.0, 0.1, 0.2] and opened.damage() == "one thing; another"


def test_an_error_on_the_way_comes_after_the_frames_before_it(fake: Callable[..., Video]) -> None:
    opened, values = fake("fail_later"), []
    with pytest.raises(VideoError, match=r"^/.*a.mp4: no more$"):
        values.extend(int(frame[0, 0, 0]) for frame in opened.frames)
    assert values == list(range(20)) and opened.time == 1.9
    with pytest.raises(VideoError, match="a.mp4: no frames in it"):
        fake("nothing")


def test_what_a_decoder_prints_harms_nobody(fake: Callable[..., Video], capfd: pytest.CaptureFixture) -> None:
    values = [int(frame[0, 0, 0]) for frame in fake("chatter").frames]
    assert values == list(range(100))
    assert capfd.readouterr() == ("", "")


@on_linux
def test_consumer_that_stops_early_leaves_nothing(fake: Callable[..., Video]) -> None:
    before = children()

    def worker() -> int:
        (pid,) = children() - before
        assert eventually(lambda: state(pid) == "T")  # the ring is full
        return pid

    opened = fake("thousand")
    pid = worker()
    del opened  # none was read
    assert not state(pid)

    opened = fake("thousand")
    pid = worker()
    next(opened.frames)
    opened.close()
    assert not state(pid) and list(opened.frames) == []

    opened = fake("thousand")
    pid = worker()
    with pytest.raises(ZeroDivisionError), opened:
        for frame in opened.frames:
            raise ZeroDivisionError(f"{frame}")
    assert not state(pid)
    assert children() == before


@on_linux
def test_memory_is_bounded_however_slow_the_consumer_is(
    make_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 frames are 260 MB; also where the worker is not stopped, it waits for slots."""
    path = make_video(tmp_path / "a.mp4", frames=600, size=(480, 300))

    def memory_ahead() -> int:
        """MB of the worker's own when it does no more, with one frame read."""
        before = children()
        with open_video(path, Limits(threads=1)) as opened:
            (pid,) = children() - before
            next(opened.frames)
            assert eventually(lambda: state(pid) == "T" or still(pid))
            status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) >> 10

    assert memory_ahead() < 100
    monkeypatch.setattr(WorkerProcess, "_signal", lambda self, name: None)
    assert memory_ahead() < 100


@on_linux
def test_nothing_is_left_of_many_videos(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3)
    gc.collect()
    before = held()
    for i in range(15):
        frames = open_video(path).frames
        assert len([next(frames) for _ in range(1 + i % 3)]) == 1 + i % 3
    del frames
    gc.collect()
    assert [a - b for a, b in zip(held(), before, strict=True)] == [set()] * 3  # what others left may end


@on_linux
@pytest.mark.parametrize("stopped", [False, True])
def test_worker_goes_with_its_parent(tmp_path: Path, stopped: bool) -> None:
    """Killed, so that it cannot tidy up, while the worker waits for slots or hangs."""
    (tmp_path / "a.mp4").write_bytes(b"content")
    code = (
        "import sys, time, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from ssrl_pipeline.extractors.decoding import video\n"
        f"video.OPENERS['file'] = 'helpers.fake_decoders:{'thousand' if stopped else 'hang_later'}'\n"
        "opened = video.open_video(pathlib.Path('a.mp4'))\n"
        "next(opened.frames)\n"
        "print(opened.frames._end.peek()[1].__self__.worker.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        assert eventually(lambda: state(worker) == ("T" if stopped else "S"))
        parent.kill()
        parent.wait()
        try:
            assert eventually(lambda: state(worker) in ("", "Z"))
        finally:
            if state(worker):
                os.kill(worker, signal.SIGKILL)


def test_worker_does_without_torch(make_video: Callable[..., Path], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from ssrl_pipeline.extractors.decoding import worker\n"
        "assert not {'av', 'cv2', 'torch', 'scipy'} & sys.modules.keys()\n"
        "from ssrl_pipeline.extractors.decoding.decoder import open_file\n"
        "print(len(list(open_file(sys.argv[1]).frames)))\n"
        "assert not {'cv2', 'torch', 'scipy', 'nvidia'} & sys.modules.keys()\n"
    )
    path = make_video(tmp_path / "a.mp4", frames=5)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("5\n", 0), done.stderr


def test_headers_of_many_files(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=7, size=(64, 48), fps=5)
    broken, gone = tmp_path / "b.mp4", tmp_path / "c.mp4"
    broken.write_text("not a video")
    infos = list(probe([path, broken, gone, path]))
    assert infos == [(5.0, 64, 48, 7), None, None, (5.0, 64, 48, 7)]


@on_linux
def test_header_that_hangs(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=7)
    pipe = tmp_path / "b.mp4"
    before = children()
    pipe.symlink_to(path)

    found = probe([path, pipe, path, path], seconds=5)
    assert next(found) is not None
    (first,) = children() - before
    os.kill(first, signal.SIGSTOP)  # woken by whoever waits
    assert next(found) is not None
    os.kill(first, signal.SIGKILL)
    assert next(found) is None
    assert next(found) is not None
    assert first not in children()
    found.close()
    assert children() == before
