"""Files that end early or lost something are no shorter videos; what is whole is not called damaged."""

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.videos import made_with_av

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.decoding.containers import gaps

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to compare with")


def test_cut_short(make_video, tmp_path: Path) -> None:
    """The index is at the front, the last frames are missing."""
    whole = make_video(tmp_path / "whole.avi", frames=100, size=(320, 240))
    path = tmp_path / "cut.mp4"
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg to move the index to the front")
    command = ["ffmpeg", "-v", "error", "-i", str(whole), "-movflags", "+faststart", str(path)]
    subprocess.run(command, check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=r"truncated or damaged, decoding stopped after \d+ of"):
        list(open_video(path).frames)


@pytest.mark.parametrize(
    "name, codec", [("a.avi", "mpeg4"), ("a.mkv", "mpeg4"), ("a.wmv", "wmv2"), ("a.webm", "libvpx")]
)
def test_file_that_ends_before_its_container_says(tmp_path: Path, name: str, codec: str) -> None:
    """libav passes over it: what it finds is a good, shorter video."""
    whole = made_with_av(tmp_path / name, codec)
    assert len(list(open_video(whole).frames)) == 60
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 45 // 100])
    with pytest.raises(VideoError, match=r"cut\.\w+: (truncated or damaged, .* after \d+|not a video)"):
        list(open_video(cut).frames)


@pytest.mark.parametrize("name, codec", [("a.avi", "mpeg4"), ("a.mkv", "mpeg4")])
def test_few_missing_bytes_are_forgiven_where_all_frames_came(tmp_path: Path, name: str, codec: str) -> None:
    whole = made_with_av(tmp_path / name, codec)
    whole.write_bytes(whole.read_bytes()[:-8])
    assert len(list(open_video(whole).frames)) == 60


def test_damage_that_loses_the_rest_is_no_shorter_video(tmp_path: Path) -> None:
    """The file has its size, and libav finds a good, shorter video."""
    path = made_with_av(tmp_path / "a.mkv", "mpeg4", noise=200)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"a.mkv: truncated or damaged, decoding stopped after \d+"):
        list(open_video(path).frames)


@needs_ffmpeg
def test_flv_that_ends_early(tmp_path: Path) -> None:
    path, cut = tmp_path / "a.flv", tmp_path / "cut.flv"
    whole = made_with_av(tmp_path / "a.mp4", "libx264", noise=200)
    subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", path], check=True)
    assert len(list(open_video(path).frames)) == 60
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 45 // 100])
    with pytest.raises(VideoError, match=r"cut.flv: truncated or damaged, .* after \d+"):
        list(open_video(cut).frames)


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
