"""Cameras as they come: what is scored, and that it is what a file's scores are."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.watched import CPU, SIZE, F, Fake, Watched, describe, fetch_metrics

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events.find import find_events
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.events.words import SnippetWords, Usual, WordTeller, worded
from ssrl_pipeline.extractors import reader as reading
from ssrl_pipeline.extractors.backbones import ActionHead
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.extractors.snippets import Pending, cut_snippets
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.times import FrameTimes
from ssrl_pipeline.watching import camera, watch
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import Source, parse_sources
from ssrl_pipeline.watching.watch import Watch


def test_a_file_is_scored_to_its_end_and_its_events_are_those_of_its_scores(
    make_video, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=300, size=SIZE)
    watched = Watched(parse_sources([f"a={path}"]), rule=EventRule(threshold=0.5, gap=1.0), window=4, delay=1)
    assert watched.run() == []

    frames = list(open_video(path).frames)
    rows = [describe(snippet)["clip"] for snippet in cut_snippets(frames)]
    clips = torch.from_numpy(np.concatenate(rows))[None]
    expected = []
    for t in range(19):
        end = min(t + 2, 19)
        begin = max(end - 4, 0)
        with torch.inference_mode():
            expected.append(watched.model({"clip": clips[:, begin:end]}).scores[0, t - begin].item())
    assert watched.scores() == pytest.approx(expected, abs=1e-6)
    told = watched.of("score")
    assert [(line["frame"], line["frames"]) for line in told] == [
        (16 * t, 12 if t == 18 else 16) for t in range(19)
    ]
    assert [line["time_s"] for line in told] == pytest.approx([1.6 * t for t in range(19)])
    assert {line["time"] for line in told} == {None}
    assert watched.lines[0]["type"] == "connected" and watched.lines[0]["fps"] == 10
    assert watched.lines[-1] == {"type": "end", "camera": "a", "frames": 300, "error": None}

    of_frames = np.repeat(np.array(watched.scores(), np.float32), 16)[:300]
    threshold = float(np.quantile(of_frames, 0.6))
    rule = EventRule(threshold=threshold, hysteresis=1.0, gap=1.0)
    again = Watched(parse_sources([f"a={path}"]), rule=rule, window=4, delay=1)
    again.run()
    events = find_events(of_frames, FrameTimes(10.0), rule)
    assert len(events) > 1
    keys = ("start", "end", "peak", "peak_score", "start_s", "end_s", "peak_s", "mean_score")
    ends = [[line[key] for key in keys] for line in again.of("event_end")]
    assert ends == [
        pytest.approx([*e[:4], e.start_s, e.end_s, e.peak_s, e.mean_score], abs=1e-6) for e in events
    ]
    assert [line["start"] for line in again.of("event_start")] == [event.start for event in events]
    assert [line["event"] for line in again.of("event_end")] == list(range(1, len(events) + 1))


def test_events_have_the_words_that_a_file_has(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=300, size=SIZE)
    torch.manual_seed(0)
    words = ActionHead(torch.randn(400, F), torch.randn(400)), Usual(*torch.rand(2, 6, 400))
    teller = WordTeller(*words)
    rows: list[SnippetWords] = []

    def with_patches(images: np.ndarray) -> ViewArrays:
        clip = describe(images)
        patches = np.random.default_rng(len(rows)).standard_normal((1, 6, F)).astype(np.float32)
        rows.append(teller.of(torch.from_numpy(patches)))
        return {**clip, "patch2x3": patches}

    plain = Watched(parse_sources([f"a={path}"]), window=4, delay=1)
    plain.run()
    assert all("words" not in line for line in plain.lines)
    threshold = float(np.quantile(np.array(plain.scores(), np.float32), 0.6))
    rule = EventRule(threshold=threshold, hysteresis=1.0, gap=1.0)
    watched = Watched(
        parse_sources([f"a={path}"]), extractor=with_patches, rule=rule, words=words, window=4, delay=1
    )
    watched.run()
    of_frames = np.repeat(np.array(watched.scores(), np.float32), 16)[:300]
    whole = SnippetWords.joined(rows)
    events = [worded(event, whole) for event in find_events(of_frames, FrameTimes(10.0), rule)]
    told = watched.of("event_end")
    assert len(events) > 1 and len({event.words for event in events}) > 1
    assert [(line["words"], line["patch"]) for line in told] == [(list(e.words), e.patch) for e in events]
    assert all(len(line["words"]) == 3 for line in watched.of("event_start"))


def test_a_file_waits_for_the_model() -> None:
    ahead: list[int] = []

    def slow(images: np.ndarray) -> ViewArrays:
        time.sleep(0.05)  # enough to read it all
        ahead.append(watched.job.posts[0].camera.frames - 16 * len(watched.numbers))
        return describe(images)

    watched = Watched([Source("a", "a.mp4", "file")], lambda *_: Fake(range(240), length=240), slow, False)
    assert watched.run() == []
    assert len(watched.scores()) == 15 and not watched.of("dropped")
    assert max(ahead) <= 16 * (camera.RECORDED_WAITING + 1)


def test_several_cameras_are_each_scored_as_alone(make_video, tmp_path: Path) -> None:
    sizes = {"a": (320, 48), "b": (400, 32)}
    paths = {name: make_video(tmp_path / f"{name}.mp4", frames=70, size=size) for name, size in sizes.items()}
    together = Watched(parse_sources([f"{name}={path}" for name, path in paths.items()]), window=3)
    together.run()
    for name, path in paths.items():
        alone = Watched(parse_sources([f"{name}={path}"]), window=3)
        alone.run()
        assert together.scores(name) == pytest.approx(alone.scores(name), abs=1e-6)
        assert len(alone.scores(name)) == 5
    served = fetch_metrics(together.job.posts)
    assert served["ssrl_frames_total", "a"] == 70 and served["ssrl_snippets_total", "b"] == 5
    assert served["ssrl_score", "b"] == pytest.approx(together.scores("b")[-1])


@pytest.mark.parametrize(("room", "most"), [(1 << 30, 16), (3 * 16 * 320 * 32 * 3, 3)])
def test_many_cameras_are_described_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch, room: int, most: int
) -> None:
    monkeypatch.setattr(reading, "GROUP_BYTES", room)
    ready = threading.Event()

    def slow(images: np.ndarray) -> ViewArrays:
        """The first waits until all cameras have a snippet, or have given their last."""
        end = time.monotonic() + 30
        while not ready.is_set() and time.monotonic() < end:
            if all(post.camera.waiting() for post in watched.job.posts):
                ready.set()
            time.sleep(0.001)
        return describe(images)

    sources = [Source(f"c{i}", "a.mp4", "file") for i in range(40)]
    watched = Watched(sources, lambda *_: Fake(range(48), length=48), slow, patient=False)
    assert watched.run() == [] and ready.is_set()
    sizes = [len(group) for group in watched.groups]
    assert sum(sizes) == 120 and max(sizes) == most
    for source in sources:
        assert watched.scores(source.name) == pytest.approx(watched.scores("c0"), abs=1e-6)
        assert len(watched.scores(source.name)) == 3


def test_snippets_lie_where_they_are_wanted() -> None:
    given: list[np.ndarray] = []

    def empty(shape: tuple[int, ...]) -> np.ndarray:
        given.append(np.zeros(shape, np.uint8))
        return given[-1]

    video = Fake(range(40), length=40)
    watched = Watched([Source("a", "a.mp4", "file")], lambda *_: video, pending=lambda: Pending(empty))
    assert watched.run() == []
    assert all(snippet is memory for (snippet,), memory in zip(watched.groups, given, strict=True))
    assert watched.numbers[-1] == [*range(32, 40), *range(32, 40)]


@pytest.mark.parametrize(("cameras", "threads"), [(1, 4), (3, 2), (20, 1)])
def test_cameras_share_the_cores(monkeypatch: pytest.MonkeyPatch, cameras: int, threads: int) -> None:
    given: list[int] = []

    def opener(source: Source, timeout: float, started: Any, threads: int, **options: Any) -> Fake:
        given.append(threads)
        return Fake(range(16), length=16)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(watch, "open_source", opener)
    torch.manual_seed(1)
    sources = [Source(f"c{i}", "a.mp4", "file") for i in range(cameras)]
    model = SSRL(F, (), crops=1).eval()
    analysis = Analysis(model, CPU, lambda images, wanted: [describe(one) for one in images], EventRule())
    plans = [Plan(source, analysis) for source in sources]
    job = Watch(plans, WatchSettings(), lambda line: None, lambda text: None)
    assert job.run(threading.Event()) == []
    assert given == [threads] * cameras


def test_a_file_that_is_cut_short_is_told_at_its_end(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=32, size=SIZE)
    cut = Watched(parse_sources([f"a={path}"]), lambda *_: Fake(range(20), length=32))
    assert cut.run() == ["a"]
    assert len(cut.scores()) == 2 and "20 of 32" in cut.lines[-1]["error"]
    path.write_text("no video\n" * 100)
    with pytest.raises(VideoError, match=r"a\.mp4: not a video"):
        Watched(parse_sources([f"a={path}"])).run()


def test_a_recording_on_a_server_is_not_begun_anew() -> None:
    opened = []

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        opened.append(source)
        return Fake(range(32), length=32)

    watched = Watched([Source("a", "http://host/a.mp4", "stream")], opener)
    assert watched.run() == []
    assert len(opened) == 1 and len(watched.scores()) == 2 and watched.lines[-1]["type"] == "end"
