"""JSON that lists the ranges of each video: ActivityNet's, in seconds, and FiftyOne's temporal detections.

FiftyOne's are frames counted from 1, both ends included (`support`), or seconds (`timestamps`). It knows a
video by its path below `data/`, without the ending, and a label by its place among `classes`.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
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
        duration = {"duration": video.duration} if video.known.times.known else {}
        database[video.video] = {**duration, **subset, "annotations": ranges}
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


def write_fiftyone(videos: Sequence[Labelled]) -> dict[str, Any]:
    """Raises LabelError where two videos would be one."""
    classes = sorted({span.label for video in videos for span in video.spans})
    labels: dict[str, Any] = {}
    names: dict[str, str] = {}
    for video in videos:
        name = without_ending(video.video)
        if (first := names.setdefault(name, video.video)) != video.video:
            raise LabelError(
                f"{first} and {video.video} are both {name!r} to FiftyOne, which knows videos without their "
                "endings; rename one, or label one of them alone"
            )
        ranges: list[dict[str, Any]] = [
            {"label": classes.index(span.label), "support": [int(span.start) + 1, int(span.end)]}
            for span in video.spans
        ]
        for one, score in zip(ranges, video.scores, strict=False):
            one["confidence"] = score
        labels[name] = ranges or None
    return {"classes": classes, "labels": labels}


def without_ending(video: str) -> str:
    """The name of a video as FiftyOne has it."""
    return str(PurePosixPath(video).with_suffix(""))


def _span(seconds: Sequence[Any], label: str) -> Span:
    start, end = map(float, seconds)
    return Span(start, end, label)
