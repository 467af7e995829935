"""Cameras as they come: what is scored, lost, dropped and told."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
import torch
from live_stream import LiveServer, mark, read_mark
from prometheus_client.parser import text_string_to_metric_families

from ssrl_pipeline.errors import PipelineError, VideoError
from ssrl_pipeline.events.find import find_events
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.events.words import SnippetWords, Usual, WordTeller, worded
from ssrl_pipeline.extractors import Unchanged, UnchangedRule
from ssrl_pipeline.extractors import reader as reading
from ssrl_pipeline.extractors.backbones import ActionHead
from ssrl_pipeline.extractors.decoding import VideoInfo, open_video
from ssrl_pipeline.extractors.passes import plan_passes
from ssrl_pipeline.extractors.presets import PRESETS
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.extractors.snippets import Pending, cut_snippets
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.times import FrameTimes
from ssrl_pipeline.watching import camera, health, watch
from ssrl_pipeline.watching.cameras import Sight
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.sources import Source, parse_sources
from ssrl_pipeline.watching.watch import Line, Watch

CPU = torch.device("cpu")
F = 16
SIZE = (320, 32)


def picture(number: int) -> np.ndarray:
    """A frame of a live stream: noise that is its number's own, and the number."""
    noise = np.random.default_rng(number // 8).integers(0, 256, (2, 10, 3), np.uint8)
    return mark(cv2.resize(noise, SIZE), number)


class Fake:
    """A source's frames, given once nothing waits to be taken.

    Args:
        numbers: of the frames.
        fps: by their times.
        length: that a recording says to have; what ends before it is cut short. 0: a stream.
        after: called after the last.
    """

    busy: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(
        self, numbers: Iterable[int], fps: float = 10.0, length: int = 0, after: Callable[[], object] = int
    ):
        self.info, self.time, self.hardware = VideoInfo(fps, *SIZE, length), 0.0, ""
        self.frames = self._read(numbers, after)

    def _read(self, numbers: Iterable[int], after: Callable[[], object]) -> Iterator[np.ndarray]:
        count = 0
        for count, number in enumerate(numbers, 1):
            while self.busy():
                time.sleep(0.001)
            self.time = (count - 1) / self.info.fps
            yield picture(number)
        after()
        if count < self.info.reported_frames:
            raise VideoError(f"truncated after {count} of {self.info.reported_frames} frames")

    def damage(self) -> str:
        return ""

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *error: object) -> None:
        self.frames.close()


def opening(*attempts: Fake | None) -> Callable[..., Fake]:
    """Opens one after the other; None and what comes after the last cannot be opened."""
    waiting = iter(attempts)

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        found = next(waiting, None)
        if found is None:
            raise VideoError(f"nothing at {source.address}")
        return found

    return opener


def describe(images: np.ndarray) -> ViewArrays:
    """Colours of the picture's lower half for features."""
    small = cv2.resize(images[:, 16:].mean(axis=0), (F // 3 + 1, 1)).ravel()[:F]
    return {"clip": (small[None, None].astype(np.float32) - 127) / 40}


class Watched:
    """A watch in this process, of a model that scores what `describe` gives."""

    def __init__(
        self,
        sources: list[Source],
        opener: Callable[..., Any] = camera.open_source,
        extractor: Callable[[np.ndarray], ViewArrays] = describe,
        patient: bool = True,
        rule: EventRule = EventRule(),  # noqa: B008 (frozen)
        pending: Callable[[], Pending] = Pending,
        words: tuple[ActionHead, Usual] | tuple[()] = (),
        **settings: Any,
    ):
        torch.manual_seed(1)
        self.model = SSRL(F, (), crops=1).eval()
        self.model.head[-2].weight.data *= 30
        self.lines: list[Line] = []
        self.said: list[str] = []
        self.numbers: list[list[int]] = []  # of each snippet's frames
        self.groups: list[list[np.ndarray]] = []  # snippets that were described together
        self.stop = threading.Event()
        self.until: Callable[[], bool] = lambda: False

        def watch_closely(snippets: Sequence[np.ndarray], wanted: object) -> list[ViewArrays]:
            self.groups.append(list(snippets))
            self.numbers += [[read_mark(image) for image in images] for images in snippets]
            return [extractor(images) for images in snippets]

        def patiently(source: Source, timeout: float, started: Any) -> Any:
            video = opener(source, timeout, started)
            if patient and isinstance(video, Fake):
                video.busy = lambda: any(post.camera.waiting() for post in self.job.posts)
            return video

        head, usual = words or (None, None)
        analysis = Analysis(self.model, CPU, watch_closely, rule, pending=pending, head=head, usual=usual)
        plans = [Plan(source, analysis) for source in sources]
        limits = WatchSettings(**{"delay": 0} | settings)
        self.job = Watch(plans, limits, self.tell, self.said.append, patiently)

    def tell(self, line: Line) -> None:
        self.lines.append(line)
        if self.until():
            self.stop.set()

    def run(self, until: Callable[[], bool] = lambda: False) -> list[str]:
        self.until = until
        timer = threading.Timer(60, self.stop.set)  # no test hangs
        timer.start()
        try:
            return self.job.run(self.stop)
        finally:
            timer.cancel()

    def of(self, *types: str) -> list[Line]:
        return [line for line in self.lines if line["type"] in types]

    def scores(self, name: str = "a") -> list[float]:
        return [line["score"] for line in self.of("score") if line["camera"] == name]

    @torch.inference_mode()
    def expected(self, numbers: list[list[int]], window: int) -> list[float]:
        """The model's scores of the last of each window of snippets."""
        rows = [describe(np.stack([picture(n) for n in snippet]))["clip"] for snippet in numbers]
        clips = torch.from_numpy(np.concatenate(rows))[None]
        parts = [clips[:, max(0, t + 1 - window) : t + 1] for t in range(len(rows))]
        return [self.model({"clip": part}).scores[0, -1].item() for part in parts]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FIRST_WAIT", 0.01)


def stream(name: str = "a") -> Source:
    return Source(name, "rtsp://user:secret@nowhere/x", "stream")


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


def test_a_lost_stream_comes_back_and_no_snippet_or_window_spans_the_gap() -> None:
    attempts = (None, Fake(range(0, 40)), None, None, Fake(range(100, 140)), Fake(range(200, 216)))
    watched = Watched([stream()], opening(*attempts), window=3)
    assert watched.run(until=lambda: len(watched.scores()) == 5) == []
    flat = [number for numbers in watched.numbers for number in numbers]
    assert len(set(flat)) == len(flat)
    assert all(np.diff(numbers).tolist() == [1] * 15 for numbers in watched.numbers)
    kinds = [line["type"] for line in watched.of("connected", "lost")]
    assert kinds == ["lost", "connected", "lost", "connected", "lost", "connected"]
    first, second, third = ([n for n in watched.numbers if low <= n[0] < low + 100] for low in (0, 100, 200))
    parts = [watched.expected(part, 3) for part in (first, second, third)]
    assert watched.scores() == pytest.approx([score for part in parts for score in part], abs=1e-6)
    assert [(line["frame"], line["frames"]) for line in watched.of("dropped")] == [(32, 8), (72, 8)]
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 40, 56, 80]
    gaps = [line["gap_s"] for line in watched.of("connected")]
    assert gaps[0] is None and gaps[1] > 0 and gaps[2] > 0
    assert all(line["time"].endswith("Z") for line in watched.of("score"))
    assert not [text for text in (*watched.said, json.dumps(watched.lines)) if "secret" in text]


def test_an_open_event_ends_where_the_stream_is_lost() -> None:
    attempts = opening(Fake(range(0, 32)), Fake(range(100, 132)))
    rule = EventRule(threshold=1e-9, shortest=0.0)
    watched = Watched([stream()], attempts, rule=rule)
    watched.run(until=lambda: len(watched.of("lost")) == 2)
    kinds = [line["type"] for line in watched.of("event_start", "event_end", "lost")]
    assert kinds == ["event_start", "event_end", "lost"] * 2
    assert [line["start"] for line in watched.of("event_start")] == [0, 32]
    assert [line["end"] for line in watched.of("event_end")] == [32, 64]


def test_a_frozen_camera_is_told_and_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0, "lost": 0.0})
    monkeypatch.setattr(health, "OVER", 0.0)
    monkeypatch.setattr(health, "STIRRED", 0.0)
    numbers = [*range(32), *[200] * 48, *range(304, 352)]
    rule = EventRule(threshold=1e-9, shortest=0.0)
    watched = Watched([stream()], opening(Fake(numbers)), rule=rule)
    watched.run(until=lambda: any(line.get("health") == "lost" for line in watched.lines))
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 80, 96, 112]
    assert watched.scores()[2:] == pytest.approx(watched.expected(watched.numbers[2:], 16), abs=1e-6)
    dropped = watched.of("dropped")
    assert [(line["frame"], line["frames"]) for line in dropped] == [(32, 16), (48, 16), (64, 16)]
    assert {line["reason"] for line in dropped} == {"the picture is frozen"}
    assert [(line["start"], line["end"]) for line in watched.of("event_end")] == [(0, 32), (80, 128)]
    start, end, lost = watched.of("health_start", "health_end")
    keys = ["type", "camera", "health", "start_s", "start_time"]
    assert list(start) == list(lost) == keys and list(end) == [*keys, "end_s", "end_time"]
    assert (start["health"], end["health"], lost["health"]) == ("frozen", "frozen", "lost")
    assert end["start_time"] == start["start_time"] < end["end_time"]
    assert "a: the picture is frozen" in watched.said and "a: over: the picture is frozen" in watched.said


def test_the_last_frame_of_each_snippet_can_be_seen_of_a_blind_camera_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0})
    numbers = [*range(32), *[200] * 32]
    watched, seen = Watched([stream()], opening(Fake(numbers))), list[tuple[str, int]]()
    watched.job._see = lambda name, frame: seen.append((name, read_mark(frame)))
    watched.run(until=lambda: bool(watched.of("lost")))
    assert seen == [("a", 15), ("a", 31), ("a", 200), ("a", 200)]
    assert [line["frame"] for line in watched.of("score")] == [0, 16]


def test_health_can_be_left_out_and_is_not_told_of_files(make_video, tmp_path: Path) -> None:
    still = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter_fourcc(*"MJPG"), 1.0, (320, 32))
    for _ in range(48):
        writer.write(picture(1))
    writer.release()
    watched = Watched(parse_sources([f"a={still}"]))
    watched.run()
    without = Watched([stream()], opening(Fake([1] * 48)), health=False)
    without.run(until=lambda: len(without.of("lost")) == 1)
    for one in (watched, without):
        assert len(one.scores()) == 3 and not one.of("health_start", "dropped")


def test_the_newest_snippet_is_kept_where_the_model_is_slower() -> None:
    begun, read = threading.Event(), threading.Event()

    def slow(images: np.ndarray) -> ViewArrays:
        begun.set()
        assert read.wait(30)
        return describe(images)

    def numbers() -> Iterator[int]:
        yield from range(16)
        assert begun.wait(30)
        yield from range(16, 160)

    attempts = opening(Fake(numbers(), after=read.set))
    watched = Watched([stream()], attempts, slow, False, window=2)
    watched.run(until=lambda: len(watched.of("lost")) == 1)
    assert [numbers[0] for numbers in watched.numbers] == [0, 144]
    dropped = watched.of("dropped")
    assert sum(line["frames"] for line in dropped) == 160 - 32
    assert [line["frame"] for line in watched.of("score")] == [0, 144]
    assert watched.scores() == pytest.approx(watched.expected(watched.numbers, 2), abs=1e-6)  # one window
    assert watched.job.posts[0].dropped == 128
    assert [text for text in watched.said if "frames dropped" in text]


def test_all_cameras_lose_about_the_same_where_there_is_too_much() -> None:
    """Four send ten snippets in the time of one; none is favoured by its place among them."""
    names = ["a", "b", "c", "d"]

    def paced() -> Iterator[int]:
        for number in range(10**6):
            time.sleep(0.0005)
            yield number % 200

    def slow(images: np.ndarray) -> ViewArrays:
        time.sleep(0.02)
        return describe(images)

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        return Fake(paced(), after=lambda: None)

    watched = Watched([stream(name) for name in names], opener, slow, patient=False)
    watched.run(until=lambda: len(watched.of("score")) >= 80 or watched.stop.is_set())
    scored = [len(watched.scores(name)) for name in names]
    assert max(scored) - min(scored) <= 2
    assert all(line["frames"] for line in watched.of("dropped"))
    assert {line["camera"] for line in watched.of("dropped")} == set(names)


def by_rule(**rule: int) -> Unchanged:
    passes = plan_passes(None, PRESETS["live"].views[:1], "exact")  # type: ignore[arg-type]
    return Unchanged(UnchangedRule(**{"checked": 10**6, **rule}), passes)


def test_a_quiet_camera_loses_nothing_while_busy_ones_do() -> None:
    """The quiet one is scored twenty times while a snippet of the other is described."""

    def changing() -> Iterator[int]:
        while not watched.scores("quiet"):
            time.sleep(0.001)
        for number in range(1, 10**6):
            time.sleep(0.0005)
            yield 8 * (number % 1000) + 8

    def slow(images: np.ndarray) -> ViewArrays:
        end = time.monotonic() + 20
        if read_mark(images[0]):
            enough.append(len(watched.scores("quiet")) + 20)
            while len(watched.scores("quiet")) < enough[-1] and time.monotonic() < end:
                time.sleep(0.001)
        return describe(images)

    def opener(source: Source, timeout: float, started: Any) -> Fake:
        if source.name == "busy":
            return Fake(changing())
        video = Fake(itertools.repeat(0))
        video.busy = watched.job.posts[0].camera.waiting
        return video

    enough: list[int] = []
    watched = Watched([stream("quiet"), stream("busy")], opener, slow, patient=False, health=False)
    for post in watched.job.posts:
        post.unchanged = by_rule()
    watched.run(until=lambda: len(watched.scores("busy")) >= 2)
    assert {line["camera"] for line in watched.of("dropped")} == {"busy"}
    assert len(watched.scores("quiet")) >= enough[1] > 40


def test_what_does_not_change_is_scored_by_its_last_description() -> None:
    """As of a file; the camera that was lost begins anew."""
    sent = [number for snippet in range(3) for number in [20 * snippet] * 16]
    watched = Watched([stream()], opening(Fake(sent), Fake(sent)))
    post = watched.job.posts[0]
    post.unchanged = by_rule(levels=255)  # nothing ever changes
    watched.run(until=lambda: len(watched.of("score")) == 6)
    assert post.unchanged.repeats.clips == {"clip": 6}
    assert post.unchanged.repeats.repeated == {"clip": 4}
    assert any("clip 67 %" in text for text in watched.said)
    assert watched.scores()[:3] == pytest.approx(watched.scores()[3:])
    served = fetch_metrics(watched.job.posts)
    assert served["ssrl_clips_total", "a"] == 6 and served["ssrl_repeated_clips_total", "a"] == 4


def test_a_description_ages_by_the_times_of_frames() -> None:
    watched = Watched([Source("a", "a.mp4", "file")], lambda *_: Fake(range(80), length=80))
    watched.job.posts[0].unchanged = by_rule(levels=255, seconds=2)
    assert watched.run() == []
    assert watched.job.posts[0].unchanged.repeats.repeated == {"clip": 2}  # described at 0, 3.2 and 6.4 s


def test_after_a_camera_was_blind_all_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEGIN", health.BEGIN | {"frozen": 0.0})
    monkeypatch.setattr(health, "OVER", 0.0)
    monkeypatch.setattr(health, "STIRRED", 0.0)
    watched = Watched([stream()], opening(Fake([*range(32), *[200] * 48, *range(304, 352)])))
    watched.job.posts[0].unchanged = by_rule(levels=255)
    watched.run(until=lambda: bool(watched.of("lost")))
    assert [line["frame"] for line in watched.of("score")] == [0, 16, 80, 96, 112]
    assert watched.job.posts[0].unchanged.repeats.repeated == {"clip": 3}


def test_what_was_saved_is_told_of_cameras_that_were_altered_or_left_too() -> None:
    watched = Watched([stream()], opening(Fake([1] * 48)), health=False)
    post = watched.job.posts[0]
    post.unchanged = by_rule(levels=255)
    watched.run(until=lambda: bool(watched.of("lost")))
    before = post.unchanged
    masked = Sight((((0.0, 0.0), (0.1, 0.0), (0.1, 0.1)),))
    post.alter(replace(post.plan, sight=masked), post.scorer)
    assert post.unchanged is not before and post.unchanged.repeats.repeated == {"clip": 2}
    watched.job._change([])
    assert watched.job.posts == [] and watched.job._repeats.repeated == {"clip": 2}


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


def fetch_metrics(posts: Sequence[watch.Post]) -> dict[tuple[str, str], float]:
    """(name, camera) -> value, as Prometheus reads them."""
    with ExitStack() as stack:
        port = stack.enter_context(serve_metrics(posts, "127.0.0.1", 0))
        answer = stack.enter_context(urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30))
        text = answer.read().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {(sample.name, sample.labels["camera"]): sample.value for sample in samples}


def test_metrics_of_a_camera_that_never_came() -> None:
    name = 'the "gate" \\ yard\n'
    watched = Watched([Source(name, "rtsp://gate", "stream")], opening())
    served = fetch_metrics(watched.job.posts)
    clips = ("clips", "repeated_clips", "checked_clips", "checked_error")
    counters = ("frames", "snippets", "dropped_frames", "reconnects", "events", *clips)
    totals = [f"{counter}_total" for counter in counters]
    none = {(f"ssrl_{metric}", name): 0 for metric in (*totals, "connected")}  # without a score
    assert served == none | {("ssrl_healthy", name): 1}


def test_metrics_are_served_at_one_address_until_the_end() -> None:
    before = threading.active_count()
    with serve_metrics([], "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=30)
        again = serve_metrics([], "127.0.0.1", port)
        with pytest.raises(PipelineError, match=f"--metrics-port {port}: 127.0.0.1 cannot be listened to"):
            again.__enter__()
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=30)


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


def test_a_thread_that_fails_ends_its_camera_and_says_so() -> None:
    def broken(source: Source, timeout: float, started: Any) -> None:
        raise RuntimeError(f"cannot read {source.address}")

    watched = Watched([stream()], broken)
    assert watched.run() == ["a"]
    assert "RuntimeError" in watched.lines[-1]["error"] and "secret" not in watched.lines[-1]["error"]


def test_a_live_stream_over_http_with_an_interruption() -> None:
    pytest.importorskip("av")
    with LiveServer(
        lambda n: cv2.resize(picture(n), (320, 240)), 480, fps=30, pace=2, outages=[(200, 260)]
    ) as server:
        watched = Watched(parse_sources([f"a={server.url}"]), window=4, timeout=5.0)
        watched.run(until=lambda: watched.numbers[-1:] > [[400]])
    flat = [number for numbers in watched.numbers for number in numbers]
    assert len(flat) > 100 and max(flat) > 260
    assert (np.diff(flat) > 0).all()
    assert [n for n in flat if 200 <= n < 260] == []
    assert [n for n in watched.numbers if n[0] < 200 and n[-1] >= 260] == []
    assert max(line["gap_s"] for line in watched.of("connected")[1:]) > 0.5
