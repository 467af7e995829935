"""A camera's health by small pictures: what is wrong is told, soon and alone, and normal video is not."""

import io
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from ssrl_pipeline.watching import health
from ssrl_pipeline.watching.health import Health, News
from ssrl_pipeline.watching.view import reduced

RATE = 3.0  # pictures a second
Change = Callable[[np.ndarray, int], np.ndarray]


def scene(seed: int = 0) -> np.ndarray:
    """Boxes of all sizes, float32 [135, 240]; the camera shows the middle."""
    rng = np.random.default_rng(seed)
    image = np.full((135, 240), 110, np.float32)
    for _ in range(120):
        x, y, w, h = (rng.random(4) * (240, 135, 40, 30)).astype(int).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), float(rng.uniform(30, 220)), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.7)


WIDE = scene()


def shown(wide: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    return wide[22 + y : 112 + y, 40 + x : 200 + x]


def normal(i: int, rng: np.random.Generator) -> np.ndarray:
    """Somebody walks through."""
    wide = WIDE.copy()
    cv2.rectangle(wide, (3 * i % 240, 60), (3 * i % 240 + 12, 95), 60.0, -1)
    return wide


def play(change: Change, begin: float = 40, end: float = 100, until: float = 140) -> list[tuple[float, News]]:
    """What is told when, where the picture is changed between two moments."""
    rng, camera, told = np.random.default_rng(1), Health(), []
    for i in range(int(until * RATE)):
        now, wide = i / RATE, normal(i, rng)
        picture = change(wide, i) if begin <= now < end else shown(wide)
        picture = np.clip(picture + rng.normal(0, 1, (90, 160)), 0, 255).astype(np.uint8)
        told += [(now, news) for news in camera.see(picture, now)]
    return told


def light(wide: np.ndarray, i: int) -> np.ndarray:
    """A tenth of it, from another side."""
    return 12 + shown(wide) * np.linspace(0.05, 0.3, 160)


def inverted(wide: np.ndarray, i: int) -> np.ndarray:
    """Infrared: some of what was bright is dark."""
    return 20 + 0.6 * np.abs(shown(wide) - 120) + 0.1 * shown(wide)


def glare(wide: np.ndarray, i: int) -> np.ndarray:
    """Headlights that come by."""
    column = np.arange(160)
    return shown(wide) * 0.4 + 180 * np.exp(-(((column - 10 * i % 400) / 25) ** 2))


@pytest.mark.parametrize("change", [lambda wide, i: shown(wide), light, inverted, glare])
def test_normal_video_and_other_light_are_not_told(change: Change) -> None:
    assert play(change) == []


@pytest.mark.parametrize(
    ("ill", "change", "within"),
    [
        ("black", lambda wide, i: np.full((90, 160), 3.0), 7),
        ("covered", lambda wide, i: np.full((90, 160), 120.0), 20),
        ("covered", lambda wide, i: np.tile(np.linspace(30, 90, 160), (90, 1)), 20),
        ("moved", lambda wide, i: shown(wide, 8, 4), 40),
        ("moved", lambda wide, i: shown(wide, -16, 6), 40),
        ("moved", lambda wide, i: shown(wide, 3, 18), 40),
        ("out_of_focus", lambda wide, i: shown(cv2.GaussianBlur(wide, (0, 0), 1.6)), 45),
    ],
)
def test_what_is_wrong_is_told_once_and_that_it_is_over(ill: str, change: Change, within: float) -> None:
    (begun, start), (ended, end) = play(change)
    assert (start.health, start.begins, end.health, end.begins) == (ill, True, ill, False)
    assert 40 <= start.since <= begun <= 40 + within
    assert 100 <= (end.until or 0) <= ended <= 100 + 20
    assert end.since == start.since


def frozen_in_noise(held: list[np.ndarray], begin: float, end: float) -> Iterator[tuple[float, np.ndarray]]:
    rng = np.random.default_rng(1)
    for i in range(int(90 * RATE)):
        now = i / RATE
        noisy = np.clip(shown(normal(i, rng)) + rng.normal(0, 1, (90, 160)), 0, 255).astype(np.uint8)
        if begin <= now < end:
            held = held or [noisy]
            yield now, held[0] + (rng.random((90, 160)) < 0.1).astype(np.uint8) * (held[0] < 255)
        else:
            yield now, noisy


def test_a_frozen_picture_is_told_though_it_is_coded_anew() -> None:
    camera, told = Health(), []
    blind = []
    for now, picture in frozen_in_noise([], 40, 80):
        told += [(now, news.health, news.begins) for news in camera.see(picture, now)]
        blind.append(camera.blind)
    assert [(ill, begins) for _, ill, begins in told] == [("frozen", True), ("frozen", False)]
    assert told[0][0] == pytest.approx(55, abs=2) and told[1][0] == pytest.approx(85, abs=2)
    assert blind.count("frozen") == pytest.approx(30 * RATE, abs=5)


def coded(pictures: Iterator[np.ndarray], quality: int) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures [180, 320] of ten a second behind H.264 with a key frame every two seconds, three a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 180, "yuv420p", 20
        stream.options = {"crf": str(quality), "preset": "veryfast", "tune": "zerolatency"}
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.stack([picture] * 3, -1), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        for i, frame in enumerate(source.decode(video=0)):
            if i % 3 == 0:
                yield i / 10, reduced(frame.to_ndarray(format="rgb24"))


def still(noise: float, begin: int, end: int, frames: int = 650) -> Iterator[np.ndarray]:
    """A scene without anybody in it, frozen from one frame to another."""
    rng, last = np.random.default_rng(1), np.empty(0, np.uint8)
    view = cv2.resize(shown(WIDE), (320, 180))
    for i in range(frames):
        if not begin < i < end:
            last = np.clip(view + rng.normal(0, noise, view.shape), 0, 255).astype(np.uint8)
        yield last


@pytest.mark.parametrize("quality", [23, 30])
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_behind_a_codec_frozen_is_told_and_an_empty_scene_is_not(noise: float, quality: int) -> None:
    camera, told = Health(), []
    for now, picture in coded(still(noise, 200, 500), quality):
        told += [(now, news.health, news.begins) for news in camera.see(picture, now)]
    assert [(ill, begins) for _, ill, begins in told] == [("frozen", True), ("frozen", False)]
    assert 35 <= told[0][0] <= 44 and 55 <= told[1][0] <= 58  # codecs need some key frames to settle


def test_another_view_is_the_usual_one_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ACCEPTED", 40.0)
    told = play(lambda wide, i: shown(wide, 16), end=1e9)
    assert [(news.health, news.begins) for _, news in told] == [("moved", True), ("moved", False)]
    assert told[1][1].until == pytest.approx(told[0][1].since + 40, abs=1)


def test_connections_and_clocks_are_told_with_patience() -> None:
    camera = Health()
    assert camera.connection(True, 0) == camera.connection(True, 4.9) == []
    assert camera.connection(True, 5) == [News("lost", True, 0, None)]
    assert not camera.well and camera.blind is None
    assert camera.connection(False, 20) == camera.connection(True, 22) == camera.connection(False, 23) == []
    assert camera.connection(False, 28) == [News("lost", False, 0, 23)]
    for now in range(9):
        assert camera.time(16, 1e-5, 30 + now) == []
    assert camera.time(16, 1.6, 39) == [] == camera.time(1, 0.0, 40)
    for now in range(10):
        assert camera.time(16, 1e-5, 50 + now) == []
    assert camera.time(16, 1e-5, 60) == [News("clock", True, 50, None)]


def test_frames_of_any_size_are_reduced_to_small_grey_ones() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[:, 960:] = (255, 0, 0)
    small = reduced(frame)
    assert (small.shape, small.dtype) == ((90, 160), np.uint8)
    assert small[:, :79].max() == 0 and small[:, 81:].min() == small.max() == 76
    assert reduced(frame[:48, :64]).shape == (90, 160)
