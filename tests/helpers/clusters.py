"""In the place of a cluster, and of who listens to its progress."""

from collections.abc import Iterator, Mapping
from typing import Any

from ssrl_pipeline.cluster.workers import Work
from ssrl_pipeline.console.progress import Outcome, Progress


class Recorded(Progress):
    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[Outcome] = []
        self.snippets = 0
        self.closed = False

    def start(self, video: str) -> None:
        self.started.append(video)

    def snippet(self) -> None:
        self.snippets += 1

    def finish(self, outcome: Outcome) -> None:
        self.finished.append(outcome)

    def close(self) -> None:
        self.closed = True


class Sink:
    """In the place of a cluster: notes what it is given, in order, and loses it."""

    elsewhere = True

    def __init__(self) -> None:
        self.videos: list[str] = []

    def map(self, tasks: Mapping[str, Any], work: Work, progress: Progress) -> Iterator[Outcome]:
        for video in tasks:
            self.videos.append(video)
            yield Outcome(video, "failed", reason=f"{video}: lost")
