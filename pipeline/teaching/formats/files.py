"""The files that are named, a folder's among them, and what is in them: never more than MOST_BYTES.

A ZIP archive is one that CVAT exports. Only its annotations are read, and nothing is unpacked to the disk.
"""

import lzma
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from ssrl_pipeline.console import size
from ssrl_pipeline.errors import LabelError

MOST_BYTES = 256 << 20
IN_ARCHIVE = "annotations.xml"
ENDINGS = {"cvat": (".xml", ".zip"), "via": (".csv",)}
JSON = (".json",)  # of the other tools
OUR_TABLES = ("labels.csv", "intervals.csv")  # which may lie beside


def files_of(paths: Iterable[Path], kind: str | None) -> list[Path]:
    """The files themselves, and those below folders that end as a tool's do, sorted.

    Raises:
        LabelError: a folder holds none.
    """
    endings = (*JSON, *ENDINGS["cvat"], *ENDINGS["via"]) if kind is None else ENDINGS.get(kind, JSON)
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = [file for file in sorted(path.rglob("*")) if _is_one(file, path, endings)]
        if not below:
            raise LabelError(f"{path}: holds no file that ends in {' or '.join(endings)}")
        found += below
    return found


def _is_one(file: Path, root: Path, endings: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and file.suffix.lower() in endings and file.name not in OUR_TABLES and file.is_file()


def require_bounded(path: Path, count: int) -> None:
    """Raises LabelError where a file of so many bytes is too large to be read."""
    if count > MOST_BYTES:
        raise LabelError(
            f"{path}: {size(count)}, and at most {size(MOST_BYTES)} are read; export it in several files"
        )


def archived(path: Path) -> bytes:
    """The annotations in an archive of CVAT.

    Raises:
        LabelError: it is none, or they are too many.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(IN_ARCHIVE)
            require_bounded(path, member.file_size)
            with archive.open(member) as file:
                return file.read(MOST_BYTES)
    except KeyError:
        raise LabelError(f"{path}: holds no {IN_ARCHIVE}; export from CVAT as CVAT for video 1.1") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        raise LabelError(f"{path}: cannot be read as an archive of CVAT ({error})") from error
