"""overlay.mp4: what a browser plays, every frame of the video, and what is drawn where."""

import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.results.overlay import CAPTION, MARKS, PLOT, TRUTH, save_overlay
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.times import FrameTimes

SIZE = (320, 240)
ENLARGED = 2  # 320 -> 640, the least multiple of 480 or more


def event(start: int, end: int) -> Event:
    return Event(start, end, start, 0.9, 0.9, start / 10, end / 10, start / 10)


def grey_video(
    path: Path, frames: int, size: tuple[int, int] = SIZE, fps: int = 10, pixels: str = "yuv420p"
) -> Path:
    """Of one grey, so that every colour in the overlay was drawn."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        picture = np.full((size[1], size[0], 3), 110, np.uint8)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decoded(path: Path) -> np.ndarray:
    """int [N, H, W, 3]: what a player shows."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 40) -> np.ndarray:
    """Which pixels are of about this colour."""
    return (abs(picture - np.array(colour)) < tolerance).all(axis=-1)


def test_a_browser_can_play_it(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "v.mp4", 37, (322, 242), 25)
    scores = np.linspace(0, 1, 37, dtype=np.float32)
    save_overlay(tmp_path / "overlay.mp4", Shown(video, scores, FrameTimes(30000 / 1001), truth=scores > 0.5))
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        (stream,) = container.streams
        assert (stream.codec.name, stream.profile, stream.pix_fmt) == ("h264", "High", "yuv420p")
        assert stream.frames == 37 and stream.average_rate.as_integer_ratio() == (30000, 1001)
        assert (stream.width, stream.height) == (644, 484 + CAPTION + MARKS + PLOT + TRUTH)
        assert stream.codec_context.colorspace == 6  # BT.601, as the picture is no HD
        times = [float(frame.pts * stream.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(37) * 1001 / 30000, atol=1e-4)
    content = (tmp_path / "overlay.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # starts to play before it is loaded
    assert sorted(p.name for p in tmp_path.iterdir()) == ["overlay.mp4", "v.mp4"]


def test_frames_are_shown_at_their_own_times(tmp_path: Path) -> None:
    """Of a video that pauses for a minute; its first frame comes late."""
    video = grey_video(tmp_path / "v.mp4", 40)
    stamps = 0.25 + np.cumsum(np.tile([0.04, 0.16], 20)) + 60 * (np.arange(40) >= 20)
    save_overlay(tmp_path / "o.mp4", Shown(video, np.zeros(40), FrameTimes(10.0, stamps)))
    with av.open(str(tmp_path / "o.mp4")) as container:
        (stream,) = container.streams
        times = [float(frame.pts * stream.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, stamps, atol=1e-4)


def test_odd_sizes_and_an_unknown_rate(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "v.mp4", 3, (501, 33), pixels="yuv444p")
    save_overlay(tmp_path / "o.mp4", Shown(video, np.zeros(3), FrameTimes()))
    with av.open(str(tmp_path / "o.mp4")) as container:
        (stream,) = container.streams
        assert (stream.width, stream.height) == (502, 34 + CAPTION + MARKS + PLOT)
        assert stream.frames == 3 and stream.average_rate == 25


def test_what_is_drawn(tmp_path: Path) -> None:
    """40 frames, 3 snippets: nothing, heat lower right, and the same heat where the score is low."""
    video = grey_video(tmp_path / "v.mp4", 40)
    heat = {"2x3": np.zeros((3, 6), np.float32)}
    heat["2x3"][1:, 5] = 0.01  # however small: it is the hottest
    scores = np.repeat([0.0, 1.0, 0.1], 16)[:40].astype(np.float32)
    truth = np.arange(40) >= 20
    save_overlay(
        tmp_path / "o.mp4", Shown(video, scores, FrameTimes(10.0), [event(16, 32)], 0.5, truth, heat)
    )
    frames = decoded(tmp_path / "o.mp4")
    width, height = SIZE[0] * ENLARGED, SIZE[1] * ENLARGED
    plain, hot, faint = frames[8, :height, :width], frames[24, :height, :width], frames[36, :height, :width]
    assert near(plain, (110, 110, 110), 6).all()

    strength = abs(hot - plain).sum(axis=-1)[10:-10, 10:-10]  # without the border
    top, left = np.unravel_index(strength.argmax(), strength.shape)
    assert top + 10 > height / 2 and left + 10 > width * 2 / 3
    assert strength[: height // 3, : width // 2].max() < 20 < 150 < strength.max()
    assert 0 < abs(faint - plain).sum(axis=-1).max() < 0.3 * strength.max()

    vermilion = (213, 94, 0)
    assert near(hot[1], vermilion).mean() > 0.95 and near(hot[:, 1], vermilion).mean() > 0.95
    assert not near(plain[1], vermilion).any() and not near(faint[1], vermilion).any()

    caption = frames[:, height : height + CAPTION]
    assert near(caption[24], vermilion).any() and not near(caption[8], vermilion).any()
    assert (caption[8] != caption[9]).any()

    marks = frames[24, height + CAPTION + 2, :width]
    assert near(marks, vermilion)[int(width * 0.42) : int(width * 0.58)].all()
    assert not near(marks, vermilion)[: int(width * 0.38)].any()
    plot = frames[24, height + CAPTION + MARKS : height + CAPTION + MARKS + PLOT]
    filled = near(plot[PLOT // 2], (86, 180, 233)), near(plot[PLOT // 2], (110, 110, 110))
    assert filled[0][int(width * 0.42) : int(width * 0.58)].all() and not filled[0][int(width * 0.63) :].any()
    assert filled[1][int(width * 0.65) : int(width * 0.78)].all()
    now = near(plot[5], (240, 240, 240)).nonzero()[0]
    assert abs(now.mean() - 24 / 40 * width) < 3
    green = near(frames[24, -3, :width], (0, 158, 115))
    assert green[width // 2 + 8 :].all() and not green[: width // 2 - 8].any()


def test_heat_begins_with_the_snippet_s_first_frame(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "v.mp4", 40)
    heat = {"2x3": np.zeros((3, 6), np.float32)}
    heat["2x3"][1] = 1
    starts = np.array([0, 21, 37])
    scores = np.repeat([0.0, 1.0, 0.0], [21, 16, 3]).astype(np.float32)
    shown = Shown(video, scores, FrameTimes(10.0), heat=heat, starts=starts)
    save_overlay(tmp_path / "o.mp4", shown)
    frames = decoded(tmp_path / "o.mp4")[:, 200:280, 280:360]
    hot = ~near(frames, (110, 110, 110), 12).all(axis=(1, 2))
    assert hot.tolist() == [False] * 21 + [True] * 16 + [False] * 3


def test_frames_stay_in_their_place(tmp_path: Path) -> None:
    """Frame i of the overlay shows frame i of the video."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(20):
            picture = np.full((SIZE[1], SIZE[0], 3), 10 * i + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    save_overlay(tmp_path / "o.mp4", Shown(path, np.zeros(20), FrameTimes(10.0)))
    shown = decoded(tmp_path / "o.mp4")[:, 20 : SIZE[1] * ENLARGED - 20, 20:620].mean(axis=(1, 2, 3))
    source = [frame.mean() for frame in open_video(path).frames]
    np.testing.assert_allclose(shown, source, atol=4)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        video = grey_video(tmp_path / f"{frames}.mp4", frames)
        tracemalloc.start()
        save_overlay(tmp_path / "o.mp4", Shown(video, np.zeros(frames, np.float32), FrameTimes(10.0)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    frame = (SIZE[0] * ENLARGED) * (SIZE[1] * ENLARGED) * 3
    assert peak(90) - peak(30) < 5 * frame


@pytest.mark.parametrize("scored", [39, 41])
def test_a_video_that_changed(tmp_path: Path, scored: int) -> None:
    video = grey_video(tmp_path / "v.mp4", 40)
    with pytest.raises(VideoError, match=f"v.mp4: has not the {scored} frames"):
        save_overlay(tmp_path / "o.mp4", Shown(video, np.zeros(scored), FrameTimes(10.0)))
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
