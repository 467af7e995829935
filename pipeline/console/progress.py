"""What a stage reports while it runs: what it has before it, how far it is, and what became of each video."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Note = Callable[[str], None]  # told what a user should know

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


class Workload(NamedTuple):
    """What a stage has before it."""

    videos: int
    todo: int  # of these, that are extracted
    snippets: int  # that the containers of `todo` promise
    bytes: int = 0  # of their features; 0 where none are stored


@dataclass(frozen=True)
class Outcome:
    """What became of one video."""

    video: str  # its name
    status: str  # "done", "skipped" (done before) or "failed"
    snippets: int = 0  # of its features
    seconds: float = 0.0  # from its start to its end, beside others where there are workers
    reason: str = ""  # why it failed, or what of it is damaged


class Progress:
    """What is told while a stage runs; this one says nothing."""

    def start(self, video: str) -> None: ...

    def snippet(self) -> None: ...

    def finish(self, outcome: Outcome) -> None: ...

    def close(self) -> None: ...
