"""A watch whose events are recorded, and what is in its archive."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live_video import CPU, LIGHT, describe_light, stopped_after
from live_stream import read_mark

from ssrl_pipeline.alarms.recording.archive import open_index, read_rows
from ssrl_pipeline.alarms.recording.opening import kept_packets, open_recorder
from ssrl_pipeline.events import EventRule
from ssrl_pipeline.extractors.decoding import Recordings, open_video
from ssrl_pipeline.settings import AlarmSettings, WatchSettings
from ssrl_pipeline.watching.plan import Analysis, Plan
from ssrl_pipeline.watching.post import Line
from ssrl_pipeline.watching.sources import parse_sources
from ssrl_pipeline.watching.watch import Watch

RULE = EventRule(threshold=0.5, hysteresis=1.0, gap=0.5, shortest=0.0)


class Watched:
    """A watch with an archive, in this process, of what is light."""

    def __init__(self, sources: list[str], settings: AlarmSettings, timeout: float = 3.0):
        self.lines: list[tuple[float, Line]] = []
        self.settings = settings
        self._jobs: list[Watch] = []
        self._sources, self._timeout = sources, timeout
        self.until: Callable[[Line], bool] = lambda line: False
        self.during: Callable[[Line], object] = lambda line: None

    def run(self, seconds: float = 60.0) -> list[str]:
        analysis = Analysis(LIGHT, CPU, describe_light, RULE)
        limits = WatchSettings(window=2, delay=0, timeout=self._timeout)
        with (
            stopped_after(seconds) as stop,
            open_recorder(self.settings, self._recordings, lambda line: self._told(line, stop)) as recorder,
        ):
            assert recorder
            job = Watch(
                [Plan(source, analysis) for source in parse_sources(self._sources)],
                limits,
                recorder.tell,
                lambda text: None,
                keep=kept_packets(self.settings),
            )
            self._jobs.append(job)
            failed = job.run(stop)
            recorder.close(20)
            return failed

    def _recordings(self, name: str) -> Recordings | None:
        return self._jobs[0].recordings(name)

    def _told(self, line: Line, stop: threading.Event) -> None:
        self.lines.append((time.monotonic(), line))
        self.during(line)
        if self.until(line):
            stop.set()

    def of(self, *types: str) -> list[Line]:
        return [line for _, line in self.lines if line["type"] in types]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    index = open_index(folder / "index.sqlite")
    try:
        return read_rows(index)
    finally:
        index.close()


def check_clip(
    folder: Path, row: Mapping[str, Any], source: Path, exact: bool = True, unread: int = 0
) -> list[int]:
    """That a clip's frames are the source's, each of them, in order; gives their numbers in the source.

    `unread`: frames at its end, at most, that a stream which broke off did not give any more.
    """
    pictures = list(open_video(source).frames)
    found = list(open_video(folder / row["clip"]).frames)
    numbers = [read_mark(frame) for frame in found]
    steps = np.diff(numbers)
    assert (steps[: -1 if unread else None] == 1).all()  # what was cut off may have come before the last
    length = row["clip_last"] - row["clip_first"] + 1
    assert length <= len(numbers) <= length + unread
    for number, frame in zip(numbers, found, strict=True):
        if exact:
            np.testing.assert_array_equal(frame, pictures[number])
        else:
            assert np.abs(frame.astype(int) - pictures[number]).mean() < 8
    return numbers
