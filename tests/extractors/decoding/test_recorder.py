"""Clips and stills out of a decoding process: of the stream's own frames, all, and never at its cost."""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.disks import full
from helpers.live_video import marked_video
from helpers.processes import state
from live_stream import read_mark
from PIL import Image

from ssrl_pipeline.extractors.decoding import Keep, open_video, video
from ssrl_pipeline.extractors.decoding import decoder as decoder_module
from ssrl_pipeline.extractors.decoding.recording import clip as clip_module
from ssrl_pipeline.extractors.decoding.recording.packets import LEAST, PacketRing
from ssrl_pipeline.extractors.decoding.recording.recorder import Recorder, mark


class Here:
    """A recorder in this process: frames are decoded one by one, and answers waited for."""

    def __init__(self, path: Path, seconds: float = 1000.0, size: int = 1 << 30):
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.recorder = Recorder(lambda **answer: self.answers.put(answer), seconds, size)
        opened = decoder_module.open_file(str(path), 1)
        opened.record(self.recorder)
        self.frames, self.seen = opened.frames, list[np.ndarray]()

    def read(self, frames: int = 1 << 30) -> "Here":
        for _ in range(frames):
            if (found := next(self.frames, None)) is None:
                self.recorder.end()
                break
            self.seen.append(found[0].copy())
        return self

    def ask(self, kind: str, **values: Any) -> None:
        self.recorder.request({"ask": kind, "key": "a", **values})

    def clip(self, path: Path, frame: int, before: float = 0.0, longest: float = 100.0) -> None:
        self.ask("clip", path=str(path), frame=frame, before=before, longest=longest)

    def answer(self) -> dict[str, Any]:
        return self.answers.get(timeout=20)


@pytest.mark.parametrize(
    ("codec", "bframes", "suffix", "kind"),
    [
        ("libx264", 0, ".mp4", ".mp4"),
        ("libx264", 3, ".ts", ".mp4"),
        ("libx265", 2, ".mkv", ".mp4"),
        ("libsvtav1", 0, ".mp4", ".mp4"),
        ("mpeg4", 0, ".mp4", ".mkv"),
        ("mjpeg", 0, ".avi", ".mkv"),
    ],
)
def test_a_clip_has_the_frames_that_it_names(
    codec: str, bframes: int, suffix: str, kind: str, tmp_path: Path
) -> None:
    source = marked_video(tmp_path / f"a{suffix}", 110, codec=codec, bframes=bframes, keys=20)
    here = Here(source).read(60)
    here.clip(tmp_path / "clip.mp4", frame=55, before=0.6)
    here.read(10)
    here.ask("until", frame=60, after=0.8)
    here.read()
    told = here.answer()
    path = Path(told["path"])
    assert path == tmp_path / f"clip{kind}" and told["note"] == ""
    assert told["first"] == 40  # the key frame before, or that very frame
    assert 79 <= told["last"] <= 83 and told["frames"] == told["last"] - told["first"] + 1
    found = list(open_video(path).frames)
    np.testing.assert_array_equal(found, here.seen[told["first"] : told["last"] + 1])
    with av.open(str(path)) as file:
        assert not file.streams.video[0].start_time
        assert told["seconds"] == pytest.approx(told["frames"] / 25, abs=0.001)
        assert file.duration / av.time_base == pytest.approx(told["seconds"], abs=0.05)
    if suffix in (".mp4", ".avi"):  # others hold the same packets in another form
        assert " ".join(packets(path)) in " ".join(packets(source))
    if kind == ".mp4":
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([source.name, path.name])


def packets(path: Path) -> list[str]:
    with av.open(str(path)) as file:
        return [bytes(packet).hex() for packet in file.demux(video=0) if packet.size]


def test_a_clip_ends_where_the_stream_does_or_where_it_is_long_enough(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 110, keys=20)
    here = Here(source).read(30)
    here.clip(tmp_path / "clip.mp4", frame=25)
    here.read()
    told = here.answer()
    assert (told["first"], told["last"], told["note"]) == (20, 109, "")

    here = Here(source).read(30)
    here.clip(tmp_path / "short.mp4", frame=25, longest=1.0)
    here.read()
    told = here.answer()
    assert (told["first"], told["note"]) == (20, "longer than 1 seconds") and 45 <= told["last"] <= 48

    here = Here(source).read()
    here.clip(tmp_path / "late.mp4", frame=105, before=1.0)  # of what is over
    told = here.answer()
    assert (told["first"], told["last"]) == (80, 109)


def test_a_still_is_the_frame_with_its_patch_marked(tmp_path: Path) -> None:
    here = Here(marked_video(tmp_path / "a.mp4", 60, bframes=3)).read(50)
    here.ask("still", frame=37, path=str(tmp_path / "s.jpg"), box=[1 / 3, 0.5, 2 / 3, 1.0])
    assert here.answer() == {"asked": "a"}
    picture = np.array(Image.open(tmp_path / "s.jpg")).astype(int)
    assert read_mark(picture) == 37
    outline = picture[130:230, 106:108].reshape(-1, 3).mean(axis=0)
    assert outline[0] > 100 > 80 > outline[2]  # vermilion, as far as a JPEG has its colour
    inside, expected = picture[150:200, 120:200], here.seen[37][150:200, 120:200].astype(int)
    assert np.abs(inside - expected).mean() < 8
    here.ask("still", frame=4711, path=str(tmp_path / "t.jpg"), box=None)
    assert here.answer()["error"] == "frame 4711 is not kept any more"
    assert not (tmp_path / "t.jpg").exists()


def test_an_outline_is_within_the_picture() -> None:
    picture = Image.new("RGB", (90, 60))
    mark(picture, [0.0, 0.0, 1.0, 1.0])
    marked = np.array(picture).any(axis=2)
    assert marked[0].all() and marked[-1].all() and marked[:, 0].all() and marked[:, -1].all()
    assert not marked[5:-5, 5:-5].any()


class Packet:
    """What a demuxer gives."""

    is_keyframe, time_base, duration = False, 0.04, 1
    opaque: object = None

    def __init__(self, number: int, keys: int, size: int = 1000):
        self.pts = self.dts = number
        self.is_keyframe = number % keys == 0
        self._size = size

    def __bytes__(self) -> bytes:
        return bytes(self._size)


def fill(ring: PacketRing, packets: int, keys: int, size: int = 1000) -> None:
    for i in range(packets):
        kept = ring.add(Packet(i, keys, size))
        assert kept
        ring.name(kept.serial, i)


def test_packets_are_kept_for_some_seconds_from_a_key_frame_on() -> None:
    ring = PacketRing(40.0, 1 << 30)
    fill(ring, 5000, keys=50)
    kept = ring.since(0)
    assert kept[0].key and 1000 <= len(kept) <= 1050
    assert [one.pts for one in kept] == list(range(kept[0].pts, 5000))
    assert ring.since(4990, 2.0)[0].pts == 4900 and ring.since(4951, 2.0)[0].pts == 4900
    assert ring.seconds(4990) == pytest.approx(4990 / 25) and ring.seconds(10) is None
    short = PacketRing(1.0, 1 << 30)
    fill(short, 5000, keys=50)
    assert LEAST <= len(short.since(0)) <= LEAST + 50


def test_packets_are_kept_within_their_bytes() -> None:
    ring = PacketRing(1000.0, 300_000)
    fill(ring, 5000, keys=50)
    kept = ring.since(0)
    assert kept[0].key and 250 <= len(kept) <= 300 and kept[-1].pts == 4999
    ring = PacketRing(1000.0, 300_000)
    fill(ring, 5000, keys=10**6)  # one key frame in all: nothing of it could be decoded
    assert ring.since(4999) == []
    assert len(ring._numbers) < 700 and len(ring._frames) < 700


def test_nothing_is_of_two_clocks() -> None:
    ring = PacketRing(1000.0, 1 << 30)
    fill(ring, 1000, keys=50)
    first = [ring.add(Packet(i, 50)) for i in range(100)]  # it began anew
    for i, kept in enumerate(first):
        assert kept
        ring.name(kept.serial, 1000 + i)
    assert [one.pts for one in ring.since(1020, 10.0)] == list(range(100))


def test_a_full_disk_loses_the_clip_and_no_frame(tmp_path: Path) -> None:
    here = Here(marked_video(tmp_path / "a.mp4", 110)).read(60)
    with full(10_000):
        here.clip(tmp_path / "clip.mp4", frame=55)
        here.read()
        told = here.answer()
    assert "cannot be written" in told["error"] and "make room" in told["error"]
    assert len(here.seen) == 110
    assert [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


def test_a_slow_disk_loses_the_rest_of_a_clip_and_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    add = clip_module.ClipFile.add

    def late(self: Any, kept: Any) -> None:
        slow.wait(20)
        add(self, kept)

    monkeypatch.setattr(clip_module.ClipFile, "add", late)
    monkeypatch.setattr(clip_module, "WAITING", 60_000)
    here = Here(marked_video(tmp_path / "a.mp4", 200)).read(60)
    here.clip(tmp_path / "clip.mp4", frame=55)
    here.read()
    assert len(here.seen) == 200
    slow.set()
    told = here.answer()
    assert told["note"] == "the disk is too slow" and told["first"] == 50 and told["last"] < 199
    found = list(open_video(Path(told["path"])).frames)
    np.testing.assert_array_equal(found, here.seen[told["first"] : told["last"] + 1])


def test_a_process_is_asked_beside_its_frames_and_behind_them(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 110, keys=20)
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    opened = open_video(source, keep=Keep(100.0))
    for number, _ in enumerate(opened.frames):
        if number == 50:
            request = {
                "ask": "clip",
                "frame": 45,
                "before": 0,
                "longest": 99,
                "path": str(tmp_path / "c.mp4"),
            }
            opened.ask("clip", request, answers.put)
    assert opened.damage() == ""
    assert answers.get(timeout=20)["last"] == 109
    still = {"ask": "still", "frame": 70, "path": str(tmp_path / "s.jpg"), "box": None}
    opened.ask("still", still, answers.put)
    assert answers.get(timeout=20) == {"asked": "still"} and not opened.waits
    assert read_mark(np.array(Image.open(tmp_path / "s.jpg"))) == 70
    opened.close()
    opened.ask("late", still, answers.put)
    assert answers.get(timeout=20)["error"] == "its decoder has ended"


def test_a_process_that_is_as_far_ahead_as_it_may_be_answers_too(tmp_path: Path) -> None:
    source = marked_video(tmp_path / "a.mp4", 250)
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for i in range(5):
        with open_video(source, keep=Keep(100.0)) as opened:
            for _ in itertools.islice(opened.frames, 71):
                pass
            still = {"ask": "still", "frame": 70, "path": str(tmp_path / f"{i}.jpg"), "box": None}
            opened.ask("still", still, answers.put)
            assert answers.get(timeout=20) == {"asked": "still"}
            pid = opened._conversation.worker.pid
            deadline = time.monotonic() + 20
            while state(pid) not in ("T", ""):  # nothing where there is no /proc
                assert time.monotonic() < deadline  # it is stopped once that is done
                time.sleep(0.01)


def test_a_decoder_that_crashes_answers_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = marked_video(tmp_path / "a.mp4", 10)
    monkeypatch.setitem(video.OPENERS, "file", "helpers.fake_decoders:hang_later")
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    opened = open_video(source, keep=Keep(100.0))
    ask: Callable[..., None] = opened.ask
    ask("s", {"ask": "still", "frame": 1, "path": str(tmp_path / "s.jpg"), "box": None}, answers.put)
    assert "not kept" in answers.get(timeout=20)["error"]
    opened._conversation.worker._asked["b"] = answers.put
    opened.close()
    assert answers.get(timeout=20)["error"] == "its decoder has ended"
