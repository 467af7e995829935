"""Motion against hand-made shifts of a texture."""

import cv2
import numpy as np
import pytest

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.motion import snippet_motion

HEIGHT, WIDTH = 180, 240
WAYS = ["right", "down right", "down", "down left", "left", "up left", "up", "up right"]


def texture(height: int = 300, width: int = 400) -> np.ndarray:
    """uint8 [height, width, 3]: smooth spots, about ten pixels wide."""
    noise = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


def shifted(right: int, down: int, frames: int = 16) -> np.ndarray:
    """uint8 [frames, HEIGHT, WIDTH, 3] of a texture that goes so many pixels a frame."""
    whole, top, left = texture(), 60, 80
    return np.stack([whole[top - down * i :, left - right * i :][:HEIGHT, :WIDTH] for i in range(frames)])


@pytest.mark.parametrize(
    ("right", "down", "way"),
    [(2, 0, "right"), (0, 3, "down"), (-2, 2, "down left"), (-4, 0, "left"), (3, -3, "up right")],
)
def test_a_shift_is_measured(right: int, down: int, way: str) -> None:
    cells = snippet_motion(shifted(right, down))
    speed = np.hypot(right, down) / WIDTH
    assert cells.shape == (48, 12) and cells.dtype == np.float32
    np.testing.assert_allclose(cells[:, 0], speed, rtol=0.08)
    assert cells[:, 0].mean() == pytest.approx(speed, rel=0.03)
    assert cells[:, 1].mean() == pytest.approx(speed, rel=0.03), "all pixels are as fast"
    assert cells[:, 2:4].max() < 0.05 * speed, "and stay so"
    assert cells[:, 4 + WAYS.index(way)].min() > 0.95
    np.testing.assert_allclose(cells[:, 4:].sum(axis=1), 1, atol=1e-5)


def test_what_stands_still_is_zero_and_noise_is_small() -> None:
    still = np.repeat(texture()[None, :HEIGHT, :WIDTH], 16, axis=0)
    assert not snippet_motion(still).any()
    noise = np.random.default_rng(1).normal(0, 3, still.shape)
    noisy = np.clip(still + noise, 0, 255).astype(np.uint8)
    assert snippet_motion(noisy)[:, :4].max() < 0.1 / WIDTH, "a tenth of a pixel"
    brighter = np.stack([np.clip(frame + 3.0 * (i % 2), 0, 255) for i, frame in enumerate(still)])
    assert snippet_motion(brighter.astype(np.uint8))[:, :4].max() < 0.1 / WIDTH


def test_cells_are_told_apart() -> None:
    frames = np.repeat(texture()[None, :HEIGHT, :WIDTH], 16, axis=0)
    frames[:, 90:, 120:] = shifted(3, 0)[:, 90:, 120:]
    speed = snippet_motion(frames)[:, 0].reshape(6, 8)
    inside = speed[4:, 5:]  # borders blur
    np.testing.assert_allclose(inside, 3 / WIDTH, rtol=0.1)
    assert speed[:2].max() < 0.02 * inside.min() and speed[:, :2].max() < 0.02 * inside.min()


def test_speed_that_changes_is_unsteady() -> None:
    frames = np.concatenate([shifted(4, 0, 9), shifted(4, 0, 9)[7::-1]])[[*range(9), *[9] * 7]]
    cells = snippet_motion(frames)  # eight pairs go, one goes back, six stand still
    assert cells[:, 0].mean() == pytest.approx(9 / 15 * 4 / WIDTH, rel=0.05)
    assert cells[:, 1].mean() == pytest.approx(np.sqrt(9 / 15) * 4 / WIDTH, rel=0.05)
    assert cells[:, 2].mean() == pytest.approx(np.sqrt(0.6 * 0.4) * 4 / WIDTH, rel=0.05)
    assert cells[:, 3].mean() == pytest.approx(1 / 14 * 4 / WIDTH, rel=0.2)
    assert cells[:, 4].mean() == pytest.approx(8 / 9, abs=0.05)
    assert cells[:, 8].mean() == pytest.approx(1 / 9, abs=0.05)


def test_the_last_snippets_loop_is_no_motion() -> None:
    five = shifted(3, 0, 5)
    looped = np.concatenate([five] * 4)[:16]
    np.testing.assert_array_equal(snippet_motion(looped), snippet_motion(five))
    assert not snippet_motion(np.repeat(five[:1], 16, axis=0)).any()


def test_any_shape_of_a_frame_has_its_speeds_in_widths() -> None:
    large = np.stack([cv2.resize(frame, (960, 720)) for frame in shifted(2, 2)])
    np.testing.assert_allclose(snippet_motion(large)[:, 0], np.hypot(2, 2) / WIDTH, rtol=0.08)
    flat = np.stack([cv2.resize(frame, (1200, 120)) for frame in shifted(0, 4)])  # 4 / 180 of the height
    assert snippet_motion(flat)[:, 0].mean() == pytest.approx(4 / 180 * 120 / 1200, rel=0.05)
    thin = np.random.default_rng(0).integers(0, 255, (16, 500, 4, 3), np.uint8)
    assert np.isfinite(snippet_motion(thin)).all()


@pytest.mark.usefixtures("quick_network")
def test_it_is_a_view_where_it_is_asked_for() -> None:
    plain = FeatureExtractor("i3d", "live", "cpu", "random")
    extractor = FeatureExtractor("i3d", "live", "cpu", "random", motion=True)
    frames = np.concatenate([shifted(2, 0, 16), shifted(0, 2, 20)])
    features = extractor(frames)
    assert list(features) == list(extractor.recipe["views"]) == ["clip", "patch2x3", "motion"]
    parts = [frames[:16], frames[16:32], frames[32:]]
    np.testing.assert_array_equal(features["motion"], [snippet_motion(part) for part in parts])
    for name, rows in plain(frames).items():
        np.testing.assert_array_equal(rows, features[name])
    assert extractor.recipe["sizes"] == {"motion": 12} and "sizes" not in plain.recipe
    assert extractor.recipe["views"]["motion"] == 48 and "cells" in extractor.recipe["geometry"]["motion"]
    assert list(plain.recipe["views"]) == ["clip", "patch2x3"]
