"""What containers say of their videos, read in a process of its own."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ssrl_pipeline.extractors.decoding.process import WorkerFailed, WorkerProcess
from ssrl_pipeline.extractors.decoding.video import Limits, VideoInfo

HEADER_SECONDS = 10.0


def probe(
    paths: Iterable[Path], seconds: float = HEADER_SECONDS, guess: bool = False
) -> Iterator[VideoInfo | None]:
    """What the containers say, one after the other, read in one process; None for what cannot be read.

    Args:
        paths: of the videos.
        seconds: after which a file is given up.
        guess: whether the frames of one that tells no number, or an unlikely rate, are reckoned from
            its first packets and its size, as a negative number; 0 where it has none. They are no promise.
    """
    worker: WorkerProcess | None = None
    try:
        for path in paths:
            if not path.is_file() or path.stat().st_size == 0:
                yield None
                continue
            worker = worker or WorkerProcess({"limit": Limits().memory})
            worker.send({"path": str(path), "guess": guess})
            try:
                answer = worker.receive(seconds)
            except WorkerFailed:
                worker = None
                yield None
            else:
                yield VideoInfo(*answer["info"]) if "info" in answer else None
    finally:
        if worker:
            worker.close()
