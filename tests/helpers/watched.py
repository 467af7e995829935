"""Cameras whose frames are made up, watched in this process."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock
from urllib.request import urlopen

import cv2
import numpy as np
import torch
from live_stream import mark, read_mark
from prometheus_client.parser import text_string_to_metric_families

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.events.words import Usual
from ssrl_pipeline.extractors.backbones import ActionHead
from ssrl_pipeline.extractors.decoding import VideoInfo
from ssrl_pipeline.extractors.reader import ViewArrays
from ssrl_pipeline.extractors.snippets import Pending
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching import camera, watch
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.sources import Source
from ssrl_pipeline.watching.watch import Line, Watch

CPU = torch.device("cpu")
F = 16
SIZE = (320, 32)


def picture(number: int) -> np.ndarray:
    """A frame of a live stream: noise that is its number's own, and the number."""
    noise = np.random.default_rng(number // 8).integers(0, 256, (2, 10, 3), np.uint8)
    return mark(cv2.resize(noise, SIZE), number)


class Given:
    """A source's frames, given once nothing waits to be taken."""

    codec, hardware = "made up", ""
    busy: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(self, frames: Iterator[np.ndarray], info: VideoInfo):
        self.info, self.time = info, 0.0
        self.frames = self._read(frames)

    def _read(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for count, frame in enumerate(frames):
            while self.busy():
                time.sleep(0.001)
            self.time = count / self.info.fps
            yield frame

    def damage(self) -> str:
        return ""

    def __enter__(self) -> "Given":
        return self

    def __exit__(self, *error: object) -> None:
        self.frames.close()


class Fake(Given):
    """Pictures of a live stream.

    Args:
        numbers: of the frames.
        fps: by their times.
        length: that a recording says to have; what ends before it is cut short. 0: a stream.
        after: called after the last.
    """

    def __init__(
        self, numbers: Iterable[int], fps: float = 10.0, length: int = 0, after: Callable[[], object] = int
    ):
        super().__init__(_pictures(numbers, length, after), VideoInfo(fps, *SIZE, length))


def _pictures(numbers: Iterable[int], length: int, after: Callable[[], object]) -> Iterator[np.ndarray]:
    count = 0
    for number in numbers:
        count += 1
        yield picture(number)
    after()
    if count < length:
        raise VideoError(f"truncated after {count} of {length} frames")


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
            with mock.patch.object(camera, "FIRST_WAIT", 0.01):
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


def stream(name: str = "a") -> Source:
    return Source(name, "rtsp://user:secret@nowhere/x", "stream")


def fetch_metrics(posts: Sequence[watch.Post]) -> dict[tuple[str, str], float]:
    """(name, camera) -> value, as Prometheus reads them."""
    with ExitStack() as stack:
        port = stack.enter_context(serve_metrics(posts, "127.0.0.1", 0))
        answer = stack.enter_context(urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30))
        text = answer.read().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {(sample.name, sample.labels["camera"]): sample.value for sample in samples}
