"""Which tool a file is of, and reading and writing it."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssrl_pipeline.disk import read_text, write_json, write_text
from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.teaching.formats.cvat import read_cvat, write_cvat
from ssrl_pipeline.teaching.formats.files import ENDINGS, archived, require_bounded
from ssrl_pipeline.teaching.formats.label_studio import read_label_studio, write_label_studio
from ssrl_pipeline.teaching.formats.lists import (
    read_activitynet,
    read_fiftyone,
    write_activitynet,
    write_fiftyone,
)
from ssrl_pipeline.teaching.formats.ranges import Annotated, Labelled
from ssrl_pipeline.teaching.formats.via import read_via, write_via

FORMATS = ("label-studio", "via", "cvat", "activitynet", "fiftyone")


def read_ranges(path: Path, kind: str | None = None) -> list[Annotated]:
    """What a file says of its videos.

    Args:
        kind: one of FORMATS; None: as the file looks.

    Raises:
        LabelError: it cannot be read, or is no such file.
    """
    try:
        if path.suffix.lower() in ENDINGS["cvat"] or kind == "cvat":
            return list(read_cvat(path, _xml(path)))
        require_bounded(path, path.stat().st_size)
        text = read_text(path)
        if kind == "via" or (kind is None and path.suffix.lower() == ".csv"):
            return list(read_via(path, text))
        content = json.loads(text)
        kind = kind or _looks_like(content)
        if kind == "activitynet":
            return list(read_activitynet(path, content))
        if kind == "fiftyone":
            return list(read_fiftyone(path, content))
        return list(read_label_studio(path, content))
    except FileNotFoundError:
        raise LabelError(f"{path}: no such file") from None
    except RecursionError as error:
        raise LabelError(f"{path}: nested too deep") from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, csv.Error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LabelError(f"{path}: not as {kind or 'a labelling tool'} writes it ({what})") from error


def write_ranges(out: Path, kind: str, videos: Sequence[Labelled]) -> list[Path]:
    """Writes a file for a tool; for CVAT one for each video, into a folder.

    Returns:
        What was written.
    """
    if kind == "cvat":
        paths = []
        for video in videos:
            paths.append(out / f"{video.video}.xml")
            write_text(paths[-1], write_cvat(video))
        return paths
    if kind == "via":
        write_text(out, write_via(videos))
    else:
        writers: dict[str, Any] = {"label-studio": write_label_studio, "activitynet": write_activitynet}
        write_json(out, {**writers, "fiftyone": write_fiftyone}[kind](videos))
    return [out]


def _xml(path: Path) -> bytes:
    if path.suffix.lower() == ".zip":
        return archived(path)
    require_bounded(path, path.stat().st_size)
    return path.read_bytes()


def _looks_like(content: Any) -> str:
    if isinstance(content, dict) and "database" in content:
        return "activitynet"
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        return "fiftyone"
    return "label-studio"
