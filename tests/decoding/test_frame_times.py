"""When the frames of real files are shown: as written, as ffprobe says it, as others measured it."""

import shutil
import sys
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import STEP, with_times

from ssrl_pipeline.extractors.decoding import VideoInfo, open_video
from ssrl_pipeline.times import from_stamps, measured_rate

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from check_corpus import ffprobe_times

PHONE = list(accumulate([0.033, 0.034, 0.05, 0.033, 0.1, 0.033, 0.025] * 4, initial=0.0))  # uneven, to the ms
PAUSED = [*(i / 10 for i in range(20)), *(601.5 + i / 10 for i in range(20))]
JITTER = [round(i / 15 + (0.011, -0.004, 0.02, 0.0)[i % 4], 3) for i in range(40)]


def read(path: Path) -> tuple[list[float], list[int], str, VideoInfo]:
    """Times, numbers of the frames by their grey, notes, and what the container says."""
    times, numbers = [], []
    with open_video(path) as video:
        for frame in video.frames:
            times.append(video.time)
            numbers.append(round(float(frame.mean()) / STEP))
        return times, numbers, video.damage(), video.info


def assert_like_ffprobe(path: Path, times: list[float]) -> None:
    if shutil.which("ffprobe"):
        found = np.array(ffprobe_times(path), float)
        np.testing.assert_allclose(np.array(times) - times[0], found - found[0], atol=1e-3)


@pytest.mark.parametrize("times", [PHONE, PAUSED, JITTER], ids=["phone", "pause", "jitter"])
@pytest.mark.parametrize(
    ("name", "codec", "clock"),
    [
        ("a.mp4", "mpeg4", 1000),
        ("a.mov", "mjpeg", 1000),
        ("a.mkv", "mpeg4", 1000),
        ("a.mkv", "libx264", 1000),  # with B-frames: stored in another order
        ("a.webm", "libvpx", 1000),
        ("a.ts", "libx264", 90000),
        ("a.flv", "flv", 1000),
        ("a.nut", "mjpeg", 1000),
    ],
)
def test_frames_have_the_times_at_which_they_were_written(
    tmp_path: Path, name: str, codec: str, clock: int, times: list[float]
) -> None:
    path = with_times(tmp_path / name, times, codec, clock=clock)
    found, numbers, note, _ = read(path)
    assert numbers == [i % 42 for i in range(len(times))] and note == ""
    assert np.array(found) - found[0] == pytest.approx(np.array(times) - times[0], abs=2e-3)
    assert_like_ffprobe(path, found)


def test_a_rate_that_no_camera_has_is_not_believed(tmp_path: Path) -> None:
    """Stamps that are no multiples of anything make libav say the clock's rate."""
    times = [i / 15 + (0.00311, -0.00407, 0.02003, 0.0, 0.00901)[i % 5] for i in range(100)]
    path = with_times(tmp_path / "a.ts", times, "libx264", clock=90000)
    found, _, note, info = read(path)
    assert info.fps > 1000 and note == ""
    rate = from_stamps(np.array(found), info.fps)
    assert rate.fps == pytest.approx(15, rel=0.01) and rate.stamps is not None
    assert measured_rate(np.array(found)) == rate.fps


def test_a_gap_in_an_avi(tmp_path: Path) -> None:
    """Where there is no frame, it holds empty packets; PyAV's muxer writes these."""
    times = [*(i / 10 for i in range(20)), *(i / 10 for i in range(70, 90))]
    path = with_times(tmp_path / "a.avi", times, "mjpeg", clock=10, rate=10)
    found, numbers, note, _ = read(path)
    assert (numbers, note) == (list(range(40)), "")
    assert found == pytest.approx(times)
    assert_like_ffprobe(path, found)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "mpeg4"), ("a.ts", "mpeg2video"), ("a.mp4", "mpeg4")])
def test_a_video_that_begins_late_begins_at_once(tmp_path: Path, name: str, codec: str) -> None:
    times = [3600 + i / 25 for i in range(40)]
    found, numbers, note, _ = read(with_times(tmp_path / name, times, codec, clock=25))
    assert (numbers, note) == (list(range(40)), "")
    assert np.array(found) - found[0] == pytest.approx(np.arange(40) / 25, abs=1e-3)
    assert found[0] == pytest.approx(0, abs=1e-3)


def with_sound(path: Path, video: float, sound: float, codec: str, sounds: str, seconds: float = 2.0) -> Path:
    """Two seconds of video at 10 frames/s from `video` on, silence from `sound` on for so many seconds."""
    with av.open(str(path), "w") as file:
        picture = file.add_stream(codec, rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.bit_rate = 4_000_000
        silence = file.add_stream(sounds, rate=44100, layout="mono")
        silence.bit_rate = 64000
        packets = []
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), STEP * i, np.uint8), format="rgb24")
            frame.pts = i + round(video * 10)
            packets += picture.encode(frame)
        packets += picture.encode(None)
        size = silence.codec_context.frame_size or 1024
        for i in range(int(seconds * 44100 / size)):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, size), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 44100, i * size + round(sound * 44100)
            packets += silence.encode(samples)
        packets += silence.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            file.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "sounds"),
    [
        ("a.mkv", "mpeg4", "aac"),
        ("a.mp4", "mpeg4", "aac"),
        ("a.ts", "mpeg2video", "aac"),
        ("a.flv", "flv", "aac"),
    ],
)
def test_time_begins_with_the_sound_where_that_is_first(
    tmp_path: Path, name: str, codec: str, sounds: str
) -> None:
    """As players have it; so scores lie on the sound's time, too."""
    found, numbers, note, _ = read(with_sound(tmp_path / name, 5.0, 0.0, codec, sounds, seconds=7))
    assert (numbers, note) == (list(range(20)), "")
    assert found == pytest.approx(5 + np.arange(20) / 10, abs=0.05)


@pytest.mark.parametrize(
    ("name", "codec", "sounds"),
    [
        *(("a.mkv", "mpeg4", "aac"), ("a.mp4", "mpeg4", "aac"), ("a.ts", "mpeg2video", "aac")),
        *(("a.wmv", "wmv2", "wmav2"), ("a.flv", "flv", "aac"), ("a.nut", "mpeg4", "aac")),
    ],
)
def test_sound_that_goes_on_after_the_last_frame_is_no_damage(
    tmp_path: Path, name: str, codec: str, sounds: str
) -> None:
    found, numbers, note, _ = read(with_sound(tmp_path / name, 0.0, 0.0, codec, sounds, seconds=30))
    assert (numbers, note) == (list(range(20)), "")
    assert np.array(found) - found[0] == pytest.approx(np.arange(20) / 10, abs=0.01)


def test_raw_streams_have_no_times(tmp_path: Path) -> None:
    path = with_times(tmp_path / "a.264", [i / 10 for i in range(20)], "libx264", clock=10, rate=10)
    found, numbers, note, _ = read(path)
    assert numbers == list(range(20)) and np.diff(found) == pytest.approx(found[1])
    assert note == f"no times in it, frames taken for {1 / found[1]:.4g} a second"


def test_a_clock_that_begins_anew_goes_on(tmp_path: Path) -> None:
    """A recorder was switched off and on, and both recordings were put into one file."""
    times = [100 + i / 25 for i in range(40)]
    part = with_times(tmp_path / "part.ts", times, "mpeg2video", clock=25).read_bytes()
    (tmp_path / "a.ts").write_bytes(2 * part)
    found, numbers, note, _ = read(tmp_path / "a.ts")
    assert numbers == 2 * list(range(40))
    assert found == pytest.approx([i / 25 for i in range(80)], abs=0.04)
    assert "times that begin anew at frame 40, taken for going on" in note


# What others measured; index 37 is the 38th frame.
@pytest.mark.parametrize(
    ("name", "frames", "times"),
    [
        ("times/gap10min.mkv", 40, {0: 0.0, 37: 601.48}),
        ("times/vfr_phone.mp4", None, {37: 2.04}),
        ("watch/late.mkv", 40, {0: 0.0}),
        ("watch/gap5s.avi", 40, {}),
        ("fps/jitter.ts", 200, {}),
        ("fps/jitter.mp4", 200, {}),
        ("watch/editlist.mp4", None, {0: 0.0}),
    ],
)
def test_files_that_were_read_wrongly(
    shared: Path, name: str, frames: int | None, times: dict[int, float]
) -> None:
    path = shared / "data" / "faults" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found, _, note, info = read(path)
    assert note == ("times that go back or stand still at 5 frames" if "gap10min" in name else "")
    assert frames in (None, len(found))
    assert {i: found[i] for i in times} == pytest.approx(times, abs=0.006)
    assert_like_ffprobe(path, found)
    if name.startswith("fps"):
        assert from_stamps(np.array(found), info.fps).fps == pytest.approx(14.7, abs=0.1)
