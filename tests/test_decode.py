"""Decoding against ffprobe and ffmpeg, and what is said of broken files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extract import find_videos
from ssrl_pipeline.extractors import decode, decoders
from ssrl_pipeline.extractors.decode import DECODERS, open_video
from ssrl_pipeline.extractors.decoders import read_header
from ssrl_pipeline.extractors.transport import gaps
from ssrl_pipeline.source import SourceFile

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from byte_surgery import shown_by

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to compare with")


def ffprobe_frames(path: Path) -> int:
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "json"]
    command += ["-show_entries", "stream=nb_read_frames", str(path)]
    return int(json.loads(subprocess.check_output(command))["streams"][0]["nb_read_frames"])


@needs_ffmpeg
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["demo.mp4", "v_GGSY1Qvo990.mp4", "v_ZNVhz7ctTq0.mp4", "vtest.avi"])
def test_frames_are_ffmpegs(shared: Path, name: str, decoder: str) -> None:
    path = shared / "data" / "samples" / name
    video = open_video(path, decoder)
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


@pytest.mark.parametrize("decoder", DECODERS)
def test_made_video(make_video, tmp_path: Path, decoder: str) -> None:
    path = make_video(tmp_path / "a b'ü.mp4", frames=21, size=(64, 48), fps=12.5)
    video = open_video(path, decoder)
    assert (video.info.width, video.info.height, video.info.reported_frames) == (64, 48, 21)
    assert video.info.fps == pytest.approx(12.5)
    frames = list(video.frames)
    assert len(frames) == 21 and frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_no_video(tmp_path: Path, decoder: str) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video\n" * 100)
    for path, reason in ((tmp_path / "none.mp4", "no such file"), (empty, "empty"), (text, "not a video")):
        with pytest.raises(VideoError, match=f"{path.name}.*{reason}"):
            open_video(path, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_cut_short(make_video, tmp_path: Path, decoder: str) -> None:
    """The index is at the front, the last frames are missing."""
    whole = make_video(tmp_path / "whole.avi", frames=100, size=(320, 240))
    path = tmp_path / "cut.mp4"
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg to move the index to the front")
    command = ["ffmpeg", "-v", "error", "-i", str(whole), "-movflags", "+faststart", str(path)]
    subprocess.run(command, check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=r"truncated or damaged, decoding stopped after \d+ of"):
        list(open_video(path, decoder).frames)


def made_with_av(path: Path, codec: str, noise: int = 32, **options: str) -> Path:
    """60 frames of one grey each, 4 lighter than the last, with a square of noise."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.gop_size = 5
        stream.options = options
        rng = np.random.default_rng(0)
        for i in range(60):
            picture = np.full((240, 320, 3), 4 * i, np.uint8)
            picture[:noise, :noise] = rng.integers(0, 256, (noise, noise, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "name, codec", [("a.avi", "mpeg4"), ("a.mkv", "mpeg4"), ("a.wmv", "wmv2"), ("a.webm", "libvpx")]
)
def test_file_that_ends_before_its_container_says(tmp_path: Path, name: str, codec: str) -> None:
    """The decoders pass over it: what they find is a good, shorter video."""
    whole = made_with_av(tmp_path / name, codec)
    assert [len(list(open_video(whole, decoder).frames)) for decoder in DECODERS] == [60] * len(DECODERS)
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 45 // 100])
    for decoder in DECODERS:
        with pytest.raises(VideoError, match=r"cut\.\w+: (truncated or damaged, .* after \d+|not a video)"):
            list(open_video(cut, decoder).frames)


@pytest.mark.parametrize("name, codec", [("a.avi", "mpeg4"), ("a.mkv", "mpeg4")])
def test_few_missing_bytes_are_forgiven_where_all_frames_came(tmp_path: Path, name: str, codec: str) -> None:
    whole = made_with_av(tmp_path / name, codec)
    whole.write_bytes(whole.read_bytes()[:-8])
    assert [len(list(open_video(whole, decoder).frames)) for decoder in DECODERS] == [60] * len(DECODERS)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_decord_does_not_lose_frames_in_silence(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_with_av(tmp_path / name, "mpeg2video", noise=200)
    with pytest.raises(VideoError, match=f"{name}: decord loses frames of MPEG streams"):
        open_video(path, "decord")
    for decoder in ("opencv", "pyav"):
        corners = [int(frame[-1, -1, 0]) for frame in open_video(path, decoder).frames]
        assert len(corners) == 60 and max(abs(value - 4 * i) for i, value in enumerate(corners)) < 6

    monkeypatch.setattr(decoders, "is_mpeg_stream", lambda path: False)
    with pytest.raises(VideoError, match=f"{name}: decord repeats frames in the place of others"):
        list(decoders.open_decord(path).frames)


def test_interlaced_frames_are_no_black_ones(tmp_path: Path) -> None:
    """OpenCV 5.0 makes them so, without an error."""
    path = made_with_av(tmp_path / "a.ts", "mpeg2video", flags="+ildct+ilme")
    for decoder in ("opencv", "pyav"):
        try:
            corners = [int(frame[-1, -1, 0]) for frame in open_video(path, decoder).frames]
        except VideoError as error:
            assert decoder == "opencv"
            assert str(error).startswith(f"{path}: opencv cannot convert its frames, which are interlaced")
        else:
            assert len(corners) == 60 and max(abs(value - 4 * i) for i, value in enumerate(corners)) < 6


@pytest.mark.parametrize("decoder", DECODERS)
def test_mended_frames_are_told(tmp_path: Path, decoder: str) -> None:
    """One frame in the middle is noise: libav mends it as players do, and nobody would see it."""
    path = made_with_av(tmp_path / "a.avi", "mpeg4", noise=200)
    with open_video(path, decoder) as video:
        assert len(list(video.frames)) == 60 and video.damage() == ""

    content = bytearray(path.read_bytes())
    frame = [at for at in range(len(content)) if content[at : at + 4] == b"00dc"][30]
    content[frame + 2000 : frame + 3000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    with open_video(path, decoder) as video:
        assert len(list(video.frames)) == 60
        assert video.damage().startswith("perhaps damaged (mpeg4: ") and "\n" not in video.damage()


def test_damage_that_loses_the_rest_is_no_shorter_video(tmp_path: Path) -> None:
    """The file has its size, and the decoders find a good, shorter video."""
    path = made_with_av(tmp_path / "a.mkv", "mpeg4", noise=200)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    for decoder in DECODERS:
        with pytest.raises(VideoError, match=r"a.mkv: truncated or damaged, decoding stopped after \d+"):
            list(open_video(path, decoder).frames)


@pytest.mark.parametrize("size", [188, 192])
def test_gaps_in_a_transport_stream(tmp_path: Path, size: int) -> None:
    whole = made_with_av(tmp_path / "a.ts", "mpeg2video", noise=200).read_bytes()
    packets = [bytes(size - 188) + whole[i : i + 188] for i in range(0, len(whole), 188)]
    path = tmp_path / "b.ts"

    def lost(*kept: bytes) -> int:
        path.write_bytes(b"".join(kept))
        return gaps(path)

    assert lost(*packets) == 0
    assert lost(*packets[:100], *packets[101:200], *packets[203:]) == 2
    assert lost(*packets[:100], packets[99], *packets[100:]) == 0  # one that came twice
    assert lost(*packets[:100], bytes(5 * size), *packets[105:]) in (1, 2)  # they may have counted on
    path.write_bytes(b"no transport stream" * 100)
    assert gaps(path) == 0
    path.write_bytes(whole[:300])
    assert gaps(path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no such names")
@pytest.mark.parametrize("decoder", DECODERS)
def test_name_that_is_no_utf8(
    make_video, tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(3):
        assert read_header(path).reported_frames == 5
    assert len(list(open_video(path, decoder).frames)) == 5
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # noqa: PTH208
    monkeypatch.setattr(decode, "DESCRIPTORS", tmp_path / "none")  # as on other systems
    with pytest.raises(VideoError, match="its name is no UTF-8"):
        open_video(path, decoder)


@pytest.mark.skipif(sys.platform == "win32", reason="elsewhere there are no pipes with names")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"a.mp4: not a regular file"):
        open_video(tmp_path / "a.mp4")
    with pytest.raises(OSError, match=r"a.mp4: not a regular file"):
        SourceFile(tmp_path / "a.mp4")


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
    for decoder in DECODERS:
        expected = [shown(frame) for frame in open_video(plain, decoder).frames]
        np.testing.assert_array_equal(list(open_video(path, decoder).frames), expected)


@pytest.mark.parametrize("second", [(320, 240), (160, 120)])
def test_size_that_changes_on_the_way_is_told(tmp_path: Path, second: tuple[int, int]) -> None:
    av = pytest.importorskip("av")
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
    for decoder in ("decord", "opencv"):
        with open_video(path, decoder) as video:
            frames = list(video.frames)
            assert {frame.shape for frame in frames} == {(120, 160, 3)} and len(frames) == 40
            assert max(abs(int(frame[60, 80, 0]) - 6 * i) for i, frame in enumerate(frames)) < 6
            assert video.damage() == told


def test_name_that_libav_takes_for_a_protocol(
    make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    for decoder in DECODERS:
        assert len(list(open_video(Path("concat:a.mp4"), decoder).frames)) == 5


@needs_ffmpeg
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mov"])
def test_cut_without_encoding_anew(tmp_path: Path, name: str) -> None:
    """The frames before the cut are in the file and hidden by an edit list: they are no frames of it."""
    path = made_with_av(tmp_path / "a.mp4", "libx264")
    cut = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "1.5", "-i", path, "-c", "copy", cut], check=True)
    shown = ffprobe_frames(cut)
    for decoder in ("opencv", "pyav"):
        frames = list(open_video(cut, decoder).frames)
        assert len(frames) == shown < 30 and abs(int(frames[0][-1, -1, 0]) - 4 * (60 - shown)) < 6


@needs_ffmpeg
@pytest.mark.parametrize("decoder", DECODERS)
def test_video_that_begins_late(tmp_path: Path, decoder: str) -> None:
    """Matroska's duration counts from zero: by it, an hour of frames is missing."""
    path, late = made_with_av(tmp_path / "a.mp4", "mpeg4"), tmp_path / "late.mkv"
    command = ["ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-output_ts_offset", "3600", late]
    subprocess.run(command, check=True)
    assert len(list(open_video(late, decoder).frames)) == 60


@needs_ffmpeg
def test_flv_that_ends_early(tmp_path: Path) -> None:
    path, cut = tmp_path / "a.flv", tmp_path / "cut.flv"
    whole = made_with_av(tmp_path / "a.mp4", "libx264", noise=200)
    subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", path], check=True)
    assert [len(list(open_video(path, decoder).frames)) for decoder in DECODERS] == [60] * len(DECODERS)
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 45 // 100])
    for decoder in DECODERS:
        with pytest.raises(VideoError, match=r"cut.flv: truncated or damaged, .* after \d+"):
            list(open_video(cut, decoder).frames)


def test_variable_frame_rate_is_no_damage(tmp_path: Path) -> None:
    """Most of the frames in the first second, as a camera that records movement alone does it."""
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for i, pts in enumerate([*range(25), *range(50, 500, 50)]):
            frame = av.VideoFrame.from_ndarray(np.full((128, 160, 3), 4 * i, np.uint8), format="rgb24")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for decoder in DECODERS:
        video = open_video(path, decoder)
        assert len(list(video.frames)) == 34
        if decoder == "opencv":
            assert video.info.reported_frames > 300  # its guess


def test_decord_is_not_given_what_may_fill_the_memory(
    make_video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "a.mp4", frames=40, size=(64, 48))
    monkeypatch.setattr(decoders, "DECORDS_MOST", 40 * 64 * 48 * 3)
    assert len(list(decoders.open_decord(video).frames)) == 40
    monkeypatch.setattr(decoders, "DECORDS_MOST", 40 * 64 * 48 * 3 - 1)
    with pytest.raises(VideoError, match="40 frames of 64x48"):
        decoders.open_decord(video)


@pytest.mark.parametrize(
    "family",
    ["matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "h264", "hevc", "dhav", "dv", "mjpeg", "vvc", "nut"],
)
def test_endings_that_libav_knows_for_videos_are_taken(family: str) -> None:
    av = pytest.importorskip("av")
    others = {"m4a", "m4b", "isma", "mka", "mks", "avif", "heic", "heif", "mpo"}  # of sound, text, pictures
    known = av.ContainerFormat(family, "r").extensions - others - {"ism", "psp"}  # nobody uses these
    assert known and {f".{ending}" for ending in known} <= decode.EXTENSIONS


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
    """By one decoder, with a rate that is a number."""
    av = pytest.importorskip("av")
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
    for decoder in DECODERS:
        try:
            with open_video(path, decoder) as video:
                shades = [frame.mean() for frame in video.frames]
        except VideoError:
            continue
        assert np.isfinite(video.info.fps)
        assert shades == pytest.approx(range(0, 200, 10), abs=4)
        return
    pytest.fail("no decoder reads it")
