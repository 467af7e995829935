"""Pictures of peaks that a result does not keep: near misses, and all but its highest events."""

import threading
from collections.abc import Sequence
from pathlib import Path

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.results import VideoScores, jpeg, read_pictures

MOST_FRAMES = 50_000  # from a video's beginning: half an hour's, a minute or so of decoding
MOST_PICTURES = 200  # of one pass through a video


class Stills:
    """Decodes a video for them when the first is asked for, and keeps them; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one video at a time
        self._found: dict[tuple[Path, int], bytes | None] = {}

    def find(self, result: VideoScores, frame: int, others: Sequence[int]) -> bytes | None:
        """A JPEG; None: the video has gone or changed, or the frame is too far from its beginning.

        Args:
            others: frames that may be asked for later; the first of them are decoded in the same pass.
        """
        with self._lock:
            if (result.video, frame) not in self._found:
                self._decode(result, frame, others)
            return self._found[result.video, frame]

    def _decode(self, result: VideoScores, frame: int, others: Sequence[int]) -> None:
        missing = dict.fromkeys(one for one in (frame, *others) if (result.video, one) not in self._found)
        wanted = [one for one in missing if one < MOST_FRAMES][:MOST_PICTURES]
        try:
            pictures = read_pictures(result.video, wanted, result.fps)
        except (PipelineError, OSError):
            pictures = {}
        self._found[result.video, frame] = None
        for one in wanted:
            self._found[result.video, one] = jpeg(pictures[one]) if one in pictures else None
