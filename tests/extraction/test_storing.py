"""Several videos at once on their way into a store: each whole or not there, whatever becomes of others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.folders import contents
from PIL import Image

from ssrl_pipeline.console.progress import Outcome, Progress
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError, VideoError
from ssrl_pipeline.extraction.stage import extract, extract_here
from ssrl_pipeline.extraction.start import _rule
from ssrl_pipeline.extraction.storing import Claimed, store_videos
from ssrl_pipeline.extractors import FeatureExtractor, Repeats, UnchangedRule, decoding, extractor
from ssrl_pipeline.extractors import reader as reading
from ssrl_pipeline.extractors.batcher import Feed
from ssrl_pipeline.extractors.decoding import Limits, Video, open_video
from ssrl_pipeline.extractors.engines.networks import Networks
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.features.opening import create_store, open_store
from ssrl_pipeline.features.video_files import FeatureWriter
from ssrl_pipeline.settings import ExtractSettings

LENGTHS = {"a.mp4": 20, "b.mp4": 70, "c.mp4": 5, "deep/a.mp4": 40}  # frames
SNIPPETS = {"a.mp4": 2, "b.mp4": 5, "c.mp4": 1, "deep/a.mp4": 3}


@pytest.fixture(scope="module")
def videos(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number, (name, frames) in enumerate(LENGTHS.items()):
        make_video(root / name, frames, size=(64 + 16 * number, 48))
    return root


@pytest.fixture
def quick() -> FeatureExtractor:
    """Features that are means of pixels: each tells its snippet, and none depends on its neighbours."""
    return quick_extractor()


def quick_extractor(**options: Any) -> FeatureExtractor:
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random", **options)

    class Means:
        name = "means"

        def __call__(self, clips):
            return clips.float().mean((1, 3, 4)).repeat(1, 64)

    extractor.networks.engines = dict.fromkeys((one.network for one in extractor.passes), Means())  # type: ignore
    return extractor


@pytest.fixture(scope="module")
def one_by_one(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one") / "features"
    extract(videos, root, quick_extractor())
    return root


class Watched(Progress):
    def __init__(self) -> None:
        self.started: list[str] = []
        self.at_once: list[int] = []
        self.snippets = 0

    def start(self, video: str) -> None:
        self.started.append(video)

    def snippet(self) -> None:
        self.snippets += 1
        self.at_once.append(sum(thread.name.startswith("reading") for thread in threading.enumerate()))


@pytest.mark.parametrize(("workers", "batch", "ahead"), [(1, 3, 0), (3, 1, 0), (2, 4, 1), (9, 50, 2)])
def test_the_store_is_the_same_however_many_are_worked_at(
    videos: Path, one_by_one: Path, tmp_path: Path, monkeypatch, workers: int, batch: int, ahead: int
) -> None:
    monkeypatch.setattr("ssrl_pipeline.extractors.extractor.AHEAD", ahead)
    watched = Watched()
    extractor = quick_extractor(batch=batch)
    _, outcomes = extract(
        videos, tmp_path / "features", extractor, begin=lambda plan: watched, place=extract_here(workers)
    )
    assert {o.video: (o.status, o.snippets) for o in outcomes} == {
        n: ("done", c) for n, c in SNIPPETS.items()
    }
    assert contents(tmp_path / "features") == contents(one_by_one)
    assert watched.started == ["b.mp4", "deep/a.mp4", "a.mp4", "c.mp4"]  # the longest first
    assert watched.snippets == sum(SNIPPETS.values())
    assert max(watched.at_once) <= workers
    assert threads() == 0


lent = partial(open_video, lend=True)


def threads() -> int:
    return sum(thread.name.startswith("reading") for thread in threading.enumerate())


def test_a_video_that_fails_costs_itself_alone(
    videos: Path, one_by_one: Path, quick: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = extractor.open_video

    def breaking(path: Path, *options: Any, **more: Any) -> Video:
        opened = real(path, *options, **more)
        if path == videos / "a.mp4":
            opened.frames = cut(opened.frames, path)
        return opened

    def cut(frames: Iterator[np.ndarray], path: Path) -> Iterator[np.ndarray]:
        for i, frame in enumerate(frames):
            if i == 18:
                raise VideoError(f"{path}: broken")
            yield frame

    monkeypatch.setattr(extractor, "open_video", breaking)
    quick.memory.batch = 3
    _, outcomes = extract(videos, tmp_path / "features", quick, place=extract_here(4))
    found = {outcome.video: outcome.status for outcome in outcomes}
    assert found == {"a.mp4": "failed", "b.mp4": "done", "c.mp4": "done", "deep/a.mp4": "done"}
    assert outcomes[0].reason == f"{videos / 'a.mp4'}: broken"
    expected = contents(one_by_one)
    for path, content in contents(tmp_path / "features").items():
        assert not path.startswith("a.mp4")
        if path.endswith(".npy"):
            assert content == expected[path], path


def test_a_video_that_cannot_be_described_costs_itself_alone(
    videos: Path, one_by_one: Path, quick: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snippets share groups with those of others; the error comes while a group is begun, or after."""
    begin = quick._run_all

    def refusing(snippets: Sequence[np.ndarray], wanted: Any, cut: Any) -> Any:
        if any(snippet.shape[2] == 80 for snippet in snippets):  # b.mp4
            raise PipelineError("too wide")
        return begin(snippets, wanted, cut)

    monkeypatch.setattr(quick, "_run_all", refusing)
    quick.memory.batch = 3
    for cutter in (quick._cutter, None):
        quick._cutter = cutter
        _, outcomes = extract(videos, tmp_path / f"features {cutter is None}", quick, place=extract_here(4))
        assert {o.video: o.reason for o in outcomes if o.status == "failed"} == {"b.mp4": "too wide"}
        expected = {name: data for name, data in contents(one_by_one).items() if not name.startswith("b.mp4")}
        assert contents(tmp_path / f"features {cutter is None}") == expected


def test_the_next_views_are_cut_while_the_network_works(
    videos: Path, quick: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, begun = quick._cut, threading.Semaphore(0)
    run, waits = Networks.__call__, iter([2])  # the second cut is begun before the first network ends

    def counted(snippets: Sequence[np.ndarray], wanted: Any) -> Any:
        begun.release()
        return cut(snippets, wanted)

    def late(networks: Networks, *arguments: Any) -> Any:
        for _ in range(next(waits, 0)):
            assert begun.acquire(timeout=60)
        return run(networks, *arguments)

    monkeypatch.setattr(quick, "_cut", counted)
    monkeypatch.setattr(Networks, "__call__", late)
    assert len(quick.from_video(videos / "b.mp4")["clip"]) == 5


def test_unchanged_clips_are_the_same_in_whatever_order_videos_are_read(videos: Path, tmp_path: Path) -> None:
    """And what was saved is kept beside the features."""
    rule = UnchangedRule(levels=8)
    stores = []
    for number, (workers, batch) in enumerate([(1, 1), (3, 1), (1, 4), (2, 3)]):
        root = tmp_path / str(number)
        made_by = quick_extractor(unchanged=rule, batch=batch)
        store, _ = extract(videos, root, made_by, place=extract_here(workers))
        stores.append(root)
    assert all(contents(root) == contents(stores[0]) for root in stores)
    repeated = Repeats.from_json(store.meta("b.mp4").repeats)
    assert repeated.clips == {"clip": 5, "patch2x3": 30}
    plain, _ = extract(videos, tmp_path / "plain", quick_extractor())
    assert plain.meta("b.mp4").repeats == {}
    with pytest.raises(StoreError, match="recipes differ in unchanged"):
        extract(videos, tmp_path / "plain", quick_extractor(unchanged=rule))


def test_a_store_keeps_to_its_rule_of_unchanged_clips(tmp_path: Path) -> None:
    """Also to that of one which was made when descriptions had no end by time."""
    recipe = quick_extractor(unchanged=UnchangedRule()).recipe
    del recipe["unchanged"]["seconds"]
    create_store(tmp_path / "older", recipe)
    for unchanged in ("auto", "repeat"):
        rule = _rule(ExtractSettings(unchanged=unchanged), tmp_path / "older")
        assert rule and rule.in_recipe() == recipe["unchanged"]
    assert _rule(ExtractSettings(unchanged="repeat"), tmp_path / "new") == UnchangedRule()
    assert _rule(ExtractSettings(unchanged="describe"), tmp_path / "older") is None


@pytest.mark.parametrize("error", [PipelineError, OSError])
def test_a_writer_that_fails_ends_its_video_alone(
    videos: Path, quick: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type
) -> None:
    append = FeatureWriter.append

    def fail(writer: FeatureWriter, features: ViewArrays) -> None:
        if next(iter(writer._writers.values())).rows == 4:  # the longest alone comes that far
            raise error("no more")
        append(writer, features)

    monkeypatch.setattr(FeatureWriter, "append", fail)
    store, outcomes = extract(videos, tmp_path / "features", quick, place=extract_here(2))
    assert [(o.video, o.reason) for o in outcomes if o.status == "failed"] == [("b.mp4", "no more")]
    assert store.videos() == ["a.mp4", "c.mp4", "deep/a.mp4"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, DiskError])
def test_an_end_in_the_middle_leaves_whole_videos_alone(
    videos: Path, quick: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type
) -> None:
    class Ending(Progress):
        left = 6

        def snippet(self) -> None:
            self.left -= 1
            if not self.left:
                raise error

    with pytest.raises(error):
        extract(videos, tmp_path / "features", quick, begin=lambda plan: Ending(), place=extract_here(4))
    assert threads() == 0
    left = [path.name for path in (tmp_path / "features").rglob(".*")]
    assert left == []  # no scratch, no lock
    store = open_store(tmp_path / "features")
    for name in store.videos():
        assert store.read(name)["clip"].shape[0] == SNIPPETS[name]


def test_what_another_stored_meanwhile_is_skipped(
    videos: Path, one_by_one: Path, quick: FeatureExtractor
) -> None:
    before = contents(one_by_one)
    store = open_store(one_by_one)
    claimed = [None, Claimed("a.mp4", videos / "a.mp4", ExitStack()), None]
    assert store_videos(claimed, store, quick, workers=2) == {"a.mp4": Outcome("a.mp4", "skipped", 2)}
    assert contents(one_by_one) == before


class Kept:
    """A job that keeps its features."""

    def __init__(self, path: Path):
        self.path, self.rows = path, []

    def write(self, features: ViewArrays) -> None:
        self.rows.append(features)


@pytest.mark.parametrize("fake", ["hang_at_once", "hang_later"])
def test_a_decoder_that_hangs_keeps_nobody_waiting(
    videos: Path, monkeypatch: pytest.MonkeyPatch, fake: str
) -> None:
    real = decoding.video._open

    def other(path: Path, task: dict[str, Any], *more: Any) -> Video:
        return real(
            path, task | {"open": f"helpers.fake_decoders:{fake}"} if path.name == "c.mp4" else task, *more
        )

    monkeypatch.setattr(decoding.video, "_open", other)

    def describe(frames: Sequence[np.ndarray], wanted: object) -> Callable[[], list[ViewArrays]]:
        return lambda: [{"mean": snippet.mean(keepdims=True)} for snippet in frames]

    jobs = [Kept(videos / name) for name in ("c.mp4", "a.mp4", "b.mp4", "deep/a.mp4")]
    run = Feed(describe, lent, videos=2).run(iter(jobs))
    ended = [next(run)[0].path for _ in range(3)]
    assert [path.name for path in ended] == ["a.mp4", "b.mp4", "a.mp4"]
    run.close()  # at once, though it hangs
    assert threads() == 0


def test_no_more_frames_wait_than_there_is_room_for(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 16 * 64 * 48 * 3
    monkeypatch.setattr(reading, "GROUP_BYTES", 2 * size)
    groups: list[int] = []

    def describe(frames: Sequence[np.ndarray], wanted: object) -> Callable[[], list[ViewArrays]]:
        groups.append(len(frames))
        return lambda: [{"mean": snippet.mean(keepdims=True)} for snippet in frames]

    job = Kept(videos / "a.mp4")
    other = Kept(videos / "a.mp4")
    assert len(list(Feed(describe, lent, videos=2, batch=lambda: 8).run([job, other]))) == 2
    assert max(groups) == 2 and sum(groups) == 4
    assert [len(job.rows), len(other.rows)] == [2, 2]


@pytest.mark.parametrize(("batch", "ahead"), [(50, 0), (1, 9)])
def test_what_is_under_way_of_a_decoder_that_fails_is_dropped(
    videos: Path, monkeypatch: pytest.MonkeyPatch, batch: int, ahead: int
) -> None:
    real = extractor.open_video

    def breaking(path: Path, *options: Any, **more: Any) -> Video:
        opened = real(path, *options, **more)
        if path.name == "b.mp4":
            opened.frames = cut(opened.frames)
        return opened

    def cut(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        yield from (next(frames) for _ in range(18))
        raise VideoError("broken")

    def describe(frames: Sequence[np.ndarray], wanted: object) -> Callable[[], list[ViewArrays]]:
        return lambda: [{"mean": snippet.mean(keepdims=True)} for snippet in frames]

    whole, broken = Kept(videos / "a.mp4"), Kept(videos / "b.mp4")
    feed = Feed(describe, breaking, batch=lambda: batch, ahead=ahead)
    ended = {job.path.name: str(result) for job, result in feed.run([broken, whole])}
    assert ended["b.mp4"] == "broken" and len(ended) == 2
    assert (len(whole.rows), broken.rows) == (2, [])


def test_pillow_resizes_in_the_threads_that_read_and_the_pixels_are_the_same(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor("i3d", "gowtham", device="cpu", weights="random", batch=2)
    seen: list[np.ndarray] = []

    class Pixels:
        name = "pixels"

        def __call__(self, clips: torch.Tensor) -> torch.Tensor:
            seen.extend(clips.numpy())
            return torch.zeros(len(clips), 1024)

    extractor.networks.engines = {extractor.passes[0].network: Pixels()}  # type: ignore[dict-item]
    threads: list[str] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, *arguments: Any) -> Image.Image:
        threads.append(threading.current_thread().name)
        return resize(image, *arguments)

    monkeypatch.setattr(Image.Image, "resize", watched)
    extractor.from_video(videos / "b.mp4")
    assert threads == ["reading b.mp4"] * 64  # of 70 frames, whose last six are no snippet of this preset

    with open_video(videos / "b.mp4") as video:
        frames = list(video.frames)
    small = [np.asarray(resize(Image.fromarray(f), (340, 256), Image.Resampling.LANCZOS)) for f in frames]
    for number in range(4):
        corner = np.stack(small[16 * number : 16 * number + 16])[:, :224, :224]
        np.testing.assert_array_equal(seen[10 * number].transpose(1, 2, 3, 0), corner)
    assert len(seen) == 40


def test_a_snippet_is_written_once_into_the_memory_that_goes_to_the_device(
    videos: Path, quick: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the thread that reads, not the main one."""
    given: dict[int, str] = {}
    empty, sent = quick._transfer.empty, []

    def noted(shape: tuple[int, ...]) -> np.ndarray:
        array = empty(shape)
        given[array.ctypes.data] = threading.current_thread().name
        return array

    def up(frames: torch.Tensor) -> torch.Tensor:
        sent.append(given[frames.data_ptr()])
        return frames

    monkeypatch.setattr(quick._transfer, "empty", noted)
    monkeypatch.setattr(quick._transfer, "up", up)
    quick.from_video(videos / "b.mp4")
    assert sent == ["reading b.mp4"] * 5


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_decoders_share_the_cores(
    videos: Path, quick: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    real, threads = extractor.open_video, []

    def noted(path: Path, limits: Limits, *options: Any, **more: Any) -> Video:
        threads.append(limits.threads)
        return real(path, limits, *options, **more)

    monkeypatch.setattr(extractor, "open_video", noted)
    extract(videos, tmp_path / "features", quick, place=extract_here(workers))
    assert set(threads) == {{1: 4, 2: 2, 5: 1}[workers]}
