"""Opens each camera once, and draws a picture of it with its masks, its zones and the model's patches.

ssrl-pipeline watch -c cameras.yaml --check
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssrl_pipeline.console import hide_secrets
from ssrl_pipeline.disk import whole_file
from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.scales import parse_scale, scale_of, view_of
from ssrl_pipeline.watching.camera import Opener, open_source
from ssrl_pipeline.watching.cameras.camera_file import CameraEntry
from ssrl_pipeline.watching.cameras.masks import Polygon, Sight, masked_pixels
from ssrl_pipeline.watching.sources import rate_of

FRAMES, SECONDS = 25, 4.0  # that a camera is looked at for, at most
TOGETHER = 8  # cameras opened at the same time
LEAST_WIDTH = 640  # of a picture; smaller ones are enlarged
MASKED = (0.35, 0.35, 0.35)  # what is left of a masked pixel's colours
PATCH, ZONE, HIDDEN = (255, 255, 255, 150), (0, 220, 255, 255), (255, 90, 60, 255)


class Checked(NamedTuple):
    """What became of one camera."""

    name: str
    problem: str = ""  # "" where it could be opened
    width: int = 0
    height: int = 0
    fps: float = 0.0  # by the times of its first frames; 0 where it is not known
    codec: str = ""
    picture: Path | None = None

    def __str__(self) -> str:
        if self.problem:
            return f"{self.name}: {self.problem}"
        rate = f"{self.fps:.4g} frames a second" if self.fps else "rate unknown"
        codec = self.codec or "codec unknown"
        return f"{self.name}: {self.width}x{self.height}, {rate}, {codec}, {self.picture}"


def check_cameras(
    entries: Sequence[CameraEntry],
    views: Callable[[Path | None], Mapping[str, int]],
    folder: Path,
    timeout: float,
    opener: Opener = open_source,
) -> list[Checked]:
    """Opens cameras, some at the same time, and writes folder/NAME.png of each.

    Args:
        entries: of the file of cameras.
        views: what a checkpoint's model looks at.
        folder: is made where it is not there.
        timeout: seconds without a frame after which a camera is given up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check = partial(_check, views=views, folder=folder, timeout=timeout, opener=opener)
    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(check, entries))


def _check(
    entry: CameraEntry,
    views: Callable[[Path | None], Mapping[str, int]],
    folder: Path,
    timeout: float,
    opener: Opener,
) -> Checked:
    source = entry.source
    try:
        video = opener(source, timeout, lambda end: None)
        with video:
            begun, times = time.monotonic(), list[float]()
            for frame in video.frames:
                image = frame.copy()  # it is lent
                times.append(video.time)
                if len(times) == FRAMES or time.monotonic() - begun > SECONDS:
                    break
    except VideoError as error:
        text = str(error).replace(source.address, source.shown) if source.kind == "stream" else str(error)
        return Checked(source.name, hide_secrets(text) + source.hint)
    if not times:
        return Checked(source.name, "no frames")
    fps = (rate_of(np.array(times), video.info.fps) if len(times) > 1 else None) or video.info.fps
    name = source.name.replace("/", "_").replace("\\", "_").strip("_.") or "camera"  # it may be a path
    path = folder / f"{name}.png"
    scales = [scale for view in views(entry.checkpoint) if (scale := scale_of(view))]
    with whole_file(path) as unfinished:
        draw_sight(image, entry.sight, scales).save(unfinished, format="png")
    height, width = image.shape[:2]
    return Checked(source.name, "", width, height, fps, video.codec, path)


def draw_sight(image: np.ndarray, sight: Sight, scales: Sequence[str]) -> Image.Image:
    """A frame with what is masked darkened, patches framed, crossed where they do not count, zones named.

    Args:
        image: RGB, uint8 [H, W, 3].
        scales: of the model's patches; the patches of each are framed a little further inside.
    """
    from matplotlib import font_manager  # matplotlib is loaded when something is drawn

    enlarged = max(1, -(-LEAST_WIDTH // image.shape[1]))
    shown = image.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    if sight.masks:
        masked = masked_pixels(sight.masks, *shown.shape[:2])
        shown[masked] = (shown[masked] * np.array(MASKED)).astype(np.uint8)
    picture = Image.fromarray(shown)
    draw = ImageDraw.Draw(picture, "RGBA")
    line = max(2, picture.width // 480)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), max(12, picture.width // 50))
    for number, scale in enumerate(scales):
        _draw_patches(draw, picture.size, sight, scale, inset=number * 3 * line, line=line)
    for mask in sight.masks:
        _outline(draw, picture.size, mask, HIDDEN, line)
    for zone in sight.zones:
        _outline(draw, picture.size, zone.area, ZONE, 2 * line)
        x, y = min(zone.area, key=lambda corner: corner[1] + corner[0])
        at = (x * picture.width + 2 * line, y * picture.height + 2 * line)
        draw.rectangle(draw.textbbox(at, zone.name, font), fill=(0, 0, 0, 170))
        draw.text(at, zone.name, ZONE, font)
    return picture


def _outline(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], polygon: Polygon, colour: tuple[int, ...], line: int
) -> None:
    corners = [(x * (size[0] - 1), y * (size[1] - 1)) for x, y in (*polygon, polygon[0])]
    draw.line(corners, fill=colour, width=line, joint="curve")


def _draw_patches(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], sight: Sight, scale: str, inset: int, line: int
) -> None:
    rows, columns = parse_scale(scale)
    view = view_of(scale)
    hidden = sight.hidden({view: rows * columns}).get(view, np.zeros(rows * columns, bool))
    for place, is_hidden in enumerate(hidden):
        row, column = divmod(place, columns)
        left, right = (round((column + i) * size[0] / columns) for i in (0, 1))
        top, bottom = (round((row + i) * size[1] / rows) for i in (0, 1))
        box = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
        draw.rectangle(box, outline=PATCH, width=max(1, line // 2))
        if is_hidden:
            draw.line((box[0], box[1], box[2], box[3]), fill=HIDDEN, width=line)
            draw.line((box[0], box[3], box[2], box[1]), fill=HIDDEN, width=line)
