"""The contact sheet shows the very frames that were scored, and no more events than fit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ssrl_pipeline.errors import PipelineError, VideoError
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.results import contact_sheet, pictures
from ssrl_pipeline.results.contact_sheet import GAP, LINE, save_contact_sheet, sheet_frames
from ssrl_pipeline.results.pictures import load_peaks, peak_frames, read_pictures, save_peaks

SIZE = (80, 64)  # of the videos; smaller than a tile: pictures keep their size
STEP = 250 + GAP  # from tile to tile: the captions need 250 pixels


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames in 10 seconds, each of one grey that is its number times 4."""
    path = tmp_path_factory.mktemp("videos") / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 6, SIZE)
    assert writer.isOpened()
    for i in range(60):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 4 * i, np.uint8))
    writer.release()
    return path


def event(start: int, end: int, peak: int, score: float, fps: float | None = 6.0) -> Event:
    times = [None if fps is None else frame / fps for frame in (start, end, peak)]
    return Event(start, end, peak, score, score / 2, *times)


def draw(path: Path, video: Path, events: list[Event], most: int = contact_sheet.SHEET_EVENTS) -> None:
    found = read_pictures(video, sheet_frames(events, most))
    save_contact_sheet(path, video.name, events, found, most)


def shown(path: Path, height: int = SIZE[1]) -> list[list[int]]:
    """The number of the frame in each tile, row by row."""
    sheet = cv2.imread(str(path))
    rows = (sheet.shape[0] - 2 * LINE - GAP) // (height + 2 * LINE + GAP)
    tops = [2 * LINE + i * (height + 2 * LINE + GAP) + 2 * LINE for i in range(rows)]
    return [
        [
            round(float(sheet[top + 10 : top + 50, left + 10 : left + 60].mean()) / 4)
            for left in range(GAP, GAP + 3 * STEP, STEP)
        ]
        for top in tops
    ]


def test_tiles_are_the_first_the_highest_and_the_last_frame(video: Path, tmp_path: Path) -> None:
    events = [event(0, 1, 0, 0.9), event(5, 20, 11, 0.7), event(40, 60, 59, 0.8)]
    draw(tmp_path / "a.png", video, events)
    assert shown(tmp_path / "a.png") == [[0, 0, 0], [5, 11, 19], [40, 59, 59]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_highest_are_chosen_and_stand_in_order_of_time(video: Path, tmp_path: Path) -> None:
    events = [event(10 * i, 10 * i + 5, 10 * i + 2, score) for i, score in enumerate([0.6, 0.9, 0.5, 0.7])]
    draw(tmp_path / "a.png", video, events, 3)
    assert [row[0] for row in shown(tmp_path / "a.png")] == [0, 10, 30]


def test_captions_say_number_times_and_scores() -> None:
    row = contact_sheet._Shown(7, event(6, 18, 9, 0.75), (6, 9, 17))
    assert contact_sheet._captions(row) == (
        "7  from 00:00:01.000\nframe 6",
        "highest 0.75  00:00:01.500\nframe 9",
        "to 00:00:03.000\nframe 17, mean 0.38",
    )
    row = contact_sheet._Shown(1, event(6, 18, 9, 0.75, None), (6, 9, 17))
    assert all("None" not in caption and ":" not in caption for caption in contact_sheet._captions(row))


def test_the_title_tells_what_is_left_out(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(contact_sheet, "_fit", lambda text, *_: titles.append(text) or text)
    for most in (1, 3):
        events = [event(0, 5, 1, 0.5), event(10, 15, 11, 0.6), event(20, 25, 21, 0.7)]
        draw(tmp_path / "a.png", video, events, most)
    assert titles == ["1 event, 2 of lower scores left out: grey.avi", "3 events: grey.avi"]


def test_only_the_shown_frames_are_kept_and_nothing_is_decoded_behind_them(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    open_video = pictures.open_video

    def counting(*arguments: object, **options: object) -> object:
        found = open_video(*arguments, **options)
        found.frames = counted(found.frames)
        return found

    def counted(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            decoded.append(1)
            yield frame

    kept = []
    small = pictures._small
    monkeypatch.setattr(pictures, "open_video", counting)
    monkeypatch.setattr(pictures, "_small", lambda frame: kept.append(1) or small(frame))
    draw(tmp_path / "a.png", video, [event(10, 21, 15, 0.5)])
    assert (len(decoded), len(kept)) == (21, 3)


def test_large_frames_become_small_and_keep_their_shape(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_video(tmp_path / "wide.mp4", frames=3, size=(1280, 360))
    draw(tmp_path / "a.png", path, [event(0, 3, 1, 0.5)])
    height, width = cv2.imread(str(tmp_path / "a.png")).shape[:2]
    assert (width, height) == (3 * 320 + 4 * GAP, 90 + 4 * LINE + 2 * GAP)


def test_what_cannot_be_shown(video: Path, make_video: Callable[..., Path], tmp_path: Path) -> None:
    draw(tmp_path / "a.png", video, [])
    with pytest.raises(VideoError, match="grey.avi: ends before frame 69, which was scored"):
        draw(tmp_path / "a.png", video, [event(50, 70, 55, 0.5)])
    with pytest.raises(VideoError, match="no such file"):
        draw(tmp_path / "a.png", tmp_path / "gone.avi", [event(0, 1, 0, 0.5)])
    assert not (tmp_path / "a.png").exists()


def test_peaks_are_kept_as_small_jpegs_of_the_highest_events(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PEAKS_KEPT", 2)
    events = [event(10 * i, 10 * i + 5, 10 * i + 2, score) for i, score in enumerate([0.6, 0.9, 0.5, 0.7])]
    assert peak_frames(events) == {12, 32}
    save_peaks(tmp_path / "peaks.npz", read_pictures(video, {0, 12, 32}), {12, 32})
    loaded = load_peaks(tmp_path / "peaks.npz")
    shades = {f: cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for f, jpeg in loaded.items()}
    assert {f: round(float(shade.mean()) / 4) for f, shade in shades.items()} == {12: 12, 32: 32}
    (tmp_path / "peaks.npz").write_bytes((tmp_path / "peaks.npz").read_bytes()[:100])
    with pytest.raises(PipelineError, match=r"peaks\.npz: missing or damaged"):
        load_peaks(tmp_path / "peaks.npz")


def test_words_stand_above_their_frames(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fit = contact_sheet._fit
    monkeypatch.setattr(contact_sheet, "_fit", lambda text, *rest: told.append(text) or fit(text, *rest))
    plain, named = tmp_path / "plain.png", tmp_path / "named.png"
    events = [event(2, 6, 4, 0.9), event(8, 12, 10, 0.8)]
    draw(plain, video, events)
    assert len(told) == 1  # the title
    draw(named, video, [events[0]._replace(words=("a", "b", "c"), patch="top left"), events[1]])
    assert told[2:] == ["looks like a, b, c (top left)"]
    with Image.open(plain) as before, Image.open(named) as after:
        assert (after.width, after.height) == (before.width, before.height + 2 * contact_sheet.LINE)
