"""Folders compared whole."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not: path -> content, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
