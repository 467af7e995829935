"""What was begun elsewhere and not ended yet, noted in a file, so that the run after a crash can end it.

Each run has a file of its own, and a lock beside it, which ends with the process: a file whose lock is free
is a dead run's.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ssrl_pipeline.disk import locked, read_json, write_json
from ssrl_pipeline.errors import PipelineError

Say = Callable[[str], object]


def state_folder() -> Path:
    """Where programs keep what is to outlive them, by the rules of freedesktop.org.

    Raises:
        RuntimeError: there is no home.
    """
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ssrl-pipeline"


class Unended:
    """Names of what goes on at one place, kept in memory and, as far as that can be written, in a file.

    Args:
        folder: of the files of all runs; None: memory alone.
        place: what the names are of, as a server's address; only its hash is written.
        say: takes a line for people.
    """

    def __init__(self, folder: Path | None, place: str, say: Say):
        self._folder, self._say, self._names = folder, say, list[str]()
        self._key = hashlib.sha256(place.encode()).hexdigest()[:16]
        self._held = ExitStack()  # our lock
        self._path: Path | None = None

    def take_over(self) -> list[tuple[str, float]]:
        """What dead runs left, now ours, and when each was last known to go on, in seconds since 1970."""
        left: list[tuple[str, float]] = []
        if self._folder is None:
            return left
        try:
            self._path = self._folder / f"{self._key}-{secrets.token_hex(4)}.json"
            self._held.enter_context(locked(self._path.with_suffix(".lock")))
            for path in sorted(self._folder.glob(f"{self._key}-*.json")):
                with locked(path.with_suffix(".lock")) as holder:
                    if holder or not path.exists():
                        continue
                    moment = path.stat().st_mtime
                    left += [(str(name), moment) for name in _read(path)]
                    self._names = [name for name, _ in left]
                    self._write()
                    path.unlink()
        except (OSError, PipelineError) as error:
            self._give_up(f"{self._folder}: cannot be used ({error})")
        return left

    def add(self, name: str) -> None:
        self._names.append(name)
        self._write()

    def remove(self, name: str) -> None:
        if name in self._names:
            self._names.remove(name)
            self._write()

    def live(self) -> None:
        """What goes on goes on until now."""
        if self._path and self._path.exists():
            os.utime(self._path)

    def close(self) -> None:
        """Lets the next run take what is left."""
        self._held.close()

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            if self._names:
                write_json(self._path, self._names)
            else:
                self._path.unlink(missing_ok=True)
        except (OSError, PipelineError) as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self._say(f"{reason}; what goes on when it is killed will not be ended")
        self._path = None


def _read(path: Path) -> list[object]:
    """Nothing of a file that is not ours."""
    try:
        names = read_json(path)
    except (OSError, ValueError):
        return []
    return names if isinstance(names, list) else []
