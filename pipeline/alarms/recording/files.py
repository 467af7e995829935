"""An event's files: a clip that browsers play, the still of its peak, and the record of all that is known."""

import queue
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ssrl_pipeline.disk import write_json
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events import ASSUMED_FPS, PLACES
from ssrl_pipeline.extractors.decoding import Keep, Limits, Recordings, open_video
from ssrl_pipeline.results import VideoWriter
from ssrl_pipeline.settings import AlarmSettings

Box = tuple[float, float, float, float]  # left, top, right and bottom, in shares of width and height
COLUMNS = 3  # of the patches that words name
ANSWER = 30.0  # seconds that the decoder of a clip gets for one picture of it


def box_of(patch: str | None) -> Box | None:
    """Where a patch lies that an event names, as "top left"."""
    if patch not in PLACES:
        return None
    row, column = divmod(PLACES.index(patch), COLUMNS)
    rows = len(PLACES) // COLUMNS
    return column / COLUMNS, row / rows, (column + 1) / COLUMNS, (row + 1) / rows


def make_playable(found: Mapping[str, Any], settings: AlarmSettings) -> Path:
    """The clip as an MP4 that browsers play: as it is, or encoded as H.264, with the same frames and times.

    Args:
        found: what the decoding process tells of a clip that it wrote.

    Raises:
        PipelineError: it cannot be read, or there is no encoder, or no room.
    """
    source = Path(found["path"])
    if source.suffix == ".mp4" and not (found["codec"] == "hevc" and settings.hevc == "encode"):
        return source
    target = source.with_suffix(".mp4")
    try:
        with open_video(source, Limits(threads=1), lend=True) as video:
            rate = video.info.fps or ASSUMED_FPS
            with VideoWriter(target, video.info.width, video.info.height, rate) as writer:
                for frame in video.frames:
                    writer.write(frame, video.time)
    finally:
        if source != target:
            source.unlink(missing_ok=True)
    return target


def still_of_clip(clip: Path, number: int, path: Path, box: Box | None) -> None:
    """Writes one of a clip's frames as a JPEG, as the decoding process of the camera does it.

    Raises:
        VideoError: the clip has no such frame, or cannot be read.
    """
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    keep = Keep(float("inf"), 1 << 30)
    recordings = Recordings(keep)
    try:
        video = open_video(clip, Limits(threads=1), lend=True, keep=keep)
        with recordings.reading(video, 0):
            for _ in islice(video.frames, number + 1):
                pass
            recordings.still("still", number, path, box, answers.put)
            answer = answers.get(timeout=ANSWER)
    except queue.Empty:
        raise VideoError(f"{clip}: no picture of it in {ANSWER:g} seconds") from None
    finally:
        recordings.close()
    if "error" in answer:
        raise VideoError(f"{clip}: {answer['error']}")


def write_record(path: Path, row: Mapping[str, Any], scores: list[tuple[float, float]], note: str) -> None:
    """All that is known of an event.

    Args:
        row: as in the index.
        scores: when each snippet begins, in seconds, and its score, from before the event to behind it.
        note: on the clip.
    """
    write_json(path, {**row, "clip_note": note, "scores": [list(pair) for pair in scores]})
