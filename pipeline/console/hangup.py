"""Whether the terminal in which a command was started was closed since."""

import errno
import os
import sys

TERMINAL = "/dev/tty"  # of the process, whichever it is
GONE = (errno.ENXIO, errno.EIO)  # what opening it says then


class Terminal:
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
