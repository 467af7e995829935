"""contact_sheet.png: each event's first, highest and last frame, read back from the video.

The video is decoded once more, in order and up to the last frame that is shown,
with the decoder that scored it: so these are the frames that were scored, which
seeking does not promise in every container. One frame and the sheet's small
pictures are held at a time.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.event_files import time_code
from ssrl_pipeline.events import Event
from ssrl_pipeline.extractors.decode import open_video
from ssrl_pipeline.files import whole_file

MOST = 12  # events on a sheet
TILE = (320, 240)  # at most, in pixels
GAP, TEXT, LINE = 8, 15, 22  # between tiles; height of letters and of lines
INK, PAPER, MARK = "#000000", "#FFFFFF", "#D55E00"


class _Shown(NamedTuple):
    number: int
    event: Event
    frames: tuple[int, int, int]  # first, highest, last


def save_contact_sheet(
    path: Path, video: Path, events: Sequence[Event], decoder: str, most: int = MOST
) -> int:
    """Draws a row of three frames for each of the highest events, in order of time.

    Args:
        path: of the PNG; without events none is written.
        video: the file.
        events: of the video, in order of time.
        decoder: that the video was scored with, of :data:`ssrl_pipeline.extractors.decode.DECODERS`.
        most: events on the sheet; the highest are chosen. The sheet says how many are left out.

    Returns:
        The number of events left out.

    Raises:
        VideoError: the video is not there any more, or not as long as when it was scored.
    """
    if not events:
        return 0
    numbered = sorted(enumerate(events, 1), key=lambda pair: -pair[1].peak_score)[:most]
    rows = [_Shown(n, event, (event.start, event.peak, event.end - 1)) for n, event in sorted(numbered)]
    pictures = read_pictures(video, {frame for row in rows for frame in row.frames}, decoder)
    left_out = len(events) - len(rows)
    with whole_file(path) as scratch:
        _draw(video.name, rows, pictures, left_out).save(scratch, format="PNG")
    return left_out


def read_pictures(video: Path, wanted: set[int], decoder: str) -> dict[int, Image.Image]:
    """Frame -> its picture, no larger than a tile."""
    pictures: dict[int, Image.Image] = {}
    last = max(wanted)
    with open_video(video, decoder) as source:
        for index, frame in enumerate(itertools.islice(source.frames, last + 1)):
            if index in wanted:
                pictures[index] = _small(frame)
    if last not in pictures:
        raise VideoError(f"{video}: ends before frame {last}, which was scored; the file has changed since")
    return pictures


def _small(frame: np.ndarray) -> Image.Image:
    """uint8 [H, W, 3] -> the picture, made smaller to fit a tile where it is larger."""
    picture = Image.fromarray(frame)
    picture.thumbnail(TILE)
    return picture


def _draw(
    name: str, rows: Sequence[_Shown], pictures: Mapping[int, Image.Image], left_out: int
) -> Image.Image:
    width = max(max(picture.width for picture in pictures.values()), 250)  # the text needs as much
    height = max(picture.height for picture in pictures.values())
    row_height = height + 2 * LINE + GAP
    sheet = Image.new("RGB", (3 * width + 4 * GAP, 2 * LINE + len(rows) * row_height + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT)
    count = f"{len(rows)} event{'s' if len(rows) > 1 else ''}"
    if left_out:
        count += f", {left_out} of lower scores left out"
    draw.text((GAP, GAP), _fit(f"{count}: {name}", font, sheet.width - 2 * GAP), INK, font)
    for i, row in enumerate(rows):
        top = 2 * LINE + i * row_height
        for column, (frame, caption) in enumerate(zip(row.frames, _captions(row), strict=True)):
            left = GAP + column * (width + GAP)
            picture = pictures[frame]
            sheet.paste(picture, (left, top + 2 * LINE))
            draw.multiline_text((left, top), caption, INK, font, spacing=3)
            if column == 1:
                box = (left, top + 2 * LINE, left + picture.width - 1, top + 2 * LINE + picture.height - 1)
                draw.rectangle(box, outline=MARK, width=3)
    return sheet


def _captions(row: _Shown) -> tuple[str, str, str]:
    event = row.event
    return (
        f"{row.number}  from {_time(event.start_s)}\nframe {event.start}",
        f"highest {event.peak_score:.2f}  {_time(event.peak_s)}\nframe {event.peak}",
        f"to {_time(event.end_s)}\nframe {event.end - 1}, mean {event.mean_score:.2f}",
    )


def _time(seconds: float | None) -> str:
    return "" if seconds is None else time_code(seconds)


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, its end cut off where it is too long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
