"""A recipe with a rate, from the video to the event: the same frames in `extract`, `score` and `watch`."""

import copy
import dataclasses
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.commands import run_main
from helpers.means import describing_means

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.data.check import wrong_lengths
from ssrl_pipeline.data.datasets.annotations import Dataset
from ssrl_pipeline.data.export import export_released
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import ConfigError, StoreError
from ssrl_pipeline.events.rule import EventSettings
from ssrl_pipeline.extraction.estimate import estimate
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.rate import FrameChoice
from ssrl_pipeline.extractors.snippets import cut_snippets
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.scoring.stored import score_stored
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.camera import Camera, Ended, Item, Snippet
from ssrl_pipeline.watching.sources import parse_sources

pytestmark = pytest.mark.usefixtures("quick_network")

SIZE = (64, 48)
CPU = torch.device("cpu")


def scene(path: Path, fps: int, seconds: float = 1.6) -> Path:
    """A ball that goes from left to right and a bar that grows, as they are at the time of each frame."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)  # lossless
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.time_base = Fraction(1, fps)
        for i in range(round(seconds * fps)):
            time = i / fps
            picture = np.full((height, width, 3), 60, np.uint8)
            picture[(x - 10 - 30 * time) ** 2 + (y - 20 - 8 * np.sin(9 * time)) ** 2 < 64] = (250, 200, 40)
            picture[height - 2 - int(20 * time) :, 40:50] = (40, 80, 220)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def live(fps: float | None = None) -> FeatureExtractor:
    return FeatureExtractor("i3d", "live", device="cpu", weights="random", fps=fps)


@cache
def made() -> FeatureExtractor:
    """Features that are means of pixels."""
    extractor = live()
    return describing_means(extractor)


def quick(fps: float | None = None, picture_fps: float | None = None) -> FeatureExtractor:
    extractor = copy.copy(made())
    extractor.fps, extractor.picture_fps = fps, picture_fps
    return extractor


@pytest.fixture
def scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no network of their own."""
    monkeypatch.setattr(
        "ssrl_pipeline.scoring.scorer.FeatureExtractor",
        lambda *_, fps, picture_fps, **__: quick(fps, picture_fps),
    )


def checkpoint(path: Path, recipe: dict) -> Path:
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(path, Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    scene(root / "30.mkv", 30, 3.2)  # 96 frames
    scene(root / "15.mkv", 15, 3.2)  # 48 frames
    return root


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return extract(videos, tmp_path_factory.mktemp("store") / "features", quick(15))[0]


def test_one_scene_at_two_rates_has_the_same_features_at_one(tmp_path: Path) -> None:
    fast, slow = scene(tmp_path / "30.mkv", 30, 16 / 15), scene(tmp_path / "15.mkv", 15, 16 / 15)
    at_15, plain = live(15), live()
    one, other = at_15.from_video(fast), at_15.from_video(slow)
    assert one["clip"].shape == other["clip"].shape == (1, 1, 1024)
    for view in one:
        np.testing.assert_allclose(one[view], other[view], atol=1e-5 * np.abs(other[view]).max())

    every = plain.from_video(fast)  # two snippets, of half a second each
    assert len(every["clip"]) == 2
    apart = np.abs(every["patch2x3"][0] - other["patch2x3"][0]).max() / np.abs(other["patch2x3"][0]).max()
    assert apart > 0.01


def test_the_recipe_names_the_rate_only_where_there_is_one() -> None:
    assert "fps" not in quick().recipe
    assert quick(15).recipe == {**quick().recipe, "fps": 15.0}
    for rate in (0, -1, 1001, float("nan"), "25", True):
        with pytest.raises(ConfigError, match="number of frames a second"):
            live(rate)  # type: ignore[arg-type]


def test_the_store_knows_all_frames_and_where_each_snippet_begins(store: FeatureStore, videos: Path) -> None:
    fast, slow = store.meta("30.mkv"), store.meta("15.mkv")
    assert (fast.frames, fast.snippets, fast.starts) == (96, 3, True)
    starts = store.starts("30.mkv")
    assert starts is not None and starts.tolist() == [0, 32, 64]
    assert (slow.frames, slow.snippets, slow.starts) == (48, 3, False) and store.starts("15.mkv") is None
    folder = Path(store.root) / "30.mkv"
    assert np.load(folder / "starts.npy").dtype == np.int64
    assert not (Path(store.root) / "15.mkv" / "starts.npy").exists()
    for view in store.recipe["views"]:
        np.testing.assert_allclose(store.read("30.mkv")[view], store.read("15.mkv")[view], atol=1e-3)
    assert store.is_current("30.mkv", videos / "30.mkv")


def test_a_store_keeps_to_its_rate(store: FeatureStore, videos: Path) -> None:
    for other, said in ((None, "fps"), (20, "15 frames a second.*20 frames a second")):
        with pytest.raises(
            StoreError, match=f"recipes differ in fps: .*{said}" if other else "differ in fps"
        ):
            extract(videos, store.root, quick(other))
    assert [one.status for one in extract(videos, store.root, quick(15))[1]] == ["skipped", "skipped"]


def test_starts_that_are_damaged(store: FeatureStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    path = tmp_path / "copy" / "30.mkv" / "starts.npy"
    np.save(path, np.array([0, 31, 64]))
    with pytest.raises(StoreError, match="starts.npy: .*damaged"):
        open_store(tmp_path / "copy").starts("30.mkv")
    meta = json.loads(path.with_name("meta.json").read_text())
    meta["crc32"] = {}
    path.with_name("meta.json").write_text(json.dumps(meta))
    np.save(path, np.array([0, 64, 32]))
    with pytest.raises(StoreError, match="do not begin one after the other"):
        open_store(tmp_path / "copy").starts("30.mkv")
    path.unlink()
    assert not open_store(tmp_path / "copy").is_current("30.mkv", tmp_path)


def test_every_frame_has_its_snippet_s_score_by_whichever_way(
    store: FeatureStore, videos: Path, tmp_path: Path, scorers: None
) -> None:
    scorer = Scorer(checkpoint(tmp_path / "a.pt", store.recipe), device="cpu")
    result = scorer.score(videos / "30.mkv")
    assert len(set(result.snippet_scores.tolist())) == 3
    np.testing.assert_array_equal(result.scores, np.repeat(result.snippet_scores, 32))
    again = scorer.score_from(store, "30.mkv", videos / "30.mkv")
    np.testing.assert_allclose(again.scores, result.scores, atol=1e-6)
    np.testing.assert_allclose(score_stored("30.mkv", scorer.model, store, CPU), result.scores, atol=1e-6)
    assert again.starts is not None and again.starts.tolist() == [0, 32, 64]

    result.save(tmp_path / "out", overlay=True)
    loaded = VideoScores.load(tmp_path / "out")
    assert loaded.starts is not None and loaded.starts.tolist() == [0, 32, 64]
    assert loaded.recipe["fps"] == 15 and len(loaded.scores) == 96
    with pytest.raises(ValueError, match="do not begin"):
        dataclasses.replace(loaded, starts=np.array([0, 64, 32]))


def test_a_checkpoint_refuses_another_rate(store: FeatureStore, tmp_path: Path, scorers: None) -> None:
    scorer = Scorer(checkpoint(tmp_path / "a.pt", quick().recipe), device="cpu")
    assert scorer.extractor.fps is None
    with pytest.raises(StoreError, match="differ in fps"):
        scorer.score_from(store, "30.mkv", "30.mkv")


def watched(path: Path, chosen_fps: float, fps: float | None = None) -> list[Snippet]:
    """The snippets that `watch` makes of a recording."""
    ready, found = threading.Condition(), list[Item]()
    settings = WatchSettings(fps=fps)
    camera = Camera(*parse_sources([str(path)]), ready, settings, chosen_fps=chosen_fps)
    camera.start()
    while not (found and isinstance(found[-1], Ended)):
        with ready:
            assert ready.wait_for(camera.waiting, 30)
        found += camera.take()
    camera.join(10)
    return [item for item in found if isinstance(item, Snippet)]


@pytest.mark.parametrize(("name", "rate"), [("30.mkv", 15.0), ("30.mkv", 25.0), ("15.mkv", 25.0)])
def test_watch_chooses_the_frames_that_score_does(videos: Path, name: str, rate: float) -> None:
    choice = FrameChoice(rate)
    video = open_video(videos / name)
    expected = list(cut_snippets(frame for frame in video.frames if choice.take(video.time)))
    starts = [*choice.starts, choice.frames]
    snippets = watched(videos / name, chosen_fps=rate)
    assert [one.frame for one in snippets] == starts[:-1]
    assert [one.frames for one in snippets] == np.diff(starts).tolist()
    for one, images in zip(snippets, expected, strict=True):
        np.testing.assert_array_equal(one.images, images)
        fps = int(name[:2])
        np.testing.assert_allclose(
            one.times.starts(one.frames), np.arange(one.frame, one.frame + one.frames) / fps, atol=1e-3
        )


def test_watch_takes_the_rate_that_it_is_told(videos: Path) -> None:
    snippets = watched(videos / "30.mkv", fps=60.0, chosen_fps=15.0)  # 96 frames in 1.6 s
    assert [(one.frame, one.frames) for one in snippets] == [(0, 64), (64, 32)]
    assert snippets[1].time_s == pytest.approx(64 / 60)


def test_a_dry_run_counts_by_the_rate(videos: Path, tmp_path: Path) -> None:
    assert estimate(videos, tmp_path / "features", quick()).snippets == 6 + 3
    assert estimate(videos, tmp_path / "features", quick(15)).snippets == 3 + 3


def test_pictures_of_a_folder_are_chosen_too(make_video: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "videos" / "frames"
    folder.mkdir(parents=True)
    for i, frame in enumerate(open_video(make_video(tmp_path / "v.mp4", frames=40)).frames):
        with av.open(str(folder / f"{i}.png"), "w", format="image2") as file:
            stream = file.add_stream("png")
            stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    extractor = quick(10, picture_fps=20)
    assert estimate(folder.parent, tmp_path / "features", extractor).snippets == 2
    store, _ = extract(folder.parent, tmp_path / "features", extractor)
    starts = store.starts("frames")
    assert starts is not None and starts.tolist() == [0, 32] and store.meta("frames").frames == 40


def test_an_export_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="15 a second.*extract without --fps"):
        export_released(store, {"30.mkv": Label(False, None)}, tmp_path / "released")


def test_annotated_lengths_are_those_of_all_frames(store: FeatureStore) -> None:
    labels = {"30.mkv": Label(False, "test"), "15.mkv": Label(False, "test")}
    right = Dataset(labels, {}, frames={"30.mkv": 96, "15.mkv": 48})
    assert wrong_lengths(right, store, "test") == []
    (problem,) = wrong_lengths(dataclasses.replace(right, frames={"30.mkv": 48}), store, "test")
    assert (problem.video, problem.detail) == ("30.mkv", "96 frames where 48 are annotated")


def test_slower_videos_are_told_once(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "ssrl_pipeline.extraction.stage.ExtractorOptions.build", lambda self, _: quick(self.fps)
    )
    command = [
        "extract",
        "--videos",
        videos,
        "--features",
        tmp_path / "f",
        "--device",
        "cpu",
        "--preset",
        "live",
    ]
    assert run_main(*command, "--fps", "25") == 0
    said = capsys.readouterr().err
    note = "15.mkv has fewer frames than 25 a second (as few as 15): all are taken, none is invented"
    assert said.count(note) == said.count("none is invented") == 1
    assert "live views and motion at 25 frames a second" in said
    assert run_main(*command, "--fps", "25") == 0
    assert "none is invented" not in capsys.readouterr().err
    assert run_main(*command, "--fps", "1001") == 2
    assert "fps is a number up to 1000" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="there is no ffprobe")
@pytest.mark.parametrize(("rate", "starts"), [(None, [0, 16, 32, 48]), (10.0, [0, 34, 50])])
def test_events_of_a_variable_rate_are_at_ffprobe_s_times(
    shared: Path, tmp_path: Path, scorers: None, rate: float | None, starts: list[int]
) -> None:
    path = shared / "data" / "faults" / "times" / "vfr_phone.mp4"
    asked = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time"]
    done = subprocess.run([*asked, "-of", "json", str(path)], capture_output=True, text=True, check=True)
    times = np.array([float(frame["pts_time"]) for frame in json.loads(done.stdout)["frames"]])
    assert len(times) == 60 and len(set(np.diff(times).round(3))) == 2

    model = checkpoint(tmp_path / "a.pt", quick(rate).recipe)
    scores = Scorer(model, device="cpu").score(path).snippet_scores
    second, highest = np.sort(scores)[-2:]
    rule = EventSettings(threshold=float(second + highest) / 2, hysteresis=1.0, shortest=0.0, gap=0.0)
    result = Scorer(model, device="cpu", events=rule).score(path)
    np.testing.assert_allclose(result.times, times, atol=1e-6)
    edges = [*starts, 60]
    np.testing.assert_array_equal(result.scores, np.repeat(result.snippet_scores, np.diff(edges)))
    (event,) = result.events
    top = int(scores.argmax())
    assert (event.start, event.end) == (edges[top], edges[top + 1])
    assert event.start_s == pytest.approx(times[event.start], abs=1e-6)
    if event.end < 60:
        assert event.end_s == pytest.approx(times[event.end], abs=1e-6)
    assert event.peak_s == pytest.approx(times[event.peak], abs=1e-6)
