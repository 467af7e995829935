"""One camera that is watched: its state, and what is told of it in the order of its frames."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import PLACES, VIEW, Event, EventNews, EventStream, RecentWords
from ssrl_pipeline.extraction import slow_videos
from ssrl_pipeline.extractors import ViewArrays
from ssrl_pipeline.models import WindowScorer
from ssrl_pipeline.watching.camera import Camera, Connected, Dropped, Ended, Item, Lost, Snippet
from ssrl_pipeline.watching.health import SAID, Health, News
from ssrl_pipeline.watching.places import RecentHeat
from ssrl_pipeline.watching.plan import Plan

Line = dict[str, Any]
SAY_AGAIN = 60.0  # seconds from one word to people of dropped frames to the next


@dataclass
class Post:
    """One camera's state. Numbers only ever grow, in integers without end; nothing else does.

    Args:
        scorer: of the plan's model, shared by all its cameras.
        tell: takes each line of the result.
        say: takes a line for people.
    """

    camera: Camera
    plan: Plan
    scorer: WindowScorer
    tell: Callable[[Line], object]
    say: Callable[[str], object]
    alarming: bool = True  # whether these are the hours at which it alarms
    live: bool = True
    zero: float = 0.0  # time.monotonic() where time_s is 0
    ended: bool = False
    failed: bool = False
    connected: bool = False
    away: bool = False  # lost, or not there yet
    still: bool = False  # nothing of its last snippet had to be described
    busy: bool = False  # a snippet of it waits for its description
    taken_at: float = 0.0  # time.monotonic() of the last that did
    health: Health | None = None  # of a live camera; None: nobody looks after it
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
        self.window, self.events = self.scorer.window(), EventStream(self.plan.rule)
        self.due: deque[Snippet | Dropped] = deque()  # described and without a score, and drops among them
        self.words, self.heat = RecentWords(), self._recent_heat()
        self.unchanged = self.plan.analysis.unchanged()

    @property
    def name(self) -> str:
        return self.camera.source.name

    def _recent_heat(self) -> RecentHeat | None:
        """Where the camera has zones."""
        sight, model = self.plan.sight, self.plan.analysis.model
        if not sight.zones:
            return None
        return RecentHeat(model, self.plan.analysis.device, self.scorer.size, sight.hidden(model.views))

    def alter(self, plan: Plan, scorer: WindowScorer) -> None:
        """The camera stays, what is done with its snippets changes; events end where their rule does."""
        before = self.plan
        if plan.analysis != before.analysis:
            self.finish()
            self.scorer, self.window, self.words = scorer, scorer.window(), RecentWords()
        if plan.rule != before.rule:
            self._tell_events(self.events.finish())
            self.events = EventStream(plan.rule, self.events.since)
        self.plan = plan
        if (plan.sight, plan.analysis) != (before.sight, before.analysis):
            counts = self.unchanged.repeats
            self.heat, self.unchanged = self._recent_heat(), plan.analysis.unchanged()
            self.unchanged.repeats = counts  # they go on

    def add(self, snippet: Snippet, seen: ViewArrays) -> None:
        """A snippet that was described; its score follows, at once or later."""
        analysis = self.plan.analysis
        if analysis.teller:
            words = analysis.teller.of(torch.from_numpy(seen[VIEW]))
            self.words.add(snippet.frame, snippet.frame + snippet.frames, words)
        if self.heat:
            views = {name: torch.from_numpy(seen[name]) for name in analysis.model.views}
            self.heat.add(snippet.frame, views)
        self.due.append(snippet._replace(images=snippet.images[:0]))  # the pictures are done with
        self.snippets += 1

    def tell_score(self, score: float) -> None:
        snippet = self.due.popleft()
        assert isinstance(snippet, Snippet)
        self.score, self.behind_s = score, time.monotonic() - snippet.clock
        self._look_at_the_clock()
        self.events.rule = self.plan.rule_at(_hour(self, snippet.time_s))
        if self.heat:
            self.heat.score(snippet.frame, score, self.events.rule.low)
        try:
            news = self.events.add(
                score, snippet.times.starts(snippet.frames), snippet.times.ends(snippet.frames)
            )
        except PipelineError as error:
            raise PipelineError(f"{self.name}: {error}") from error
        place = {"frame": snippet.frame, "frames": snippet.frames}
        self.tell({"type": "score", "camera": self.name, **place, **_times(self, snippet), "score": score})
        self._tell_events(news)
        while self.due and isinstance(self.due[0], Dropped):
            self._tell_events(self.events.skip(self.due.popleft().frames))

    def _look_at_the_clock(self) -> None:
        """An event that goes on when the camera's hours begin or end is cut there in two."""
        hours = self.plan.hours
        alarming = hours is None or not self.live or hours.hold(datetime.now(timezone.utc))
        if alarming != self.alarming:
            self._tell_events(self.events.finish())
            self.alarming = alarming

    def _tell_events(self, news: Sequence[EventNews]) -> None:
        for kind, found in news:
            event = self.words.of(found)
            self.event += kind == "event_start"
            line: Line = {"type": kind, "camera": self.name, "event": self.event}
            ends = ("start", "peak") if kind == "event_start" else ("start", "end", "peak")
            line |= {name: getattr(event, name) for name in ends}
            line |= {f"{name}_s": _rounded(getattr(event, f"{name}_s")) for name in ends}
            line |= {f"{name}_time": _utc(self, getattr(event, f"{name}_s")) for name in ends}
            line["peak_score"] = event.peak_score
            if kind == "event_end":
                line["mean_score"] = event.mean_score
            if self.plan.analysis.teller:
                line |= {"words": list(event.words), "patch": event.patch or None}
            if self.plan.sight.zones:
                line["zones"] = _zones(self, event)
            self.tell(line | {"alarm": self.alarming})
        self.words.forget(self.events.since)
        if self.heat:
            self.heat.forget(self.events.since)

    def look_after_the_connection(self) -> None:
        """Tells where a live camera has been away for long."""
        if self.health and self.live:
            self._tell_health(self.health.connection(self.away, time.monotonic()))

    def is_blind(self, snippet: Snippet) -> bool:
        """Looks after the camera's health; what a blind one shows is not scored, and ends what was."""
        if not self.health or not self.live:
            return False
        before = self.health.blind
        starts = snippet.times.starts(snippet.frames)
        self._tell_health(self.health.look(snippet.images, starts, snippet.clock))
        if (blind := self.health.blind) is None:
            return False
        if before is None:
            self.finish()
            self.events = EventStream(self.plan.rule, snippet.frame)
            self.unchanged.restart()  # it may be blind for hours
        self._drop(Dropped(snippet.frame, snippet.frames, snippet.time_s, f"the picture is {blind}"))
        return True

    def _tell_health(self, told: Sequence[News]) -> None:
        for news in told:
            line: Line = {"type": f"health_{'start' if news.begins else 'end'}", "camera": self.name}
            line["health"] = news.health
            for name, moment in (("start", news.since), ("end", news.until)):
                if moment is not None:
                    line[f"{name}_s"] = _rounded(moment - self.zero) if self.zero else None
                    line[f"{name}_time"] = _utc(self, moment - self.zero)
            self.tell(line)
            if said := SAID.get(news.health):
                self.say(f"{self.name}: {said}" if news.begins else f"{self.name}: over: {said}")

    def note(self, item: Item) -> None:
        """What happened beside the snippets, in its place among them."""
        if isinstance(item, Connected):
            self._connect(item)
        elif isinstance(item, Dropped):
            self._drop(item)
        elif isinstance(item, Lost):
            self.finish()
            again = self.connected
            self.connected, self.away = False, True
            times = _times(self, item) if again else {"time": None, "time_s": None}
            line = {"type": "lost", "camera": self.name, "frame": item.frames}
            self.tell({**line, **times, "reason": item.reason})
            self.say(f"{self.name}: {'lost' if again else 'not there'}, {item.reason}; trying again")
        elif isinstance(item, Ended):
            self.finish()
            self.ended, self.failed, self.away = True, item.error is not None, False
            line = {"type": "end", "camera": self.name, "frames": item.frames, "error": item.error}
            self.tell(line | ({"note": item.note} if item.note else {}))
            if item.error or item.note:
                self.say(f"{self.name}: {item.error or item.note}")

    def _connect(self, item: Connected) -> None:
        self.live, self.zero, self.connected, self.away = item.live, item.zero, True, False
        self.events = EventStream(self.plan.rule, item.frame)
        self.unchanged.restart()
        self.reconnects += item.gap_s is not None
        size = {"fps": round(item.fps, 3) or None, "width": item.width, "height": item.height}
        self.tell(
            {
                "type": "connected",
                "camera": self.name,
                "frame": item.frame,
                "gap_s": _rounded(item.gap_s),
                **size,
            }
        )
        after = "" if item.gap_s is None else f" after {item.gap_s:.1f} seconds"
        rate = f"{item.fps:.4g} frames a second" if item.fps else "one frame so far"
        by = f", decoded by {item.hardware}" if item.hardware else ""
        self.say(f"{self.name}: connected{after}, {item.width}x{item.height}, {rate}{by}")
        slow = slow_videos({self.name: item.fps}, self.plan.analysis.chosen_fps or 0.0)
        if slow and not self.told_slow:
            self.say(slow)
            self.told_slow = True

    def _drop(self, item: Dropped) -> None:
        self.dropped += item.frames
        self.untold += item.frames
        place = {"frame": item.frame, "frames": item.frames}
        line = {"type": "dropped", "camera": self.name, **place, **_times(self, item), "reason": item.reason}
        self.tell(line)
        if time.monotonic() - self.told_at >= SAY_AGAIN:
            self.say(f"{self.name}: {self.untold} frames dropped, {item.reason}")
            self.told_at, self.untold = time.monotonic(), 0
        if self.due:
            self.due.append(item)
        else:
            self._tell_events(self.events.skip(item.frames))

    def part(self) -> None:
        """Its source is not watched any more: what is open of it ends."""
        self.finish()
        if self.health:
            self._tell_health(self.health.over(time.monotonic()))

    def finish(self) -> None:
        """No neighbour follows: what waits is scored among what there is, and an open event ends."""
        for score in self.scorer.finish(self.window):
            self.tell_score(score)
        self._tell_events(self.events.finish())
        self.due.clear()
        if self.heat:
            self.heat.clear()


def _zones(post: Post, event: Event) -> list[str]:
    """Of an event's peak; by its words' patch where the model does not tell what its patches add."""
    heat = post.heat.at(event.peak) if post.heat else {}
    if not heat and event.patch:
        heat = {"2x3": np.array([place == event.patch for place in PLACES], np.float32)}
    return post.plan.sight.zones_at(heat)


def _times(post: Post, item: Snippet | Dropped | Lost) -> Line:
    return {"time": _utc(post, item.time_s), "time_s": _rounded(item.time_s)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _utc(post: Post, time_s: float | None) -> str | None:
    """The wall clock's time at a position of a live stream, ISO 8601; recordings have none."""
    if time_s is None or not post.live:
        return None
    moment = datetime.fromtimestamp(_clock(post, time_s), timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hour(post: Post, time_s: float) -> int | None:
    """Of the day, by this machine's clock and time zone; recordings have none."""
    return datetime.fromtimestamp(_clock(post, time_s)).astimezone().hour if post.live else None


def _clock(post: Post, time_s: float) -> float:
    """The wall clock's time, in seconds since 1970, at a position of a live stream."""
    return time.time() - (time.monotonic() - (post.zero + time_s))
