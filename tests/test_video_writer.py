"""Videos in H.264: what browsers play, at their times, the same bytes every time."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ssrl_pipeline import video_writer
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors.decode import DECODERS, open_video
from ssrl_pipeline.video_writer import VideoWriter, require_encoder

BARS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [128, 128, 128]], np.uint8)
SIZE = 160, 64


def written(path: Path, times: list[float | None], fps: float = 25, size: tuple[int, int] = SIZE) -> Path:
    """Vertical bars of four colours; frame i has a row of white at 2 i."""
    width, height = size
    with VideoWriter(path, width, height, fps) as writer:
        for i, time in enumerate(times):
            frame = np.repeat(BARS[np.arange(width) * 4 // width][None], height, axis=0)
            frame[2 * i : 2 * i + 2] = 255
            writer.write(frame, time)
    return path


def shown(path: Path) -> list[Fraction]:
    """Seconds at which a player shows the frames, and at last the end."""
    with av.open(str(path)) as container:
        (stream,) = container.streams
        times = [frame.pts * stream.time_base for frame in container.decode(video=0)]
        return [*times, stream.duration * stream.time_base]


def test_a_browser_can_play_it(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mp4", [None] * 30, 30000 / 1001)
    assert shown(path) == [Fraction(1001 * i, 30000) for i in range(31)]
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec.name, stream.profile, stream.pix_fmt) == ("h264", "High", "yuv420p")
        assert stream.average_rate == Fraction(30000, 1001)
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (
            1,
            1,
        )  # BT.709, limited
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # starts to play before it is loaded
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_frames_have_the_times_that_they_are_given(tmp_path: Path) -> None:
    """Also after a pause, and where a time is not later than the last: a tick of 1/90000 s after that."""
    path = written(tmp_path / "v.mp4", [0, 0.1, 0.5, 0.5, 3, 2, 60.25], 25)
    tick = Fraction(1, 90000)
    expected = [0, Fraction(1, 10), Fraction(1, 2), Fraction(1, 2) + tick, 3, 3 + tick]
    assert shown(path) == [*expected, Fraction(241, 4), Fraction(241, 4) + Fraction(1, 25)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoders_see_the_frames_and_their_colours(tmp_path: Path, decoder: str) -> None:
    video = open_video(written(tmp_path / "v.mp4", [None] * 20), decoder)
    with video:
        frames = np.stack([frame.copy() for frame in video.frames]).astype(int)
    assert frames.shape == (20, 64, 160, 3)
    np.testing.assert_allclose(frames[0, 60, 20::40], BARS, atol=8)
    for i, frame in enumerate(frames):
        assert (frame[:, 100:110].mean(axis=(1, 2)) > 190).nonzero()[0].tolist() == [2 * i, 2 * i + 1]


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mp4", [None] * 3, size=(97, 65))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert frame.shape == (66, 98, 3)
    np.testing.assert_allclose(frame[65, [12, 97]], BARS[[0, 3]], atol=8)


def test_equal_frames_give_equal_files(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, [None] * 40) for name in ("a.mp4", "b.mp4"))
    assert first.read_bytes() == second.read_bytes()


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    black = np.zeros((64, 96, 3), np.uint8)
    for frame, time in ((black[1:], None), (black.astype(float), None), (black, -1.0), (black, float("nan"))):
        with (
            pytest.raises(ValueError, match="a frame "),
            VideoWriter(tmp_path / "v.mp4", 96, 64, 25) as writer,
        ):
            writer.write(black)
            writer.write(frame, time)
    assert list(tmp_path.iterdir()) == []


def test_pyav_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer.av, "codecs_available", {"mpeg4", "libopenh264"})
    for call in (require_encoder, lambda: VideoWriter(tmp_path / "v.mp4", 96, 64, 25)):
        with pytest.raises(
            PipelineError, match=r"without libx264, .* pip install --force-reinstall --only"
        ) as e:
            call()
        assert "\n" not in str(e.value)
