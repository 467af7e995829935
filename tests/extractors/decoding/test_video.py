"""What is said of videos and of what is none, and which names and endings are taken."""

import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import made_with_av
from PIL import Image

from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extraction.videos import find_videos
from ssrl_pipeline.extractors.decoding import EXTENSIONS, open_video, video
from ssrl_pipeline.extractors.decoding.decoder import read_header
from ssrl_pipeline.extractors.decoding.shared_frames import NO_PIXELS
from ssrl_pipeline.extractors.rate import FrameChoice


def test_made_video(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a b'ü.mp4", frames=21, size=(64, 48), fps=12.5)
    opened = open_video(path)
    assert opened.info == (12.5, 64, 48, 21)
    frames = list(opened.frames)
    assert len(frames) == 21 and frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8


@pytest.mark.parametrize("pictures", [False, True])
def test_frames_that_a_rate_does_not_choose_have_a_time_and_no_pixels(
    make_video, tmp_path: Path, pictures: bool
) -> None:
    path, picture_fps = make_video(tmp_path / "a.mp4", frames=50, fps=12.5), None
    if pictures:
        (tmp_path / "a").mkdir()
        for number, frame in enumerate(open_video(path).frames):
            Image.fromarray(frame).save(tmp_path / "a" / f"{number}.png")
        path, picture_fps = tmp_path / "a", 12.5
    choice = FrameChoice(5)
    with open_video(path, picture_fps=picture_fps) as whole:
        expected = [(frame, whole.time, choice.take(whole.time)) for frame in whole.frames]
    with open_video(path, picture_fps=picture_fps, rate=5) as opened:
        found = [(frame, opened.time) for frame in opened.frames]
    assert choice.chosen == 20
    for (frame, time), (whole_frame, whole_time, is_chosen) in zip(found, expected, strict=True):
        assert time == whole_time
        np.testing.assert_array_equal(frame, whole_frame if is_chosen else NO_PIXELS)


def test_what_is_no_video(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video\n" * 100)
    for path, reason in ((tmp_path / "none.mp4", "no such file"), (empty, "empty"), (text, "not a video")):
        with pytest.raises(VideoError, match=f"{path.name}.*{reason}"):
            open_video(path)


def test_mended_frames_are_told(tmp_path: Path) -> None:
    """One frame in the middle is noise: libav mends it as players do, and nobody would see it."""
    path = made_with_av(tmp_path / "a.avi", "mpeg4", noise=200)
    with open_video(path) as opened:
        assert len(list(opened.frames)) == 60 and opened.damage() == ""

    content = bytearray(path.read_bytes())
    frame = [at for at in range(len(content)) if content[at : at + 4] == b"00dc"][30]
    content[frame + 2000 : frame + 3000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    with open_video(path) as opened:
        assert len(list(opened.frames)) == 60
        assert opened.damage().startswith("perhaps damaged (mpeg4: ") and "\n" not in opened.damage()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no such names")
def test_name_that_is_no_utf8(make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(3):
        assert read_header(path).reported_frames == 5
    assert len(list(open_video(path).frames)) == 5
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # noqa: PTH208
    monkeypatch.setattr(video, "DESCRIPTORS", tmp_path / "none")  # as on other systems
    with pytest.raises(VideoError, match="its name is no UTF-8"):
        open_video(path)


@pytest.mark.skipif(sys.platform == "win32", reason="elsewhere there are no pipes with names")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"a.mp4: not a regular file"):
        open_video(tmp_path / "a.mp4")
    with pytest.raises(OSError, match=r"a.mp4: not a regular file"):
        SourceFile(tmp_path / "a.mp4")


def test_name_that_libav_takes_for_a_protocol(
    make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(open_video(Path("concat:a.mp4")).frames)) == 5


@pytest.mark.parametrize(
    "family",
    ["matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "h264", "hevc", "dhav", "dv", "mjpeg", "vvc", "nut"],
)
def test_endings_that_libav_knows_for_videos_are_taken(family: str) -> None:
    others = {"m4a", "m4b", "isma", "mka", "mks", "avif", "heic", "heif", "mpo"}  # of sound, text, pictures
    known = av.ContainerFormat(family, "r").extensions - others - {"ism", "psp"}  # nobody uses these
    assert known and {f".{ending}" for ending in known} <= EXTENSIONS


@pytest.mark.parametrize(
    ("ending", "container", "codec"),
    [
        *((ending, "h264", "libx264") for ending in (".264", ".h264", ".avc")),
        *((ending, "hevc", "libx265") for ending in (".265", ".h265", ".hevc")),
        *((ending, "vob", "mpeg2video") for ending in (".vob", ".mod", ".m2p")),
        *((ending, "mpegts", "mpeg2video") for ending in (".m2t", ".tod", ".trp")),
        *((ending, "mjpeg", "mjpeg") for ending in (".mjpeg", ".mjpg")),
        *((".m1v", "mpeg1video", "mpeg1video"), (".m2v", "mpeg2video", "mpeg2video")),
        *((".f4v", "mp4", "mpeg4"), (".mxf", "mxf", "mpeg2video"), (".dv", "dv", "dvvideo")),
        *(
            (".rm", "rm", "rv20"),
            (".ivf", "ivf", "libvpx"),
            (".nut", "nut", "mpeg4"),
            (".wtv", "wtv", "mpeg4"),
        ),
    ],
)
def test_what_has_a_videos_ending_is_read(tmp_path: Path, ending: str, container: str, codec: str) -> None:
    path = tmp_path / f"video{ending}"
    width, height = (720, 576) if codec == "dvvideo" else (176, 144)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for shade in range(0, 200, 10):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), shade, np.uint8), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert list(find_videos(tmp_path)) == [path.name]
    with open_video(path) as opened:
        shades = [frame.mean() for frame in opened.frames]
    assert np.isfinite(opened.info.fps)
    assert shades == pytest.approx(range(0, 200, 10), abs=4)
