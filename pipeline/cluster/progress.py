"""What a driver hears of workers on other nodes: how far they are, and whether what they wrote is here."""

import time
from collections.abc import Callable, Iterable

from ssrl_pipeline.console import Outcome, Progress
from ssrl_pipeline.errors import PipelineError, StoreError

VISIBLE = 60.0  # seconds after which what was written elsewhere must be seen here: network file systems cache


class ClusterProgress:
    """Counts of snippets from afar, which may come late, twice or again from the start, for a Progress."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._seen: dict[str, int] = {}

    def count(self, video: str, count: int) -> None:
        """`count` snippets of the video are done."""
        if video not in self._seen:
            self._seen[video] = 0
            self._progress.start(video)
        for _ in range(self._seen[video], count):
            self._progress.snippet()
        self._seen[video] = max(count, self._seen[video])

    def finish(self, outcome: Outcome) -> None:
        self.count(outcome.video, outcome.snippets)
        self._progress.finish(outcome)


def require_visible(done: Iterable[str], look: Callable[[str], object]) -> None:
    """Raises StoreError where workers have written to a folder of the same name, but not to this one.

    Args:
        done: the videos that they have written.
        look: raises a PipelineError where a video is not to be seen.
    """
    end = time.monotonic() + VISIBLE
    for name in done:
        while True:
            try:
                look(name)
                break
            except PipelineError as error:
                if time.monotonic() > end:
                    raise StoreError(
                        f"{error}, though a worker has written it: it must lie on a file system that all "
                        "nodes share"
                    ) from error
                time.sleep(1)
