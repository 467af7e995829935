"""Label Studio's JSON of videos labelled on a timeline (`TimelineLabels`).

A task holds annotations, of which one counts: the ground truth, else the latest that was not cancelled.
Frames are counted from 1, and both ends belong to a range; what Label Studio takes for a frame is the time
multiplied by the configuration's frameRate, 24 where it names none. Predictions are pre-annotations.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.extractors.decoding import EXTENSIONS
from ssrl_pipeline.teaching.formats.ranges import Annotated, Labelled, Span

NAMES = ("video", "video_url", "url")  # of the video among a task's data
RATES = ("fps", "frame_rate", "framerate", "frameRate")


def read_label_studio(path: Path, content: Any) -> Iterator[Annotated]:
    """Raises LabelError where it is no such file."""
    for number, task in enumerate(content if isinstance(content, list) else [content], start=1):
        place = f"{path}, task {number}"
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict) or "annotations" not in task:
            raise LabelError(
                f"{place}: no task of Label Studio with its annotations; export as JSON, not JSON-MIN"
            )
        data = task["data"]
        annotation = _chosen(task["annotations"])
        if annotation is None:
            continue  # nobody has looked at it yet
        spans, frames, duration = [], None, None
        for result in annotation.get("result", []):
            value = result.get("value", {})
            frames, duration = value.get("framesCount", frames), value.get("duration", duration)
            if result.get("type") == "timelinelabels":
                spans += list(_spans(value, place))
        rate = next((float(data[name]) for name in RATES if data.get(name)), None)
        rate = rate or (frames / duration if frames and duration else None)
        video = _video(data, place)
        yield Annotated(place, video, spans, False, frames, rate, duration, rate_matters=True)


def write_label_studio(videos: Iterable[Labelled]) -> list[dict[str, Any]]:
    """Tasks to import: labels as annotations, a detector's events as predictions."""
    tasks = []
    for number, video in enumerate(videos, start=1):
        results = [
            {
                "id": f"r{number}_{place}",
                "type": "timelinelabels",
                "from_name": "timelineLabels",
                "to_name": "video",
                "value": {
                    "ranges": [{"start": int(span.start) + 1, "end": int(span.end)}],
                    "timelinelabels": [span.label],
                },
                **({"score": video.scores[place]} if video.scores else {}),
            }
            for place, span in enumerate(video.spans)
        ]
        fps = video.known.times.fps
        task: dict[str, Any] = {"id": number, "data": {"video": video.video, **({"fps": fps} if fps else {})}}
        if video.scores:
            guess = {"model_version": "ssrl-pipeline", "score": max(video.scores), "result": results}
            task |= {"annotations": [], "predictions": [guess]}
        else:
            task |= {"annotations": [{"result": results, "was_cancelled": False}]}
        tasks.append(task)
    return tasks


def _chosen(annotations: list[dict[str, Any]]) -> dict[str, Any] | None:
    finished = [one for one in annotations if not one.get("was_cancelled")]
    truth = [one for one in finished if one.get("ground_truth")]
    return max(truth or finished, key=lambda one: str(one.get("updated_at", "")), default=None)


def _spans(value: dict[str, Any], place: str) -> Iterator[Span]:
    labels = value.get("timelinelabels") or [""]
    for one in value["ranges"]:
        start, end = int(one["start"]), int(one["end"])
        if start < 1:
            raise LabelError(f"{place}: range {start} to {end}: Label Studio counts frames from 1")
        yield from (Span(start - 1, end, label) for label in labels)


def _video(data: dict[str, Any], place: str) -> str:
    for name in (*NAMES, *data):
        value = data.get(name)
        if isinstance(value, str) and (name in NAMES or Path(value).suffix.lower() in EXTENSIONS):
            return value.rpartition("?d=")[2]  # of a local file that Label Studio serves
    raise LabelError(f"{place}: names no video")
