"""The recorder of events as the settings have it.

ssrl-pipeline watch gate=rtsp://gate/stream --events events
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssrl_pipeline.alarms.recording.archive import open_archive
from ssrl_pipeline.alarms.recording.recorder import EventRecorder
from ssrl_pipeline.console import say
from ssrl_pipeline.extractors.decoding import Keep, Recordings
from ssrl_pipeline.settings import AlarmSettings

ENDING = 1.0  # seconds for what waits after an error; else :meth:`EventRecorder.close` was called before
LATE = 30.0  # seconds of a stream from the start of an event until it is known, at most


@contextmanager
def open_recorder(
    settings: AlarmSettings,
    recordings: Callable[[str], Recordings | None],
    forward: Callable[[dict[str, Any]], object],
) -> Iterator[EventRecorder | None]:
    """What keeps the events of a watch, until it is closed; None where no folder is set.

    Args:
        recordings: a camera's name -> what is asked for its clips.
        forward: takes each line.

    Raises:
        PipelineError: the folder is another run's, or cannot be used.
    """
    if settings.folder is None:
        yield None
        return
    with open_archive(Path(settings.folder), say) as archive:
        recorder = EventRecorder(archive, settings, recordings, forward, say)
        try:
            yield recorder
        finally:
            recorder.close(ENDING)


def kept_packets(settings: AlarmSettings) -> Keep | None:
    """What cameras keep for it."""
    return Keep(settings.before + LATE) if settings.folder is not None else None
