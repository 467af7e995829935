"""The signals that end a command that runs for months, and SIGHUP, which may ask to read files again."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

TERMINAL = "/dev/tty"  # of the process, whichever it is
GONE = (errno.ENXIO, errno.EIO)  # what opening it says then
HANGING_UP = 0.2  # seconds that the system may take to close a terminal, from its SIGHUP on


@contextmanager
def ending_signals(hang_up: bool = True) -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that SIGINT, SIGTERM and, where it is not ignored, SIGHUP set, and which of them came.

    A second one acts as ever.

    Args:
        hang_up: whether SIGHUP is an end; else it is left as it is.
    """
    stop: threading.Event = threading.Event()
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        stop.set()
        restore()
        if number not in (signal.SIGINT, signal.SIGTERM):  # a terminal's end comes from the shell, too
            signal.signal(number, signal.SIG_IGN)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up and hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before |= {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop, received
    finally:
        restore()


class HangUps:
    """SIGHUPs, from the beginning of the context to its end.

    Each is a wish, except one that comes because the terminal was closed: that is an end, or nothing where
    SIGHUP began ignored, as nohup has it.

    Args:
        heard: whether to listen at all; else :meth:`wait` waits, and none comes.
    """

    def __init__(self, heard: bool):
        self._heard = heard and hasattr(signal, "SIGHUP")
        self._came, self._over = threading.Event(), False
        self._terminal, self._was_gone = _Terminal(), False
        self._before: Any = None

    def __enter__(self) -> "HangUps":
        if self._heard:
            self._before = signal.signal(signal.SIGHUP, lambda number, frame: self._came.set())
        return self

    def __exit__(self, *error: object) -> None:
        if self._heard:
            signal.signal(signal.SIGHUP, self._before)
        self.end()

    def end(self) -> None:
        """Nobody listens any more; ends a :meth:`wait`."""
        self._over = True
        self._came.set()

    @property
    def over(self) -> bool:
        """Whether nobody listens any more."""
        return self._over

    def wait(self, seconds: float) -> Literal["wish", "end"] | None:
        """What came within so many seconds; for another thread than the one that receives signals."""
        if not self._came.wait(seconds):
            if self._was_gone:  # and no signal came: it was left behind, as with disown
                self._terminal.forget()
            self._was_gone = self._terminal.is_gone
            return None
        if self._over:
            return None
        time.sleep(HANGING_UP)
        self._came.clear()
        if not self._terminal.is_gone:
            return "wish"
        self._terminal.be_quiet()
        self._terminal.forget()
        return None if self._before == signal.SIG_IGN else "end"


class _Terminal:
    """The one in which this process was started; it may be none."""

    def __init__(self) -> None:
        self._had = _is_there()
        self._shown = [file for file in (sys.stdout, sys.stderr) if file.isatty()]

    @property
    def is_gone(self) -> bool:
        """Whether there was one, and is none any more."""
        return self._had and not _is_there()

    def forget(self) -> None:
        """It does not matter any more."""
        self._had = False

    def be_quiet(self) -> None:
        """What would be written to it goes nowhere; writing to a closed one fails."""
        for file in self._shown:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, file.fileno())
            os.close(nowhere)


def _is_there() -> bool:
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError as error:
        return error.errno not in (*GONE, errno.ENOENT)
    return True
