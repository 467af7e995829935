"""In the place of a cluster, and of who listens to its progress."""

from collections.abc import Iterator

from ssrl_pipeline.cluster.ray import Lost, Task
from ssrl_pipeline.extraction.storing import Outcome, Progress


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

    device, cpus = "cpu", 1

    def __init__(self) -> None:
        self.videos: list[str] = []

    def map(self, tasks: list[Task], on_snippets: object) -> Iterator[tuple[str, Lost]]:
        for task in tasks:
            self.videos.append(task.video)
            yield task.video, Lost(f"{task.video}: lost")
