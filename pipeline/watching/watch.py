"""Cameras and streams scored as they come, for as long as they do.

    ssrl-pipeline watch rtsp://gate/stream yard.mp4 0 --checkpoint runs/x/best.pt

A snippet is scored among the latest of its camera (:mod:`ssrl_pipeline.models.live_window`).
Snippets of several cameras that are ready at the same time are described together, some at a time. On a CPU,
snippets in which nothing has changed are scored meanwhile: a quiet camera waits for no busy one. The window
begins anew where a stream was lost: what comes after is no neighbour of what was. It is kept
where snippets were dropped because the model is slower than the camera: it would never fill.

Dimensions: B cameras, P crops or patches, F feature size.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.extractors import Repeats, ViewArrays, Wanted, is_full, tell_repeats
from ssrl_pipeline.extractors.decoding import Keep, Recordings
from ssrl_pipeline.models import WindowScorer
from ssrl_pipeline.settings import WatchSettings
from ssrl_pipeline.watching.camera import Camera, Opener, Snippet, open_source
from ssrl_pipeline.watching.health import Health
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.post import Line, Post

TOGETHER = 16  # snippets of different cameras that are described at once
DECODING = 4  # threads at most that decode a camera; each but the first may hold a frame back
POLL = 0.5  # seconds after which a stop is noticed
ENDING = 3.0  # seconds that threads get to end
SETTLING = 5.0  # seconds that clips get to be whole
See = Callable[[str, np.ndarray], object]


class Taken(NamedTuple):
    """A snippet, and what of it is to be described."""

    post: Post
    snippet: Snippet
    shown: np.ndarray  # its pictures without what is masked
    wanted: Wanted


class Watch:
    """Scores sources until all have ended or it is stopped.

    Args:
        plans: of sources of different names; the sizes of their frames may differ.
        settings: window, delay and the like.
        tell: takes each line of the result, in the order of each camera's frames.
        say: takes a line for people.
        opener: as of a camera; none given, it decodes with no more threads than are its share.
        keep: of each camera's packets, for its :attr:`Camera.recordings`; None: nothing.
        see: takes a camera's name and the last frame of each of its snippets, RGB, uint8 [H, W, 3], whose
            memory is used again.

    Raises:
        VideoError: from :meth:`run`, a file is no video.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        settings: WatchSettings,
        tell: Callable[[Line], object],
        say: Callable[[str], object],
        opener: Opener | None = None,
        keep: Keep | None = None,
        see: See | None = None,
    ):
        self._settings, self._tell, self._say, self._see = settings, tell, say, see
        self._scorers: dict[Analysis, WindowScorer] = {}
        self._ready = threading.Condition()
        threads = max(1, min(DECODING, torch.get_num_threads() // max(1, len(plans))))
        self._open = partial(open_source, threads=threads, keep=keep, hwaccel=settings.hwaccel)
        self._opener, self._keep = opener, keep
        self._next: list[tuple[Plan, Post | None]] | None = None  # what is watched from the next round on
        self._left: list[Camera] = []  # that are not watched any more
        self._repeats = Repeats()  # of these
        self._held: list[Taken] = []  # to be described next
        self._under_way: tuple[list[Taken], Future[Sequence[ViewArrays]]] | None = None
        self._describer = ThreadPoolExecutor(1, "describing")
        self.posts = [self._post(plan) for plan in plans]

    def _post(self, plan: Plan) -> Post:
        drop_last, pending, chosen_fps = plan.analysis.reading
        # A rate that is given tells another time of each frame than the decoder knows.
        opener = self._opener or partial(self._open, rate=None if self._settings.fps else chosen_fps)
        camera = Camera(
            plan.source, self._ready, self._settings, drop_last, opener, pending, chosen_fps, self._keep
        )
        post = Post(camera, plan, self._scorer(plan), self._tell, self._say)
        post.health = Health() if self._settings.health else None
        return post

    def _scorer(self, plan: Plan) -> WindowScorer:
        """One for all cameras of an analysis."""
        of, settings = plan.analysis, self._settings
        if of not in self._scorers:
            self._scorers[of] = WindowScorer(of.model, of.device, settings.window, settings.delay)
        return self._scorers[of]

    def update(self, plans: Sequence[Plan]) -> None:
        """Watches these from the next round on; to be called from another thread than :meth:`run`'s.

        A camera whose source is watched already, and read in the same way, stays open, whatever else is
        new of it; events that go on end where their rule changes.

        Raises:
            VideoError: a new file is no video; nothing changes.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._next is None)
        known = {(post.plan.source, post.plan.analysis.reading) for post in self.posts}
        fresh = {
            plan: self._post(plan) for plan in plans if (plan.source, plan.analysis.reading) not in known
        }
        started: list[Post] = []
        try:
            for post in fresh.values():
                post.camera.start()
                started.append(post)
        except PipelineError:
            for post in started:
                post.camera.stop()
            raise
        with self._ready:
            self._next = [(plan, fresh.get(plan)) for plan in plans]
            self._ready.notify_all()

    def run(self, stop: threading.Event) -> list[str]:
        """Returns the names of recordings that could not be read to their end."""
        try:
            for post in self.posts:
                post.camera.start()
            while not stop.is_set() and not all(post.ended for post in self.posts):
                self._round()
            self._complete()
            for post in self.posts:  # those that were stopped: their open events end here
                post.finish()
            if told := tell_repeats([self._repeats, *(post.unchanged.repeats for post in self.posts)]):
                self._say(told)
            _settle([post.camera for post in self.posts])
        finally:
            cameras = [*self._left, *(post.camera for post in self.posts)]
            for camera in cameras:
                camera.stop()
            end = time.monotonic() + ENDING
            for camera in cameras:
                camera.join(max(0.0, end - time.monotonic()))
            self._describer.shutdown()
        return [post.name for post in self.posts if post.failed]

    def recordings(self, camera: str) -> Recordings | None:
        """What is asked for a camera's clips; None where there is no such camera."""
        return next((post.camera.recordings for post in self.posts if post.name == camera), None)

    def _round(self) -> None:
        """One snippet at most of each camera: none waits for another camera's second."""
        with self._ready:
            self._ready.wait_for(self._has_work, POLL)
        if self._under_way and self._under_way[1].done():
            self._complete()
        if self._next is not None:
            self._describe_held()  # by the plans that hold until now
            self._change(self._next)
            with self._ready:
                self._next = None
                self._ready.notify_all()
        quiet: list[Taken] = []
        for post in sorted(self.posts, key=lambda post: post.taken_at):  # those that were left out come first
            post.look_after_the_connection()
            for item in post.camera.take() if self._may_take(post) else ():
                if not isinstance(item, Snippet):
                    post.note(item)
                    continue
                if self._see:
                    self._see(post.name, item.images[-1])
                if post.is_blind(item):
                    continue
                shown = post.plan.sight.cover(item.images)
                taken = Taken(post, item, shown, post.unchanged.decide(shown, item.time_s))
                post.still = not taken.wanted.anything
                if not post.still:
                    self._held.append(taken)
                    post.busy, post.taken_at = True, time.monotonic()
                    continue
                quiet.append(taken)
                if is_full([other.shown for other in quiet], TOGETHER):
                    self._add_at_once(quiet)
                    quiet = []
        self._add_at_once(quiet)
        if not self._under_way:
            self._begin()

    def _has_work(self) -> bool:
        """`ready` is held."""
        described = self._under_way[1].done() if self._under_way else bool(self._held)
        waiting = (self._may_take(post) and post.camera.waiting() for post in self.posts)
        return bool(self._next) or described or any(waiting)

    def _may_take(self, post: Post) -> bool:
        """Busy cameras wait for each other, with no more snippets in memory than are described at once."""
        room = not self._held or not is_full([taken.shown for taken in self._held], TOGETHER)
        return not post.busy and (room or post.still)

    def _add_at_once(self, taken: Sequence[Taken]) -> None:
        while taken:
            group, taken = _split(taken)
            self._add(group, _describe(group))

    def _begin(self) -> None:
        """To describe what is held, in a thread on a CPU. A GPU's switches and streams are one thread's."""
        if not self._held:
            return
        group, self._held = _split(self._held)
        if group[0].post.plan.analysis.device.type != "cpu":
            self._add_at_once(group)
            return
        described = self._describer.submit(_describe, group)
        self._under_way = group, described
        described.add_done_callback(self._wake)

    def _wake(self, _: object) -> None:
        with self._ready:
            self._ready.notify_all()

    def _complete(self) -> None:
        """What is being described, once it is."""
        if self._under_way:
            group, described = self._under_way
            self._under_way = None
            self._add(group, described.result())

    def _describe_held(self) -> None:
        while self._under_way or self._held:
            self._complete()
            self._begin()

    def _change(self, plans: Sequence[tuple[Plan, Post | None]]) -> None:
        before = {(post.plan.source, post.plan.analysis.reading): post for post in self.posts}
        now = []
        for plan, fresh in plans:
            post = fresh or before.pop((plan.source, plan.analysis.reading))
            if post.plan != plan:
                post.alter(plan, self._scorer(plan))
            now.append(post)
        named = {post.name: post for post in now}
        for post in before.values():
            post.part()
            self._repeats.add(post.unchanged.repeats)
            if other := named.get(post.name):
                other.event = max(other.event, post.event)  # numbers of events go on
            self._left = [camera for camera in self._left if not camera.join(0)] + [post.camera]
            threading.Thread(target=_leave, args=(post.camera,), daemon=True).start()
            if not post.ended:
                note = "its source is another now" if other else "it is not watched any more"
                line = {"type": "end", "camera": post.name, "frames": post.camera.frames, "error": None}
                self._tell(line | {"note": note})
                self._say(f"{post.name}: {note}")
        self.posts[:] = now
        self._scorers = {post.plan.analysis: post.scorer for post in now}

    def _add(self, group: Sequence[Taken], described: Sequence[ViewArrays]) -> None:
        """Snippets that were described in the same way, for whichever models."""
        parts: dict[Analysis, list[tuple[Post, Snippet, ViewArrays]]] = {}
        for (post, snippet, _, wanted), features in zip(group, described, strict=True):
            seen = post.unchanged.complete(features, wanted)
            parts.setdefault(post.plan.analysis, []).append((post, snippet, seen))
            post.busy = False
        for analysis, part in parts.items():
            self._score(analysis, part)

    def _score(self, analysis: Analysis, group: Sequence[tuple[Post, Snippet, ViewArrays]]) -> None:
        posts, sizes = [post for post, _, _ in group], analysis.model.views
        views = {
            name: torch.from_numpy(np.concatenate([seen[name] for _, _, seen in group])) for name in sizes
        }  # [B, P, F]
        hidden = _hidden([post.plan for post in posts])
        scores = posts[0].scorer.add([post.window for post in posts], views, hidden)
        for (post, snippet, seen), score in zip(group, scores, strict=True):
            post.add(snippet, seen)
            if score is not None:
                post.tell_score(score)


def _split(taken: Sequence[Taken]) -> tuple[list[Taken], list[Taken]]:
    """Those that are described together with the first, and the rest."""
    group: list[Taken] = []
    rest: list[Taken] = []
    for one in taken:
        same = one.post.plan.analysis.describe == taken[0].post.plan.analysis.describe
        fits = same and not (group and is_full([other.shown for other in group], TOGETHER))
        (group if fits else rest).append(one)
    return group, rest


def _describe(group: Sequence[Taken]) -> Sequence[ViewArrays]:
    describe = group[0].post.plan.analysis.describe
    return describe([taken.shown for taken in group], [taken.wanted for taken in group])


def _settle(cameras: Sequence[Camera]) -> None:
    """Ends the clips of all cameras where they are, and waits a little until they are whole."""
    for camera in cameras:
        camera.recordings.end()
    end = time.monotonic() + SETTLING
    for camera in cameras:
        camera.recordings.wait(end)


def _leave(camera: Camera) -> None:
    """The clip of an event that has just ended is made whole first."""
    _settle([camera])
    camera.stop()


def _hidden(plans: Sequence[Plan]) -> dict[str, Tensor]:
    """View -> bool [B, P], the patches of each camera that do not count, where any camera has such."""
    sizes = plans[0].analysis.model.views
    own = [plan.sight.hidden(sizes) for plan in plans]
    return {
        name: torch.from_numpy(np.stack([one.get(name, np.zeros(sizes[name], bool)) for one in own]))
        for name in set().union(*own)
    }
