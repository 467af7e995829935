"""Processes that do a stage's work, and what passes between them and the one that started them, the driver.

A stage gives each process a function to run, with a :class:`Post`: there it gets its tasks, one per
video, and tells what becomes of them. A video whose process dies is tried again, TRIES times in all, so that
one that kills its process ends as a failure of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from ssrl_pipeline.console import Outcome, Progress

TRIES = 3  # of a video whose process dies

Task = TypeVar("Task", contravariant=True)
Tool = TypeVar("Tool", contravariant=True)
Store = TypeVar("Store", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Place(Protocol[Task, Tool, Store, Result]):
    """Where a stage's work is done: in this process, or by :class:`Workers`."""

    def __call__(
        self, tasks: Mapping[str, Task], tool: Tool, store: Store, progress: Progress, /
    ) -> Iterable[Result]:
        """What becomes of each video, as they come; `progress` is told of all.

        Args:
            tasks: video -> what is to be done with it.
            tool: does it here, or is what others are planned by.
            store: of features.
        """


class Post(Progress):
    """Where a process gets its tasks, and tells of them as a Progress is told.

    Args:
        device: that it works on.
        threads: that it has of the CPU.
        alone: whether a task is to be ended before the next is asked for.
        elsewhere: whether this may be another machine than the driver's.
    """

    def __init__(self, device: str, threads: int, alone: bool, elsewhere: bool):
        self.device, self.threads, self.alone, self.elsewhere = device, threads, alone, elsewhere

    def tasks(self) -> Iterator[tuple[str, Any] | None]:
        """Videos, and what the driver says of each; None where there is nothing for now."""
        raise NotImplementedError

    def busy(self, video: str) -> None:
        """Another process is at the video: it is given out again, later."""


Work = Callable[[Post], None]  # travels to other processes, which call it


class Workers(Protocol):
    """Where work is spread: :class:`ssrl_pipeline.cluster.devices.Devices`, or a Ray cluster."""

    elsewhere: bool  # whether they may be on other machines

    def __str__(self) -> str:
        """Where they are, in words."""

    def require(self, check: Callable[[str], None]) -> None:
        """Calls it where work would be done, with the device there: before any is begun.

        Raises:
            PipelineError: it raised one.
        """

    def map(self, tasks: Mapping[str, Any], work: Work, progress: Progress) -> Iterator[Outcome]:
        """What becomes of each video, as they come, given out in order; `progress` is told of all.

        Args:
            tasks: video -> what its process is told of it.
            work: called in each process; it finishes each task at its Post, or says that it is busy.

        Raises:
            PipelineError: a process raised it; all are ended then.
        """
