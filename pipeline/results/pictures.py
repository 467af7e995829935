"""Frames of a video as small pictures: those of all that shows some, in one pass of decoding.

The video is decoded in order, up to the last frame that is wanted: so these are the
frames that were scored, which seeking does not promise in every container. One frame
and the small pictures are held at a time.
"""

import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssrl_pipeline.disk import read_npz
from ssrl_pipeline.errors import PipelineError, VideoError
from ssrl_pipeline.events import ASSUMED_FPS, Event
from ssrl_pipeline.extractors.decoding import open_video

TILE = (320, 240)  # at most, in pixels
PEAKS_KEPT = 48  # events of a video whose peaks are kept for the report, the highest
PEAK = (160, 120)  # at most, in pixels, of these

Pictures = dict[int, Image.Image]  # frame -> its picture, no larger than a tile


class PictureTaker:
    """Shown one frame after the other, it keeps small pictures of those wanted."""

    def __init__(self, wanted: Collection[int]):
        self.wanted = frozenset(wanted)
        self.pictures: Pictures = {}

    def __call__(self, index: int, frame: np.ndarray) -> None:
        """A frame, uint8 [H, W, 3], and its number."""
        if index in self.wanted:
            self.pictures[index] = _small(frame)


def read_pictures(video: Path, wanted: Collection[int], fps: float = 0.0) -> Pictures:
    """Decodes a video for some of its frames; without any it is not opened.

    Args:
        video: a file, or a folder of pictures, of `fps` a second.
        wanted: numbers of frames.

    Raises:
        VideoError: the video is not there any more, or not as long as when it was scored.
    """
    if not wanted:
        return {}
    taker, last = PictureTaker(wanted), max(wanted)
    with open_video(video, picture_fps=fps or ASSUMED_FPS) as source:
        for index, frame in enumerate(itertools.islice(source.frames, last + 1)):
            taker(index, frame)
    if last not in taker.pictures:
        raise VideoError(f"{video}: ends before frame {last}, which was scored; the file has changed since")
    return taker.pictures


def peak_frames(events: Sequence[Event]) -> set[int]:
    """The peaks of the highest events."""
    return {event.peak for event in sorted(events, key=lambda event: -event.peak_score)[:PEAKS_KEPT]}


def save_peaks(path: Path, pictures: Mapping[int, Image.Image], frames: Collection[int]) -> None:
    """Keeps some pictures, made smaller: an .npz of JPEGs, uint8 [bytes], each named by its frame."""
    files: dict[str, np.ndarray] = {}
    for frame in sorted(frames):
        picture = pictures[frame].copy()
        picture.thumbnail(PEAK)
        files[str(frame)] = np.frombuffer(jpeg(picture), np.uint8)
    np.savez(path, **files)  # type: ignore[arg-type]


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=75)
    return file.getvalue()


def load_peaks(path: Path) -> dict[int, bytes]:
    """Frame -> JPEG.

    Raises:
        PipelineError: the file is missing or damaged.
    """
    try:
        return {int(name): file.tobytes() for name, file in read_npz(path).items()}
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path}: missing or damaged ({error}); score again with --overwrite") from error


def _small(frame: np.ndarray) -> Image.Image:
    """uint8 [H, W, 3] -> the picture, made smaller to fit a tile where it is larger."""
    picture = Image.fromarray(frame)
    picture.thumbnail(TILE)
    return picture
