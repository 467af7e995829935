"""Folders of pictures that are the frames of a video, as test sets of the field are handed round."""

import re
from pathlib import Path

PICTURES = {".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
FEWEST = 2  # pictures that are taken for a video
_NUMBER = re.compile(r"(\d+)")


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, in the natural order of their names: 2.jpg before 10.jpg.

    Raises:
        OSError: the folder may not be read.
    """
    files = [path for path in folder.iterdir() if is_picture(path.name) and path.is_file()]
    return sorted(files, key=lambda path: natural(path.name))


def is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURES and not name.startswith(".")


def natural(name: str) -> tuple[object, ...]:
    """A key by which names are sorted, their numbers as numbers."""
    parts = _NUMBER.split(name)
    return (*((part.lower(), 0) if i % 2 == 0 else ("", int(part)) for i, part in enumerate(parts)), name)
