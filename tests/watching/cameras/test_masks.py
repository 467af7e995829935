"""What masks hide and what zones name, against areas that are reckoned by hand."""

from typing import Any

import cv2
import numpy as np
import pytest

from ssrl_pipeline.watching.cameras import masks
from ssrl_pipeline.watching.cameras.masks import Polygon, Sight, Zone, hidden_patches, masked_pixels, shares


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def test_a_share_is_the_area_that_polygons_cover_together() -> None:
    triangle = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    assert shares((triangle,), 1, 1)[0, 0] == pytest.approx(0.5, abs=0.02)
    twice = (box(0, 0, 0.5, 1), box(0.25, 0, 0.75, 1))
    assert shares(twice, 1, 2) == pytest.approx(np.array([[1, 0.5]]), abs=0.03)


@pytest.mark.parametrize(
    ("mask", "hidden"),
    [
        (box(0, 0, 1 / 3, 0.5), [0]),
        (box(0, 0, 1 / 6, 0.5), [0]),  # half of it
        (box(0, 0, 0.15, 0.5), []),
        (box(0.2, 0, 0.8, 1), [1, 4]),
        (((0, 0), (1, 0), (1, 1)), [1, 2, 5]),  # above the diagonal: 3/4 of the top middle, 1/4 below it
    ],
)
def test_a_patch_of_which_half_is_masked_does_not_count(mask: Polygon, hidden: list[int]) -> None:
    assert np.flatnonzero(hidden_patches((mask,), "2x3")).tolist() == hidden
    found = Sight((mask,)).hidden({"clip": 10, "patch2x3": 6})
    assert [np.flatnonzero(rows).tolist() for rows in found.values()] == ([hidden] if hidden else [])


def test_what_is_masked_changes_nothing_and_the_rest_stays_as_it_is() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (16, 45, 83, 3), np.uint8)
    sight = Sight((box(0.5, 0.5, 1, 1), ((0.0, 0.0), (0.3, 0.0), (0.0, 0.3))))
    masked = masked_pixels(sight.masks, 45, 83)
    before, other = images.copy(), images.copy()
    other[:, masked] = random.integers(0, 256, other[:, masked].shape, np.uint8)
    covered = sight.cover(images)
    assert np.array_equal(covered, sight.cover(other))
    assert np.array_equal(covered[:, ~masked], images[:, ~masked])
    assert np.array_equal(images, before), "others look at these pictures, too"
    assert masked[30, 60] and not masked[30, 30]
    assert Sight().cover(images) is images


def test_the_paint_is_of_the_colours_around() -> None:
    images = np.empty((16, 90, 160, 3), np.uint8)
    images[:, :, :80], images[:, :, 80:] = (200, 40, 40), (40, 40, 200)
    masked = masked_pixels((box(0.05, 0.2, 0.3, 0.8), box(0.7, 0.2, 0.95, 0.8)), 90, 160)
    images[:, masked] = 0
    covered = Sight((box(0.05, 0.2, 0.3, 0.8), box(0.7, 0.2, 0.95, 0.8))).cover(images)
    assert np.abs(covered[0, 45, 25].astype(int) - (200, 40, 40)).max() < 30
    assert np.abs(covered[0, 45, 135].astype(int) - (40, 40, 200)).max() < 30
    uniform = np.full((16, 90, 160, 3), 77, np.uint8)
    assert (Sight((box(0, 0, 0.5, 1),)).cover(uniform) == 77).all()


def test_the_paint_is_blended_small_and_enlarged_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all frames it is a hundredth of the work that floats of their size are, and a grey level off."""
    spots = np.random.default_rng(0).random((9, 16, 3)).astype(np.float32)
    frame = (255 * cv2.resize(spots, (640, 360), interpolation=cv2.INTER_CUBIC)).clip(0, 255).astype(np.uint8)
    mask = box(0.2, 0.1, 0.6, 0.9)
    made: list[np.ndarray] = []
    resize = cv2.resize

    def note(*arguments: Any, **options: Any) -> np.ndarray:
        made.append(resize(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(masks.cv2, "resize", note)
    covered = Sight((mask,)).cover(np.stack([frame, 255 - frame]))
    assert {one.dtype for one in made if one.shape[:2] == (360, 640)} == {np.dtype(np.uint8)}
    masked = masked_pixels((mask,), 360, 640)
    weight = resize((~masked).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    colours = resize(np.float32(frame) * ~masked[..., None], (64, 64), interpolation=cv2.INTER_AREA)
    exact = resize(masks._spread(colours, weight), (640, 360), interpolation=cv2.INTER_LINEAR)
    assert np.abs(covered[:, masked] - exact[masked]).max() <= 1.5, "rounded once more"


def test_a_frame_that_is_masked_whole_is_grey() -> None:
    covered = Sight((box(0, 0, 1, 1),)).cover(np.zeros((2, 9, 16, 3), np.uint8))
    assert set(np.unique(covered)) == {128}


def test_zones_are_named_where_the_heat_is() -> None:
    sight = Sight(
        zones=(
            Zone("left", box(0, 0, 0.3, 1)),
            Zone("door", box(0.45, 0.6, 0.5, 0.7)),  # a small part of the bottom middle
            Zone("next door", box(2 / 3, 0.5, 1, 1)),
        )
    )
    heat = np.zeros(6)
    heat[4] = 2.0
    assert sight.zones_at({"2x3": heat}) == ["door"]
    heat[0] = 1.0  # half of the greatest
    assert sight.zones_at({"2x3": heat}) == ["left", "door"]
    heat[0] = 0.9
    assert sight.zones_at({"2x3": heat}) == ["door"]
    assert sight.zones_at({"2x3": np.zeros(6)}) == sight.zones_at({}) == []
    finer = np.zeros(15)
    finer[10] = 5.0  # bottom left: 5/15 of it a cell, more than the other's
    assert sight.zones_at({"2x3": heat, "3x5": finer}) == ["left"]


def test_a_mask_is_painted_over_where_the_decoder_has_the_frame_in_another_size() -> None:
    big = masked_pixels((box(0.25, 0.25, 0.5, 0.75),), 400, 800)
    small = cv2.resize(big.astype(np.float32), (80, 40), interpolation=cv2.INTER_AREA)
    own = masked_pixels((box(0.25, 0.25, 0.5, 0.75),), 40, 80)
    assert own[small > 0.99].all() and not own[small == 0].any()
