"""Decoded frames against ffmpeg's: as many, the same pixels, turned and scaled as players do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import made_with_av, with_times

from ssrl_pipeline.extractors.decoding import open_video

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from byte_surgery import shown_by

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to compare with")


def ffprobe_frames(path: Path) -> int:
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "json"]
    command += ["-show_entries", "stream=nb_read_frames", str(path)]
    return int(json.loads(subprocess.check_output(command))["streams"][0]["nb_read_frames"])


@needs_ffmpeg
@pytest.mark.parametrize("name", ["demo.mp4", "v_GGSY1Qvo990.mp4", "v_ZNVhz7ctTq0.mp4", "vtest.avi"])
def test_frames_are_ffmpegs(shared: Path, name: str) -> None:
    path = shared / "data" / "samples" / name
    video = open_video(path)
    size = (video.info.height, video.info.width, 3)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        count, worst = 0, 0.0
        for frame in video.frames:
            expected = np.frombuffer(process.stdout.read(np.prod(size)), np.uint8).reshape(size)
            worst = max(worst, float(np.abs(frame.astype(np.int16) - expected).mean()))
            count += 1
    assert count == ffprobe_frames(path)
    assert worst < 2


def test_interlaced_frames_are_no_black_ones(tmp_path: Path) -> None:
    path = made_with_av(tmp_path / "a.ts", "mpeg2video", flags="+ildct+ilme")
    corners = [int(frame[-1, -1, 0]) for frame in open_video(path).frames]
    assert len(corners) == 60 and max(abs(value - 4 * i) for i, value in enumerate(corners)) < 6


# The matrix ((a, b), (c, d)) sends a stored pixel (x, y) to (a x + c y, b x + d y).
@pytest.mark.parametrize(
    "matrix, shown",
    [
        ((1, 0, 0, 1), lambda frame: frame),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
        ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda frame: frame[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_turned_and_mirrored_frames(
    make_video, tmp_path: Path, matrix: tuple[int, int, int, int], shown: Callable[[np.ndarray], np.ndarray]
) -> None:
    path, plain = tmp_path / "a.mp4", make_video(tmp_path / "plain.mp4", 5, (160, 120))
    path.write_bytes(shown_by(*matrix, 160, 120)(bytearray(plain.read_bytes())))
    expected = [shown(frame) for frame in open_video(plain).frames]
    np.testing.assert_array_equal(list(open_video(path).frames), expected)


@pytest.mark.parametrize("second", [(320, 240), (160, 120)])
def test_size_that_changes_on_the_way_is_told(tmp_path: Path, second: tuple[int, int]) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        other = av.CodecContext.create("mjpeg", "w")
        other.width, other.height, other.pix_fmt = *second, "yuvj420p"
        other.time_base, other.framerate = Fraction(1, 10), 10
        for i in range(40):
            codec, (width, height) = (stream, (160, 120)) if i < 25 else (other, second)
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 6 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            for packet in codec.encode(frame.reformat(format="yuvj420p")):
                packet.stream = stream
                container.mux(packet)
    told = "" if second == (160, 120) else "frames of 320x240 among those of 160x120, scaled to these"
    with open_video(path) as video:
        frames = list(video.frames)
        assert {frame.shape for frame in frames} == {(120, 160, 3)} and len(frames) == 40
        assert max(abs(int(frame[60, 80, 0]) - 6 * i) for i, frame in enumerate(frames)) < 6
        assert video.damage() == told


@needs_ffmpeg
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mov"])
def test_cut_without_encoding_anew(tmp_path: Path, name: str) -> None:
    """The frames before the cut are in the file and hidden by an edit list: they are no frames of it."""
    path = made_with_av(tmp_path / "a.mp4", "libx264")
    cut = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "1.5", "-i", path, "-c", "copy", cut], check=True)
    shown = ffprobe_frames(cut)
    frames = list(open_video(cut).frames)
    assert len(frames) == shown < 30 and abs(int(frames[0][-1, -1, 0]) - 4 * (60 - shown)) < 6


@needs_ffmpeg
def test_video_that_begins_late(tmp_path: Path) -> None:
    """Matroska's duration counts from zero: by it, an hour of frames is missing."""
    path, late = made_with_av(tmp_path / "a.mp4", "mpeg4"), tmp_path / "late.mkv"
    command = ["ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-output_ts_offset", "3600", late]
    subprocess.run(command, check=True)
    assert len(list(open_video(late).frames)) == 60


def test_variable_frame_rate_is_no_damage(tmp_path: Path) -> None:
    """Most of the frames in the first second, as a camera that records movement alone does it."""
    path = with_times(tmp_path / "a.mkv", [*(i / 25 for i in range(25)), *range(2, 20, 2)])
    with open_video(path) as video:
        assert video.info.reported_frames > 300  # libav's guess
        assert len(list(video.frames)) == 34 and video.damage() == ""
