"""Folders of pictures as videos: found, read in order, stored once, refused where one is broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.disk.pictures import picture_files
from ssrl_pipeline.errors import PipelineError, VideoError
from ssrl_pipeline.extraction.estimate import estimate
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extraction.videos import find_videos
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import open_video

pytestmark = pytest.mark.usefixtures("quick_network")


def made(folder: Path, names: list[str], shades: list[int], size: tuple[int, int] = (64, 48)) -> Path:
    folder.mkdir(parents=True)
    for name, shade in zip(names, shades, strict=True):
        Image.new("RGB", size, (shade, shade, shade)).save(folder / name)
    return folder


def test_pictures_are_frames_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    names = [f"frame{number}.png" for number in range(8, 12)]
    folder = made(tmp_path / "a", names, [10, 20, 30, 40])
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    assert [path.name for path in picture_files(folder)] == names
    with open_video(folder, picture_fps=8.0) as video:
        read = [(int(frame[0, 0, 0]), video.time, frame.shape) for frame in video.frames]
    assert read == [(shade, i / 8, (48, 64, 3)) for i, shade in enumerate([10, 20, 30, 40])]
    assert video.info == (8.0, 64, 48, 4) and video.damage() == ""


@pytest.mark.parametrize("ending", ["bmp", "jpg", "jp2", "pgm", "png", "ppm", "tga", "tif", "webp"])
def test_pictures_of_every_format_are_those_that_pillow_reads(tmp_path: Path, ending: str) -> None:
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    smooth = Image.fromarray(np.stack([4 * x, 5 * y, 255 - 2 * x - 2 * y], axis=2).astype(np.uint8))
    (tmp_path / "a").mkdir()
    for i in range(2):  # a name that libav would take for a pattern
        (smooth.convert("L") if ending == "pgm" else smooth).save(tmp_path / "a" / f"x%d {i}.{ending}")
    with open_video(tmp_path / "a", picture_fps=1) as video:
        frames = list(video.frames)
    with Image.open(tmp_path / "a" / f"x%d 0.{ending}") as picture:
        expected = np.asarray(picture.convert("RGB")).astype(int)
    assert len(frames) == 2
    assert np.abs(frames[0] - expected).mean() < 3  # JPEG and WebP: colours at half the size


def test_sixteen_bits_a_pixel_are_not_cut_to_white(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(2):
        Image.fromarray(np.full((8, 16), 128 * 257, np.uint16)).save(tmp_path / "a" / f"{i}.png")
    with open_video(tmp_path / "a", picture_fps=1) as video:
        assert all(abs(int(frame[0, 0, 0]) - 128) <= 1 for frame in video.frames)


def test_a_picture_that_is_broken_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", ["1.png", "2.png", "3.png"], [1, 2, 3])
    (folder / "2.png").write_bytes(b"no picture")
    with (
        pytest.raises(VideoError, match=r"2\.png: not a picture"),
        open_video(folder, picture_fps=25) as video,
    ):
        list(video.frames)
    with pytest.raises(VideoError, match="give --frames FPS"):
        open_video(folder)


def test_pictures_of_another_size_are_scaled_and_that_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", ["1.png"], [50])
    Image.new("RGB", (32, 24), (90, 90, 90)).save(folder / "2.png")
    with open_video(folder, picture_fps=25) as video:
        assert [frame.shape for frame in video.frames] == [(48, 64, 3)] * 2
    assert video.damage() == "frames of 32x24 among those of 64x48, scaled to these"


def test_folders_of_pictures_are_found_or_pointed_to(make_video, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    made(root / "test" / "01_0014", ["1.jpg", "2.jpg"], [1, 2])
    made(root / "test" / "01_0015", ["1.jpg", "2.jpg", "10.jpg"], [1, 2, 3])
    told: list[str] = []
    with pytest.raises(PipelineError, match=r"left out 2 folders of pictures: .*; give --frames FPS"):
        find_videos(root, told.append)
    assert list(find_videos(root, pictures=True)) == ["test/01_0014", "test/01_0015"]
    assert list(find_videos(root / "test" / "01_0014", pictures=True)) == ["01_0014"]
    make_video(root / "test" / "a.mp4")
    assert list(find_videos(root, told.append)) == ["test/a.mp4"]
    assert told == [
        f"{root}: left out 2 folders of pictures: 01_0014 (2 pictures), 01_0015 (3 pictures); "
        "give --frames FPS if these are frames of videos"
    ]
    made(root / "with thumbnails", ["1.jpg", "2.jpg"], [1, 2])
    make_video(root / "with thumbnails" / "b.mp4")
    assert "with thumbnails" not in find_videos(root, pictures=True)


def test_a_folder_of_pictures_is_stored_once(tmp_path: Path) -> None:
    folder = made(tmp_path / "videos" / "a", [f"{i}.png" for i in range(20)], [10 * i for i in range(20)])

    def statuses(fps: float | None) -> list[str]:
        extractor = FeatureExtractor("i3d", "live", "cpu", "random", picture_fps=fps)
        store, outcomes = extract(tmp_path / "videos", tmp_path / "features", extractor)
        assert store.meta("a").fps == fps and store.meta("a").frames == 20
        return [outcome.status for outcome in outcomes]

    assert statuses(10.0) == ["done"]
    assert statuses(10.0) == ["skipped"]
    assert statuses(20.0) == ["done"]
    before = SourceFile(folder).identity
    Image.new("RGB", (64, 48), (255, 0, 0)).save(folder / "7.png")
    assert not SourceFile(folder).is_still(before)
    assert statuses(20.0) == ["done"]
    extractor = FeatureExtractor("i3d", "live", "cpu", "random", picture_fps=10.0)
    found = estimate(tmp_path / "videos", tmp_path / "other", extractor)
    assert (found.videos, found.snippets, found.unreadable) == (1, 2, [])
