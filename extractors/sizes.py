"""Do frames change their size on the way? decord and OpenCV scale them to the first's, without a word.

PyAV looks at some of the keyframes, in a process of its own: beside decord, in one, the
libraries of the one would call those of the other. A size that comes and goes between
two keyframes that are looked at is not seen.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssrl_pipeline.extractors.decoders import location
from ssrl_pipeline.extractors.worker_process import WorkerFailed, WorkerProcess

EVERY = 1.0  # seconds between two keyframes that are decoded: in some codecs, every frame is one
_OFTEN = 500  # packets after which the process says that it is alive


class SizeWatch:
    """A process that goes through a video's keyframes.

    Args:
        path: of the video.
        memory: bytes that it may take.
    """

    def __init__(self, path: Path, memory: int):
        self._worker = WorkerProcess({"sizes": str(path), "limit": memory})

    def result(self, seconds: float) -> str:
        """Waits for the end; what was found, or "" for nothing, or where it could not look.

        Args:
            seconds: without a sign of life, after which it is given up.
        """
        try:
            while "looking" in (answer := self._worker.receive(seconds)):
                pass
        except WorkerFailed:
            return ""
        first, *others = [f"{width}x{height}" for width, height in answer.get("sizes", ())] or [""]
        return f"frames of {', '.join(others)} among those of {first}, scaled to these" if others else ""

    def close(self) -> None:
        self._worker.close()


def can_watch() -> bool:
    """PyAV is of the extra `video`."""
    return find_spec("av") is not None


def look(path: Path, answer: Callable[..., None]) -> None:
    """In the process: answers "looking" now and then, and in the end with all sizes, in order."""
    import av

    seen: dict[tuple[int, int], None] = {}
    try:
        with location(path) as name, av.open(name, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is not None:
                stream.thread_type = "NONE"
                last = float("-inf")
                for count, packet in enumerate(container.demux(stream)):
                    if packet.is_keyframe and abs(_seconds(packet) - last) >= EVERY:
                        last = _seconds(packet)
                        _note(packet.decode(), seen)
                    if count % _OFTEN == 0:
                        answer(looking=True)
                _note(stream.decode(None), seen)  # what the decoder holds back
    except (av.FFmpegError, OSError, ValueError):
        pass  # the decoders say what is wrong with the file
    answer(sizes=list(seen))


def _seconds(packet: Any) -> float:
    return float((packet.pts or 0) * (packet.time_base or 0))


def _note(frames: Iterable[Any], seen: dict[tuple[int, int], None]) -> None:
    for frame in frames:
        seen[frame.width, frame.height] = None
