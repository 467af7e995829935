"""Cameras and streams scored as they come, for as long as they do.

    ssrl-pipeline watch rtsp://gate/stream yard.mp4 0 --checkpoint runs/x/best.pt

A snippet is scored among the latest of its camera (:mod:`ssrl_pipeline.models.live_window`).
Snippets of several cameras that are ready at the same time are described together, some at a time. The window
begins anew where a stream was lost: what comes after is no neighbour of what was. It is kept
where snippets were dropped because the model is slower than the camera: it would never fill.

Dimensions: B cameras, P crops or patches, F feature size.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import torch

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import VIEW, EventNews, EventRule, EventStream, RecentWords, WordTeller
from ssrl_pipeline.extraction import slow_videos
from ssrl_pipeline.extractors import (
    Pending,
    Unchanged,
    ViewArrays,
    Wanted,
    describe_all,
    is_full,
    tell_repeats,
)
from ssrl_pipeline.models import Detector, Window, WindowScorer
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.camera import (
    Camera,
    Connected,
    Dropped,
    Ended,
    Item,
    Lost,
    Opener,
    Snippet,
    open_source,
)
from ssrl_pipeline.watching.sources import Source

Line = dict[str, Any]
# What is wanted of snippets uint8 [16, H, W, 3].
Describe = Callable[[Sequence[np.ndarray], Sequence[Wanted]], Sequence[ViewArrays]]
TOGETHER = 16  # snippets of different cameras that are described at once
DECODING = 4  # threads at most that decode a camera; each but the first may hold a frame back
POLL = 0.5  # seconds after which a stop is noticed
ENDING = 3.0  # seconds that threads get to end
SAY_AGAIN = 60.0  # seconds from one word to people of dropped frames to the next


@dataclass
class Post:
    """One camera's state. Numbers only ever grow, in integers without end; nothing else does."""

    camera: Camera
    window: Window
    events: EventStream
    unchanged: Unchanged
    live: bool = True
    zero: float = 0.0  # time.monotonic() where time_s is 0
    ended: bool = False
    failed: bool = False
    connected: bool = False
    snippets: int = 0
    dropped: int = 0  # frames
    untold: int = 0  # of these, frames that people were not told of
    told_at: float = float("-inf")
    told_slow: bool = False  # that it sends fewer frames a second than are described
    reconnects: int = 0
    event: int = 0
    score: float | None = None
    behind_s: float = 0.0  # from the last frame of the newest scored snippet until it was scored

    def __post_init__(self) -> None:
        self.due: deque[Snippet | Dropped] = (
            deque()
        )  # described and without a score, at most delay + 1; drops
        self.words = RecentWords()

    @property
    def name(self) -> str:
        return self.camera.source.name


@dataclass(frozen=True)
class Analysis:
    """How snippets become scores, and scores events."""

    model: Detector  # on `device` and in evaluation mode
    device: torch.device
    describe: Describe  # whose features are of the recipe that the model was trained on
    rule: EventRule
    drop_last: bool = False  # the preset leaves out a recording's incomplete last snippet
    pending: Callable[[], Pending] = Pending  # where a camera's snippets fill up, for `describe`
    unchanged: Callable[[], Unchanged] = describe_all  # decides what is wanted of a camera's
    chosen_fps: float | None = None  # frames a second that are described (extractors/rate.py); None: all
    teller: WordTeller | None = None  # of the words of events; None: they have none


class Watch:
    """Scores sources until all have ended or it is stopped.

    Args:
        sources: of different names.
        analysis: of their snippets, whose sizes may differ.
        settings: window, delay and the like.
        tell: takes each line of the result, in the order of each camera's frames.
        say: takes a line for people.
        opener: as of a camera; none given, it decodes with no more threads than are its share.

    Raises:
        VideoError: from :meth:`run`, a file is no video.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        analysis: Analysis,
        settings: WatchSettings,
        tell: Callable[[Line], object],
        say: Callable[[str], object],
        opener: Opener | None = None,
    ):
        self._analysis, self._tell, self._say = analysis, tell, say
        self._scorer = WindowScorer(analysis.model, analysis.device, settings.window, settings.delay)
        self._ready = threading.Condition()
        threads = max(1, min(DECODING, torch.get_num_threads() // max(1, len(sources))))
        opener = opener or partial(open_source, threads=threads)
        reads = (settings, analysis.drop_last, opener, analysis.pending, analysis.chosen_fps)
        self.posts = [
            Post(
                Camera(source, self._ready, *reads),
                self._scorer.window(),
                EventStream(analysis.rule),
                analysis.unchanged(),
            )
            for source in sources
        ]

    def run(self, stop: threading.Event) -> list[str]:
        """Returns the names of recordings that could not be read to their end."""
        try:
            for post in self.posts:
                post.camera.start()
            while not stop.is_set() and not all(post.ended for post in self.posts):
                self._round()
            for post in self.posts:  # those that were stopped: their open events end here
                self._finish(post)
            if told := tell_repeats(post.unchanged.repeats for post in self.posts):
                self._say(told)
        finally:
            for post in self.posts:
                post.camera.stop()
            end = time.monotonic() + ENDING
            for post in self.posts:
                post.camera.join(max(0.0, end - time.monotonic()))
        return [post.name for post in self.posts if post.failed]

    def _round(self) -> None:
        """One snippet at most of each camera: none waits for another camera's second."""
        with self._ready:
            self._ready.wait_for(lambda: any(post.camera.waiting() for post in self.posts), POLL)
        group: list[tuple[Post, Snippet]] = []
        for post in self.posts:
            for item in post.camera.take():
                if not isinstance(item, Snippet):
                    self._note(post, item)
                    continue
                group.append((post, item))
                if is_full([snippet.images for _, snippet in group], TOGETHER):
                    self._score(group)
                    group = []
        if group:
            self._score(group)

    def _score(self, group: Sequence[tuple[Post, Snippet]]) -> None:
        wanted = [post.unchanged.decide(snippet.images) for post, snippet in group]
        described = self._analysis.describe([snippet.images for _, snippet in group], wanted)
        described = [
            post.unchanged.complete(features, of)
            for (post, _), features, of in zip(group, described, wanted, strict=True)
        ]
        views = {
            name: torch.from_numpy(np.concatenate([features[name] for features in described]))
            for name in self._analysis.model.views
        }  # [B, P, F]
        scores = self._scorer.add([post.window for post, _ in group], views)
        for (post, snippet), seen in zip(group, described, strict=True):
            if self._analysis.teller:
                post.words.add(snippet.frame, self._analysis.teller.of(torch.from_numpy(seen[VIEW])))
        for (post, snippet), score in zip(group, scores, strict=True):
            post.due.append(snippet._replace(images=snippet.images[:0]))  # the pictures are done with
            post.snippets += 1
            if score is not None:
                self._tell_score(post, score)

    def _tell_score(self, post: Post, score: float) -> None:
        snippet = post.due.popleft()
        assert isinstance(snippet, Snippet)
        post.score, post.behind_s = score, time.monotonic() - snippet.clock
        try:
            news = post.events.add(
                score, snippet.times.starts(snippet.frames), snippet.times.ends(snippet.frames)
            )
        except PipelineError as error:
            raise PipelineError(f"{post.name}: {error}") from error
        place = {"frame": snippet.frame, "frames": snippet.frames}
        self._tell({"type": "score", "camera": post.name, **place, **_times(post, snippet), "score": score})
        self._tell_events(post, news)
        while post.due and isinstance(post.due[0], Dropped):
            self._tell_events(post, post.events.skip(post.due.popleft().frames))

    def _tell_events(self, post: Post, news: Sequence[EventNews]) -> None:
        for kind, found in news:
            event = post.words.of(found)
            post.event += kind == "event_start"
            line: Line = {"type": kind, "camera": post.name, "event": post.event}
            ends = ("start", "peak") if kind == "event_start" else ("start", "end", "peak")
            line |= {name: getattr(event, name) for name in ends}
            line |= {f"{name}_s": _rounded(getattr(event, f"{name}_s")) for name in ends}
            line |= {f"{name}_time": _utc(post, getattr(event, f"{name}_s")) for name in ends}
            line["peak_score"] = event.peak_score
            if kind == "event_end":
                line["mean_score"] = event.mean_score
            if self._analysis.teller:
                line |= {"words": list(event.words), "patch": event.patch or None}
            self._tell(line)
        post.words.forget(post.events.since)

    def _note(self, post: Post, item: Item) -> None:
        """What happened beside the snippets, in its place among them."""
        if isinstance(item, Connected):
            self._connect(post, item)
        elif isinstance(item, Dropped):
            self._drop(post, item)
        elif isinstance(item, Lost):
            self._finish(post)
            again = post.connected
            post.connected = False
            times = _times(post, item) if again else {"time": None, "time_s": None}
            line = {"type": "lost", "camera": post.name, "frame": item.frames}
            self._tell({**line, **times, "reason": item.reason})
            self._say(f"{post.name}: {'lost' if again else 'not there'}, {item.reason}; trying again")
        elif isinstance(item, Ended):
            self._finish(post)
            post.ended, post.failed = True, item.error is not None
            line = {"type": "end", "camera": post.name, "frames": item.frames, "error": item.error}
            self._tell(line | ({"note": item.note} if item.note else {}))
            if item.error or item.note:
                self._say(f"{post.name}: {item.error or item.note}")

    def _connect(self, post: Post, item: Connected) -> None:
        post.live, post.zero, post.connected = item.live, item.zero, True
        post.events = EventStream(self._analysis.rule, item.frame)
        post.unchanged.restart()
        post.reconnects += item.gap_s is not None
        size = {"fps": round(item.fps, 3) or None, "width": item.width, "height": item.height}
        self._tell(
            {
                "type": "connected",
                "camera": post.name,
                "frame": item.frame,
                "gap_s": _rounded(item.gap_s),
                **size,
            }
        )
        after = "" if item.gap_s is None else f" after {item.gap_s:.1f} seconds"
        rate = f"{item.fps:.4g} frames a second" if item.fps else "one frame so far"
        self._say(f"{post.name}: connected{after}, {item.width}x{item.height}, {rate}")
        slow = slow_videos({post.name: item.fps}, self._analysis.chosen_fps or 0.0)
        if slow and not post.told_slow:
            self._say(slow)
            post.told_slow = True

    def _drop(self, post: Post, item: Dropped) -> None:
        post.dropped += item.frames
        post.untold += item.frames
        place = {"frame": item.frame, "frames": item.frames}
        line = {"type": "dropped", "camera": post.name, **place, **_times(post, item), "reason": item.reason}
        self._tell(line)
        if time.monotonic() - post.told_at >= SAY_AGAIN:
            self._say(f"{post.name}: {post.untold} frames dropped, {item.reason}")
            post.told_at, post.untold = time.monotonic(), 0
        if post.due:
            post.due.append(item)
        else:
            self._tell_events(post, post.events.skip(item.frames))

    def _finish(self, post: Post) -> None:
        """No neighbour follows: what waits is scored among what there is, and an open event ends."""
        for score in self._scorer.finish(post.window):
            self._tell_score(post, score)
        self._tell_events(post, post.events.finish())
        post.due.clear()


def _times(post: Post, item: Snippet | Dropped | Lost) -> Line:
    return {"time": _utc(post, item.time_s), "time_s": _rounded(item.time_s)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _utc(post: Post, time_s: float | None) -> str | None:
    """The wall clock's time at a position of a live stream, ISO 8601; recordings have none."""
    if time_s is None or not post.live:
        return None
    ago = time.monotonic() - (post.zero + time_s)
    moment = datetime.fromtimestamp(time.time() - ago, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
