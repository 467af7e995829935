"""JSON that lists the ranges of each video: ActivityNet's, in seconds, and FiftyOne's temporal detections.

FiftyOne's are frames counted from 1, both ends included (`support`), or seconds (`timestamps`).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.teaching.formats.ranges import Annotated, Labelled, Span

SUBSETS = {"training": "train", "validation": "val", "testing": "test"}


def read_activitynet(path: Path, content: Any) -> Iterator[Annotated]:
    """Raises KeyError and the like where it is no such file."""
    for video, said in content["database"].items():
        spans = [_span(one["segment"], one["label"]) for one in said.get("annotations", [])]
        duration = said.get("duration")
        split = SUBSETS.get(said.get("subset", ""))
        place = f"{path}, {video!r}"
        yield Annotated(place, video, spans, True, duration=duration and float(duration), split=split)


def write_activitynet(videos: Iterable[Labelled]) -> dict[str, Any]:
    subsets = {split: subset for subset, split in SUBSETS.items()}
    database = {}
    for video in videos:
        ranges: list[dict[str, Any]] = [
            {"segment": list(video.seconds(span)), "label": span.label} for span in video.spans
        ]
        for one, score in zip(ranges, video.scores, strict=False):
            one["score"] = score
        subset = {"subset": subsets[video.split]} if video.split else {}
        database[video.video] = {"duration": video.duration, **subset, "annotations": ranges}
    return {"version": "VERSION 1.3", "database": database}


def read_fiftyone(path: Path, content: Any) -> Iterator[Annotated]:
    """Raises KeyError and the like where it is no such file."""
    classes = content.get("classes") or []
    for video, found in content["labels"].items():
        place, spans, units = f"{path}, {video!r}", [], set()
        for one in found or []:
            label = classes[one["label"]] if isinstance(one["label"], int) else one["label"]
            units.add(seconds := "timestamps" in one)
            if seconds:
                spans.append(_span(one["timestamps"], label))
            else:
                first, last = map(int, one["support"])
                if first < 1:
                    raise LabelError(f"{place}: support [{first}, {last}]: FiftyOne counts frames from 1")
                spans.append(Span(first - 1, last, label))
        if len(units) > 1:
            raise LabelError(f"{place}: some ranges are in frames and some in seconds")
        yield Annotated(place, video, spans, seconds=units == {True})


def write_fiftyone(videos: Iterable[Labelled]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for video in videos:
        ranges: list[dict[str, Any]] = [
            {"label": span.label, "support": [int(span.start) + 1, int(span.end)]} for span in video.spans
        ]
        for one, score in zip(ranges, video.scores, strict=False):
            one["confidence"] = score
        labels[video.video] = ranges or None
    return {"labels": labels}


def _span(seconds: Sequence[Any], label: str) -> Span:
    start, end = map(float, seconds)
    return Span(start, end, label)
