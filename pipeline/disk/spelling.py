"""Names of videos: é as one character (NFC) and as e with an accent (NFD) are one name.

Systems differ in which they write, and nobody sees the difference. Within the program every name
is in NFC; a file keeps the name that it has on the disk and is opened by that.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ssrl_pipeline.errors import PipelineError


def one_name(name: str) -> str:
    """The name in Unicode's normal form NFC."""
    return unicodedata.normalize("NFC", name)


def by_name(
    spellings: Iterable[str], where: object, error: type[PipelineError] = PipelineError
) -> dict[str, str]:
    """Name in NFC -> its spelling on the disk, in the order given.

    Args:
        where: what holds them, for the message.
        error: the class to raise.

    Raises:
        PipelineError: two spellings are one name.
    """
    found: dict[str, str] = {}
    for spelling in spellings:
        first = found.setdefault(one_name(spelling), spelling)
        if first != spelling:
            raise error(f"{where}: {two_spellings(*sorted((first, spelling)))}; rename or remove one")
    return found


def is_utf8(name: str) -> bool:
    """Whether a file's name is text, which a system may not ask of it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def two_spellings(first: str, second: str) -> str:
    """What two files are whose names look the same; their characters are spelt out, for no eye can tell."""
    return f"two are named {one_name(first)!r}, in other Unicode characters: {first!a} and {second!a}"


def on_disk(path: Path) -> Path:
    """The path as the disk spells it; the path itself where the disk holds no other spelling.

    Raises:
        PipelineError: the disk holds two other spellings of it.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    parent = on_disk(path.parent)
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return path
    same = sorted(name for name in names if not name.isascii() and one_name(name) == one_name(path.name))
    if len(same) > 1:
        raise PipelineError(f"{parent}: {two_spellings(same[0], same[1])}; rename one, or name it exactly")
    return parent / (same[0] if same else path.name)
