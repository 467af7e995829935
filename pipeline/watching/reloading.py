"""What changes while cameras are watched: the files of checkpoints, and the file that names the cameras."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssrl_pipeline.console import HangUps, say
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.watching.cameras import CameraFile
from ssrl_pipeline.watching.plan import Plan
from ssrl_pipeline.watching.start import Models

LOOK = 2.0  # seconds from one look at the files of checkpoints to the next
PATIENCE = 10.0  # seconds that a look gets to end


@dataclass
class Reloader:
    """Takes up checkpoints whose files are replaced and, when it is wished, the file of cameras."""

    models: Models
    change: Callable[[Sequence[Plan]], None]  # watches by other plans from now on
    tell: Callable[[CameraFile], None]  # is told a file whose cameras are watched from now on
    file: CameraFile  # that is watched
    path: Path | None  # of it; None: there is none, and nothing is wished
    read: Callable[[Path], CameraFile]  # raises a PipelineError where the file has faults

    @contextmanager
    def beside(self, hang_ups: HangUps, end: Callable[[], None]) -> Iterator[None]:
        """Looks, beside the scoring, until the context ends.

        Args:
            hang_ups: each is a wish, or the end of the terminal.
            end: called at that end.
        """
        thread = threading.Thread(target=self._look, args=(hang_ups, end), name="reloading", daemon=True)
        try:
            thread.start()
            yield
        finally:
            hang_ups.end()
            thread.join(PATIENCE)

    def _look(self, hang_ups: HangUps, end: Callable[[], None]) -> None:
        while not hang_ups.over:
            came = hang_ups.wait(LOOK)
            if hang_ups.over:
                return
            if came == "end":
                end()
                return
            what = self.path if came else "new checkpoints"
            try:
                if self.path is not None and came:
                    self._reread(self.path)
                elif plans := self.models.renewed():
                    self.change(plans)
            except Exception as error:  # said, for the cameras go on
                known = isinstance(error, PipelineError | OSError)
                say(str(error) if known else f"{what}: {type(error).__name__}", logging.ERROR)
                say(f"{what}: not taken; the cameras go on as before")

    def _reread(self, path: Path) -> None:
        file = self.read(path)
        if file.others != self.file.others:
            say(f"{path}: all but cameras and receivers is read at the start alone", logging.WARNING)
        with self.models.trying():
            self.change(self.models.plans(file.cameras))
        self.tell(file)
        self.file = file
        say(f"{path} was read again; cameras: {', '.join(entry.source.name for entry in file.cameras)}")
