"""The CSV of the VGG Image Annotator, version 3: a row for each temporal segment, in seconds.

Lines that begin with # say which columns there are, and what the options of attributes are called. A row
with one time is of a still frame, one with none of a place in the picture: both are no ranges.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.teaching.formats.ranges import Annotated, Labelled, Span

COLUMNS = ("metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata")
NORMAL = "normal"  # the label of a segment that says of a whole video that nothing is in it


def read_via(path: Path, text: str) -> Iterator[Annotated]:
    """Raises LabelError where it is no such file."""
    columns, options = list(COLUMNS), {}
    body: list[str] = []
    for line in text.splitlines(keepends=True):
        if not line.startswith("#"):
            body.append(line)
        elif "CSV_HEADER" in line:
            columns = [name.strip() for name in line.partition("=")[2].split(",")]
        elif line.startswith(("# ATTRIBUTE =", "# ATTRIBUTES =")):
            options = _json(line.partition("=")[2], f"{path}")
    spans: dict[str, list[Span]] = {}
    for number, cells in enumerate(csv.reader(io.StringIO("".join(body))), start=1):
        if cells:
            place = f"{path}, row {number}"
            if len(cells) < len(columns):
                raise LabelError(f"{place}: {len(cells)} cells where there are {len(columns)} columns")
            row = dict(zip(columns, cells, strict=False))
            video, span = _row(row, options, place)
            spans.setdefault(video, []).extend([span] if span else [])
    for video, found in spans.items():
        yield Annotated(str(path), video, found, seconds=True)


def write_via(videos: Iterable[Labelled]) -> str:
    out = io.StringIO()
    out.write("# Exported by ssrl-pipeline for the VGG Image Annotator 3\n")
    out.write(f"# CSV_HEADER = {','.join(COLUMNS)}\n")
    rows = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    number = 0
    for video in videos:
        for span in video.spans or [Span(0, video.known.frames, NORMAL)]:
            number += 1
            times, said = json.dumps(video.seconds(span)), json.dumps({"1": span.label}, ensure_ascii=False)
            files = json.dumps([video.video], ensure_ascii=False)
            rows.writerow((f"1_{number:08d}", files, "0", times, "[]", said))
    return out.getvalue()


def _row(row: dict[str, str], options: dict[str, Any], place: str) -> tuple[str, Span | None]:
    files = _json(row["file_list"], place) if row["file_list"].startswith("[") else [row["file_list"]]
    if len(files) != 1:
        raise LabelError(f"{place}: {len(files)} files side by side; label one video at a time")
    if "temporal_segment_start" in row:
        times = [float(row["temporal_segment_start"]), float(row["temporal_segment_end"])]
    else:
        times = [float(time) for time in _json(row["temporal_coordinates"], place)]
    if len(times) != 2:
        return files[0], None
    said = _json(row["metadata"], place)
    names = [_option(options.get(key, {}), value) for key, value in said.items()]
    return files[0], Span(times[0], times[1], ", ".join(filter(None, names)))


def _option(attribute: Any, value: Any) -> str:
    known = attribute.get("options", {}) if isinstance(attribute, dict) else {}
    return str(known.get(value, value))


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LabelError(f"{place}: {text.strip()!r} is not JSON ({error})") from error
