"""overlay.mp4: the video with the heat on it, its score below, and the events marked.

Frames go from the decoder to the encoder one at a time.

Below the picture stand the time, the score and the event's number, and under these
the scores of the whole video: what is played already in colour, what is to come in
grey, with a line above for the events and one beneath for the ground truth, if any.

Dimensions: N frames, T snippets, P patches, H x W pixels.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ssrl_pipeline.console import time_code
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.events import ASSUMED_FPS
from ssrl_pipeline.extractors import every_16th
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.results.heat_map import frame_heat
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.results.video_writer import VideoWriter

LEAST_WIDTH = 480  # smaller pictures are enlarged by a whole factor: the text needs as much
CAPTION, MARKS, PLOT, TRUTH = 28, 6, 52, 6  # heights in pixels below the picture
BORDER = 4  # of a picture within an event
OPACITY = 0.55  # of the hottest cell where the score is 1
# RGB; Okabe and Ito's colours, as in the timeline
BLUE, VERMILION, GREEN = (86, 180, 233), (213, 94, 0), (0, 158, 115)
PAPER, AHEAD, INK = (24, 24, 24), (110, 110, 110), (240, 240, 240)


def save_overlay(
    path: Path,
    shown: Shown,
    watch: Callable[[int, np.ndarray], None] = lambda index, frame: None,
) -> None:
    """Writes the video once more, with what was found drawn on it.

    A snippet's map of heat is drawn relative to its own hottest cell and as opaque
    as its score: where the score is low there is little to see.

    Args:
        path: of the mp4; it appears whole. As many frames as the video, at the same times; no sound.
        shown: what is drawn. Where the times are unknown the video is written with 25 frames a second.
        watch: is shown every frame's number and the frame, uint8 [H, W, 3], before it is drawn on.

    Raises:
        PipelineError: there is no encoder; see :class:`VideoWriter`.
        VideoError: the video is not there any more, or not as long as when it was scored.
    """
    scores, times = shown.scores, shown.times
    rate = times.fps if times.known else ASSUMED_FPS
    starts = times.starts(len(scores)).tolist()
    source = open_video(shown.video, picture_fps=rate)
    canvas = _Canvas(source.info.width, source.info.height, shown)
    height, width = canvas.picture.shape[:2]
    with source, VideoWriter(path, width, height, rate) as writer:
        maps, begins = _maps(shown), set(_starts(shown).tolist())
        count = 0
        for count, frame in enumerate(source.frames, 1):
            if count > len(scores):
                break
            watch(count - 1, frame)
            if count - 1 in begins:
                canvas.set_heat(next(maps, None))
            seconds = starts[count - 1] if times.known else None
            writer.write(canvas.draw(frame, count - 1, seconds), seconds)
        if count != len(scores):
            raise VideoError(
                f"{shown.video}: has not the {len(scores)} frames that were scored; score it again"
            )


def _starts(shown: Shown) -> np.ndarray:
    """int [T]: the first frame of each snippet that there is heat of."""
    if shown.starts is not None:
        return shown.starts
    return every_16th(len(next(iter(shown.heat.values()), ())))


def _maps(shown: Shown) -> Iterator[np.ndarray]:
    """Of one snippet after the other: float32 [h, w], 0 to the snippet's score."""
    if not shown.heat:
        return
    for t, start in enumerate(_starts(shown)):
        (cells,) = frame_heat(
            {scale: rows[t : t + 1].astype(np.float32) for scale, rows in shown.heat.items()}
        )
        hottest = cells.max()
        score = shown.scores[start]
        yield cells * (score / hottest) if hottest > 0 else cells


class _Canvas:
    """Draws frame after frame; what stays the same over the video is drawn once."""

    def __init__(self, width: int, height: int, shown: Shown):
        self.enlarged = math.ceil(LEAST_WIDTH / width)
        self.width, self.height = width * self.enlarged, height * self.enlarged
        even = self.width + self.width % 2, self.height + self.height % 2  # as yuv420p needs
        below = CAPTION + MARKS + PLOT + (0 if shown.truth is None else TRUTH)
        self.picture = np.zeros((even[1] + below, even[0], 3), np.uint8)
        self.scores, self.events = shown.scores, shown.events
        self.plots = [_plot(shown, even[0], colour) for colour in (BLUE, AHEAD)]
        self.opacity: np.ndarray | None = None  # [height, width, 1]
        self.colours = np.zeros(3, np.float32)  # [height, width, 3]

    def set_heat(self, cells: np.ndarray | None) -> None:
        """What :meth:`draw` blends from now on: [h, w], 0 to 1; None for nothing."""
        if cells is None:
            self.opacity = None
            return
        # Cells are not square. Those of a middling grid are, and blurring them hides the patches' seams.
        middling = cv2.resize(cells, (64, max(1, round(64 * self.height / self.width))))
        middling = np.clip(cv2.GaussianBlur(middling, (0, 0), 2.0), 0, 1)
        smooth = cv2.resize(middling, (self.width, self.height))
        colours = cv2.applyColorMap((255 * smooth).astype(np.uint8), cv2.COLORMAP_INFERNO)
        self.colours = colours[..., ::-1].astype(np.float32)
        self.opacity = OPACITY * smooth[..., None]

    def draw(self, frame: np.ndarray, index: int, seconds: float | None) -> np.ndarray:
        """uint8 [H, W, 3] -> the whole picture, uint8 of even size; valid until the next call."""
        shown = cv2.resize(frame, (self.width, self.height)) if self.enlarged > 1 else frame
        if self.opacity is not None:
            shown = (shown + self.opacity * (self.colours - shown)).astype(np.uint8)
        self.picture[:] = 0
        self.picture[: self.height, : self.width] = shown
        number = next((n for n, e in enumerate(self.events, 1) if e.start <= index < e.end), None)
        if number is not None:
            right, bottom = self.width - 1 - BORDER // 2, self.height - 1 - BORDER // 2
            cv2.rectangle(self.picture, (BORDER // 2, BORDER // 2), (right, bottom), VERMILION, BORDER)
        self._caption(index, seconds, number)
        self._plots(index)
        return self.picture

    def _caption(self, index: int, seconds: float | None, number: int | None) -> None:
        top = self.picture.shape[0] - self.plots[0].shape[0] - CAPTION
        middle = self.picture.shape[1] // 2
        time = "" if seconds is None else f"{time_code(seconds)}  "
        self._text(f"{time}frame {index}", 8, top, INK)
        self._text(f"score {self.scores[index]:.2f}", middle - 10, top, BLUE)
        if number is not None:
            self._text(f"EVENT {number}", middle + 110, top, VERMILION)

    def _text(self, text: str, left: int, top: int, colour: tuple[int, int, int]) -> None:
        at = (left, top + CAPTION - 9)
        cv2.putText(self.picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)

    def _plots(self, index: int) -> None:
        played, ahead = self.plots
        panel = self.picture[-len(played) :]
        now = index * panel.shape[1] // len(self.scores)
        panel[:, :now], panel[:, now:] = played[:, :now], ahead[:, now:]
        panel[: MARKS + PLOT, now : now + 2] = INK


def _plot(shown: Shown, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Scores from left to right, each column filled up to the highest of its frames: uint8 [h, width, 3]."""
    scores, truth, foot = shown.scores, shown.truth, MARKS + PLOT
    panel = np.full((foot + (0 if truth is None else TRUTH), width, 3), PAPER, np.uint8)
    edges = np.linspace(0, len(scores), width + 1)
    first = np.floor(edges[:-1]).astype(int)
    last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
    for event in shown.events:
        panel[: MARKS - 2, (last > event.start) & (first < event.end)] = VERMILION
    for column, (begin, end) in enumerate(zip(first, last, strict=True)):
        top = foot - max(1, round(PLOT * float(scores[begin:end].max())))
        panel[top:foot, column] = colour
        if truth is not None and truth[begin:end].any():
            panel[foot + 2 :, column] = GREEN
    return panel
