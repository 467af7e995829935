"""Cameras with plans of their own: masks, zones, hours, thresholds, models, and what a new plan changes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers.watched import Given

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.extractors.decoding import VideoInfo
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.models import SSRL, Detector, PatchMemory
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.cameras import hours as hours_module
from ssrl_pipeline.watching.cameras.hours import Hours
from ssrl_pipeline.watching.cameras.masks import Sight, Zone
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.sources import Source
from ssrl_pipeline.watching.watch import Line, Watch

CPU = torch.device("cpu")
HEIGHT, WIDTH = 20, 60  # patches of 10 x 20 pixels
F = 16
CORNER = ((2 / 3, 0.5), (1.0, 0.5), (1.0, 1.0), (2 / 3, 1.0))  # the last patch, bottom right
QUICK = EventRule(threshold=0.5, shortest=0.0, gap=0.0)


def picture(number: int, strange: str = "") -> np.ndarray:
    """A quiet frame; in a strange one, a patch is white and red by turns."""
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    image[:, :, 1] += np.arange(WIDTH, dtype=np.uint8)
    if strange:
        row, column = divmod(int(strange), 3)
        image[10 * row : 10 * row + 10, 20 * column : 20 * column + 20] = (255, 255 * (number % 2), 0)
    return image


def describe(snippets: Sequence[np.ndarray], wanted: object = None) -> list[ViewArrays]:
    """Colours of the whole frame, and of each patch: their means and deviations."""

    def of(pixels: np.ndarray) -> np.ndarray:
        flat = pixels.reshape(-1, 3).astype(np.float32) / 40
        return np.resize(np.concatenate([flat.mean(0), flat.std(0)]), F)

    found = []
    for images in snippets:
        cells = images.reshape(16, 2, 10, 3, 20, 3).transpose(1, 3, 0, 2, 4, 5).reshape(6, -1, 3)
        patches = np.stack([of(cell) for cell in cells])[None]
        found.append({"clip": of(images)[None, None], "patch2x3": patches})
    return found


def made(kind: str) -> Detector:
    """A detector to which what is quiet is normal, and what is strange is not."""
    torch.manual_seed(0)
    (quiet,) = describe([np.stack([picture(n) for n in range(16)])])
    patches = torch.from_numpy(quiet["patch2x3"])[0]
    if kind == "memory":
        model = PatchMemory(F, {"patch2x3": 6}, size=1).eval()
        model.memories.get_submodule("patch2x3").get_buffer("normal")[:, 0] = patches
        model.get_buffer("median").fill_(0.0)  # what is normal scores 0.1
        model.get_buffer("alarm").fill_(1.0)
        return model
    ssrl = SSRL(F, ["2x3"], crops=1, patches="max" if kind == "max" else "relation").eval()
    ssrl.get_buffer("scaling.patch2x3_mean").copy_(patches.mean(0))
    ssrl.get_buffer("scaling.clip_mean").copy_(torch.from_numpy(quiet["clip"])[0, 0])
    ssrl.head[-2].weight.data *= 30
    return ssrl


class Stream(Given):
    """Frames of a camera, or of a recording of so many."""

    def __init__(self, frames: Iterator[np.ndarray], recorded: int = 0):
        super().__init__(frames, VideoInfo(16.0, WIDTH, HEIGHT, recorded))


class Cameras:
    """A watch of streams that are made up; the lines that it tells, by camera."""

    def __init__(
        self, streams: dict[str, Callable[[], Iterator[np.ndarray]]], plans: Sequence[Plan], delay: int = 0
    ):
        self.lines: list[Line] = []
        self.opened: list[str] = []
        self.stop = threading.Event()
        self.on_line: Callable[[Line], object] = lambda line: None

        def opener(source: Source, timeout: float, started: Any) -> Stream:
            if source.name not in streams or source.name in self.opened[:-1]:
                raise VideoError("nothing there")
            self.opened.append(source.name)
            stream = Stream(streams[source.name]())
            stream.busy = lambda: (
                not self.stop.is_set()
                and any(post.camera.waiting() for post in self.watch.posts if post.name == source.name)
            )
            return stream

        self.watch = Watch(plans, WatchSettings(delay=delay), self.tell, lambda text: None, opener)

    def tell(self, line: Line) -> None:
        self.lines.append(line)
        self.on_line(line)

    def run(self, snippets: int, camera: str = "a") -> "Cameras":
        """Until so many snippets of a camera have a score."""
        before = self.on_line

        def on_line(line: Line) -> None:
            before(line)
            if len(self.scores(camera)) >= snippets:
                self.stop.set()

        self.on_line = on_line
        timer = threading.Timer(30, self.stop.set)  # no test hangs
        timer.start()
        try:
            self.watch.run(self.stop)
        finally:
            timer.cancel()
        assert len(self.scores(camera)) >= snippets, self.lines
        return self

    def of(self, camera: str, *types: str) -> list[Line]:
        return [line for line in self.lines if line["camera"] == camera and line["type"] in types]

    def scores(self, camera: str = "a") -> list[float]:
        return [line["score"] for line in self.of(camera, "score")]

    def events(self, camera: str = "a") -> list[Line]:
        return self.of(camera, "event_start", "event_end")


def endless(strange: dict[int, str] | None = None) -> Callable[[], Iterator[np.ndarray]]:
    """Snippet -> the patch that is strange in it."""

    def frames() -> Iterator[np.ndarray]:
        for number in range(100_000):
            yield picture(number, (strange or {}).get(number // 16, ""))

    return frames


def source(name: str = "a") -> Source:
    return Source(name, f"rtsp://nowhere/{name}", "stream")


def analysis(kind: str = "memory", rule: EventRule = QUICK) -> Analysis:
    return Analysis(made(kind), CPU, describe, rule)


@pytest.mark.parametrize("kind", ["memory", "max", "relation"])
def test_what_happens_behind_a_mask_changes_no_score_and_alarms_nobody(kind: str) -> None:
    of = analysis(kind)
    strange, quiet = {"a": endless({2: "5", 3: "5"})}, {"a": endless()}
    masked = Plan(source(), of, sight=Sight((CORNER,)))
    seen = Cameras(strange, [masked]).run(6)
    assert seen.scores()[:6] == Cameras(quiet, [masked]).run(6).scores()[:6]
    assert Cameras(strange, [Plan(source(), of)]).run(6).scores()[:6] != seen.scores()[:6]
    if kind == "memory":  # the one of these that knows what is normal
        assert seen.events() == []
        assert Cameras(strange, [Plan(source(), of)]).run(6).events()[0]["peak"] in range(32, 64)
        elsewhere = Cameras({"a": endless({2: "0"})}, [masked]).run(6)
        assert elsewhere.events()[0]["peak"] in range(32, 48)


def test_an_event_names_the_zones_of_its_peak() -> None:
    zones = (Zone("door", CORNER), Zone("left", ((0, 0), (0.2, 0), (0.2, 1), (0, 1))), Zone("all", CORNER))
    plan = Plan(source(), analysis(), sight=Sight(zones=zones))
    seen = Cameras({"a": endless({1: "5", 6: "3", 11: "1"})}, [plan]).run(16)
    starts = [line["zones"] for line in seen.of("a", "event_start")]
    ends = [line["zones"] for line in seen.of("a", "event_end")]
    assert starts == ends == [["door", "all"], ["left"], []]
    without = Cameras({"a": endless({1: "5"})}, [Plan(source(), analysis())]).run(3)
    assert all("zones" not in line for line in without.events())


def test_zones_are_found_with_models_that_relate_snippets_too() -> None:
    plan = Plan(
        source(),
        analysis("max", EventRule(threshold=1e-6, shortest=0)),
        sight=Sight(zones=(Zone("x", CORNER),)),
    )
    seen = Cameras({"a": endless({0: "5"})}, [plan]).run(4)
    assert isinstance(seen.events()[0]["zones"], list)


def test_each_camera_has_its_own_threshold_and_model() -> None:
    shared = analysis()
    (score,) = {s for s in Cameras({"a": endless({0: "5"})}, [Plan(source(), shared)]).run(1).scores()[:1]}
    streams = {name: endless({0: "5"}) for name in ("a", "b", "c")}
    plans = [
        Plan(source("a"), shared, threshold=score - 0.01),
        Plan(source("b"), shared, threshold=min(1.0, score + 0.001)),
        Plan(source("c"), analysis("relation", EventRule(threshold=1.0)), threshold=None),
    ]
    seen = Cameras(streams, plans).run(4, "b")
    assert len(seen.of("a", "event_start")) == 1 and not seen.events("b") and not seen.events("c")
    assert seen.scores("a")[0] == seen.scores("b")[0] != seen.scores("c")[0]


def test_cameras_of_different_models_are_described_together() -> None:
    groups: list[int] = []

    def counted(snippets: Sequence[np.ndarray], wanted: object) -> list[ViewArrays]:
        groups.append(len(snippets))
        time.sleep(0.02)  # both are ready again after that
        return describe(snippets)

    models = [Analysis(made(kind), CPU, counted, QUICK) for kind in ("memory", "max")]
    plans = [Plan(source(name), of) for name, of in zip("ab", models, strict=True)]
    Cameras({"a": endless(), "b": endless()}, plans).run(8)
    assert 2 in groups


def test_an_event_is_cut_in_two_where_the_hours_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([False] * 3 + [True] * 100)
    monkeypatch.setattr(hours_module.Hours, "hold", lambda self, moment: next(held))
    plan = Plan(source(), analysis(), hours=Hours(()))
    seen = Cameras({"a": endless(dict.fromkeys(range(1, 6), "5"))}, [plan]).run(10)
    told = [(line["type"], line["alarm"], line["start"]) for line in seen.events()]
    assert told == [
        ("event_start", False, 16),
        ("event_end", False, 16),
        ("event_start", True, 48),
        ("event_end", True, 48),
    ]
    assert seen.of("a", "event_end")[0]["end"] == 48


def change(cameras: Cameras, after: int, plans: Sequence[Plan]) -> None:
    """Once camera a has so many scores, beside the watch as the command does."""
    changed = threading.Event()

    def on_line(line: Line) -> None:
        if len(cameras.scores()) >= after and not changed.is_set():
            changed.set()
            threading.Thread(target=cameras.watch.update, args=[plans]).start()

    cameras.on_line = on_line


def test_a_new_plan_leaves_other_cameras_alone() -> None:
    of, streams = analysis(), {name: endless() for name in "abc"}
    cameras = Cameras(streams, [Plan(source("a"), of), Plan(source("b"), of)])
    change(cameras, 3, [Plan(source("a"), of), Plan(source("c"), of)])
    cameras.run(40)
    assert sorted(cameras.opened) == ["a", "b", "c"]
    assert [line["type"] for line in cameras.of("a", "connected", "lost", "end", "dropped")] == ["connected"]
    frames = [line["frame"] for line in cameras.of("a", "score")]
    assert frames == list(range(0, 16 * len(frames), 16))
    (end,) = cameras.of("b", "end")
    assert end["error"] is None and end["note"] == "it is not watched any more"
    assert cameras.lines.index(end) == max(i for i, line in enumerate(cameras.lines) if line["camera"] == "b")
    assert cameras.of("c", "connected") and cameras.scores("c")
    assert [post.name for post in cameras.watch.posts] == ["a", "c"]


def test_a_new_threshold_mask_or_model_keeps_the_camera_open() -> None:
    of, streams = analysis(), {"a": endless(dict.fromkeys(range(100_000), "5"))}
    for new in (
        Plan(source(), of, threshold=0.99999),
        Plan(source(), of, sight=Sight((CORNER,))),
        Plan(source(), analysis("max", EventRule(threshold=1.0))),
    ):
        cameras = Cameras(streams, [Plan(source(), of)])
        change(cameras, 3, [new])
        cameras.run(40)
        assert cameras.opened == ["a"]
        kinds = [line["type"] for line in cameras.events()]
        assert kinds == ["event_start", "event_end"]
        frames = [line["frame"] for line in cameras.of("a", "score")]
        assert frames == list(range(0, 16 * len(frames), 16))
        assert cameras.of("a", "event_end")[0]["end"] < 16 * len(frames)


def test_new_zones_leave_alone_what_still_waits_for_its_score() -> None:
    """With a delay, the last snippet of before has no heat when its score comes."""
    of, streams = analysis(), {"a": endless(dict.fromkeys(range(100_000), "5"))}
    cameras = Cameras(streams, [Plan(source(), of)], delay=1)
    change(cameras, 3, [Plan(source(), of, sight=Sight(zones=(Zone("door", CORNER),)))])
    cameras.run(40)
    assert len(cameras.scores("a")) >= 40
    assert next(line["type"] for line in cameras.events()) == "event_start"


def test_another_address_is_opened_and_the_old_one_closed() -> None:
    """What was open of the old one ends, and numbers of events go on."""
    of = analysis()
    cameras = Cameras({"a": endless(dict.fromkeys(range(100_000), "5"))}, [Plan(source(), of)])
    other = Source("a", "rtsp://elsewhere/a", "stream")
    (post,) = cameras.watch.posts
    assert post.health
    post.health._told["out_of_focus"] = 0.0
    change(cameras, 3, [Plan(other, of)])
    cameras.run(20)
    assert cameras.opened == ["a", "a"]
    events = [(line["type"], line["event"]) for line in cameras.events()]
    assert events[:3] == [("event_start", 1), ("event_end", 1), ("event_start", 2)]
    (over,) = cameras.of("a", "health_end")
    assert over["health"] == "out_of_focus"
    kinds = [line["type"] for line in cameras.of("a", "connected", "end")]
    assert kinds == ["connected", "end", "connected"]
    assert cameras.of("a", "end")[0]["note"] == "its source is another now"


def test_a_new_file_that_is_no_video_changes_nothing() -> None:
    of = analysis()
    cameras = Cameras({"a": endless()}, [Plan(source(), of)])
    with pytest.raises(VideoError, match="nothing there"):
        cameras.watch.update([Plan(Source("x", "x.mp4", "file"), of)])
    assert [post.name for post in cameras.watch.posts] == ["a"]
    cameras.run(3)
