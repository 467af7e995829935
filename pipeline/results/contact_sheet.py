"""contact_sheet.png: each event's first, highest and last frame, read back from the video, and its words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ssrl_pipeline.console import time_code
from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.events import Event

SHEET_EVENTS = 12  # at most
GAP, TEXT, LINE = 8, 15, 22  # between tiles; height of letters and of lines
INK, PAPER, MARK = "#000000", "#FFFFFF", "#D55E00"


class _Shown(NamedTuple):
    number: int
    event: Event
    frames: tuple[int, int, int]  # first, highest, last


def sheet_frames(events: Sequence[Event], most: int = SHEET_EVENTS) -> set[int]:
    """The frames that :func:`save_contact_sheet` shows."""
    return {frame for row in _rows(events, most) for frame in row.frames}


def save_contact_sheet(
    path: Path,
    name: str,
    events: Sequence[Event],
    pictures: Mapping[int, Image.Image],
    most: int = SHEET_EVENTS,
) -> None:
    """Draws a row of three frames for each of the highest events, in order of time.

    Args:
        path: of the PNG; without events none is written.
        name: of the video.
        events: of the video, in order of time.
        pictures: of :func:`sheet_frames` at least, by :func:`ssrl_pipeline.results.pictures.read_pictures`.
        most: events on the sheet; the highest are chosen. The sheet says how many are left out.
    """
    if not events:
        return
    rows = _rows(events, most)
    with whole_file(path) as scratch:
        _draw(name, rows, pictures, len(events) - len(rows)).save(scratch, format="PNG")


def _rows(events: Sequence[Event], most: int) -> list[_Shown]:
    numbered = sorted(enumerate(events, 1), key=lambda pair: -pair[1].peak_score)[:most]
    return [_Shown(n, event, (event.start, event.peak, event.end - 1)) for n, event in sorted(numbered)]


def _draw(
    name: str, rows: Sequence[_Shown], pictures: Mapping[int, Image.Image], left_out: int
) -> Image.Image:
    from matplotlib import font_manager  # matplotlib is loaded when something is drawn

    sizes = [pictures[frame].size for row in rows for frame in row.frames]
    width = max(250, *(size[0] for size in sizes))  # the text needs as much
    height = max(size[1] for size in sizes)
    text = (3 if any(row.event.words for row in rows) else 2) * LINE  # above the frames
    row_height = height + text + GAP
    sheet = Image.new("RGB", (3 * width + 4 * GAP, 2 * LINE + len(rows) * row_height + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT)
    count = f"{len(rows)} event{'s' if len(rows) > 1 else ''}"
    if left_out:
        count += f", {left_out} of lower scores left out"
    draw.text((GAP, GAP), _fit(f"{count}: {name}", font, sheet.width - 2 * GAP), INK, font)
    for i, row in enumerate(rows):
        top = 2 * LINE + i * row_height
        if row.event.words:
            looks = _fit(row.event.looks, font, sheet.width - 2 * GAP)
            draw.text((GAP, top + 2 * LINE), looks, INK, font)
        for column, (frame, caption) in enumerate(zip(row.frames, _captions(row), strict=True)):
            left = GAP + column * (width + GAP)
            picture = pictures[frame]
            sheet.paste(picture, (left, top + text))
            draw.multiline_text((left, top), caption, INK, font, spacing=3)
            if column == 1:
                box = (left, top + text, left + picture.width - 1, top + text + picture.height - 1)
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
