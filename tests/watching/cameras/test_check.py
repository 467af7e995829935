"""`watch --check`: each camera is opened once, told of and drawn."""

from pathlib import Path

import numpy as np
from PIL import Image

from ssrl_pipeline.watching.cameras.camera_file import CameraEntry
from ssrl_pipeline.watching.cameras.check import ZONE, check_cameras, draw_sight
from ssrl_pipeline.watching.cameras.masks import Sight, Zone
from ssrl_pipeline.watching.sources import Source

BOX = ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))


def test_cameras_are_told_of_in_their_order_and_drawn(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=40, size=(160, 96), fps=12.5)
    entries = [
        CameraEntry(Source("gone", "rtsp://u:secret@127.0.0.1:1/x", "stream")),
        CameraEntry(Source("yard gate", str(path), "file"), sight=Sight((BOX,), (Zone("Straße", BOX),))),
    ]
    gone, yard = check_cameras(entries, lambda checkpoint: {"clip": 1, "patch2x3": 6}, tmp_path / "new", 5.0)
    assert gone.problem and "secret" not in str(gone) and str(gone).startswith("gone: ")
    assert (yard.width, yard.height, yard.codec) == (160, 96, "mpeg4")
    assert abs(yard.fps - 12.5) < 0.1
    assert (
        str(yard) == f"yard gate: 160x96, 12.5 frames a second, mpeg4, {tmp_path / 'new' / 'yard gate.png'}"
    )
    assert yard.picture
    with Image.open(yard.picture) as picture:
        assert picture.size == (640, 384)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["yard gate.png"]


def test_a_source_without_a_name_is_drawn_in_the_folder_too(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=20)
    entry = CameraEntry(Source(str(path), str(path), "file"))
    (checked,) = check_cameras([entry], lambda checkpoint: {"clip": 1}, tmp_path / "new", 5.0)
    assert checked.picture and checked.picture.parent == tmp_path / "new"


def test_masks_are_darkened_zones_outlined_and_the_rest_is_the_picture() -> None:
    image = np.full((360, 640, 3), 200, np.uint8)
    left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    drawn = np.asarray(draw_sight(image, Sight((left,), (Zone("x", BOX),)), []))
    assert (drawn[100, 100] == 70).all() and (drawn[100, 500] == 200).all()
    assert (image == 200).all()
    assert tuple(drawn[270, 639 - 1]) == ZONE[:3]


def test_patches_are_framed_and_crossed_where_they_do_not_count() -> None:
    image = np.zeros((360, 660, 3), np.uint8)
    hidden = ((0.0, 0.0), (1 / 3, 0.0), (1 / 3, 0.5), (0.0, 0.5))
    plain = np.asarray(draw_sight(image, Sight(), ["2x3"]))
    assert plain[90, 219:222].max() > 100 and plain[90, 110].max() == 0  # the line between two patches
    crossed = np.asarray(draw_sight(image, Sight((hidden,)), ["2x3"]))
    assert crossed[90, 110].max() > 100 and crossed[90, 330].max() == 0
