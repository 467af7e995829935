"""One of several processes that share a stage's work; :mod:`ssrl_pipeline.cluster.devices` starts it.

Both sides pickle what they say: first this one hears what it is to do and on which device; then, for each
`next` that it says, it hears of a video, or None where there is none for now, or END.
"""

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from typing import Any

from ssrl_pipeline.cluster.workers import Post
from ssrl_pipeline.console import Outcome
from ssrl_pipeline.errors import PipelineError, first_line, is_out_of_memory

END = "end"  # of all tasks
TERMINATED = 143


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    driver = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        work, device, threads, alone = _hear()
        work(_Pipe(driver, device, threads, alone))
    except PipelineError as error:
        _tell(driver, "error", error)
        sys.exit(1)
    except Exception as error:  # it dies of it, and the driver goes on
        if not is_out_of_memory(error):
            raise
        sys.exit(f"out of memory ({first_line(error)})")


class _Pipe(Post):
    """To the driver; this process ends with it."""

    def __init__(self, driver: int, device: str, threads: int, alone: bool):
        super().__init__(device, threads, alone, elsewhere=False)
        self._driver = driver

    def tasks(self) -> Iterator[tuple[str, Any] | None]:
        while True:
            _tell(self._driver, "next")
            task = _hear()
            if task == END:
                return
            yield task

    def busy(self, video: str) -> None:
        _tell(self._driver, "busy", video)

    def start(self, video: str) -> None:
        _tell(self._driver, "start", video)

    def snippet(self) -> None:
        _tell(self._driver, "snippet")

    def finish(self, outcome: Outcome) -> None:
        _tell(self._driver, "finish", outcome)


def _tell(driver: int, *message: Any) -> None:
    data = pickle.dumps(message)
    try:
        while data:
            data = data[os.write(driver, data) :]
    except BrokenPipeError:
        sys.exit(TERMINATED)


def _hear() -> Any:
    try:
        return pickle.load(sys.stdin.buffer)
    except EOFError:
        sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
