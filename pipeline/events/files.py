"""A video's events as files: events.json, events.csv, and as subtitles, events.vtt and events.srt.

A player shows the subtitles over the video: WebVTT (W3C) as a <track> on a web
page and in VLC and mpv, SubRip nearly everywhere.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssrl_pipeline.console import time_code
from ssrl_pipeline.disk import whole_file, write_json, write_text
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.times import is_rate

COLUMNS = (
    *("event", "start_frame", "end_frame", "peak_frame"),
    *("start_s", "end_s", "peak_s"),
    *("start_time", "end_time", "peak_time"),
    *("peak_score", "mean_score"),
    *("words", "patch"),
)


def save_events(
    folder: Path, events: Sequence[Event], video: str, fps: float, rule: EventRule, origin: str
) -> list[str]:
    """Writes all four files into a folder; where the frame rate is unknown, JSON and CSV alone.

    Args:
        video: its name, for events.json.
        fps: of the video; 0 where unknown.
        rule: that made the events.
        origin: where the rule's threshold is from, in words.

    Returns:
        The names of the files.
    """
    content = {
        "video": video,
        "fps": fps if is_rate(fps) else None,
        "rule": {**asdict(rule), "low": rule.low, "threshold_from": origin},
        "events": [describe(number, event) for number, event in enumerate(events, 1)],
    }
    write_json(folder / "events.json", content)
    write_csv(folder / "events.csv", events)
    if not is_rate(fps):
        return ["events.json", "events.csv"]
    write_vtt(folder / "events.vtt", events)
    write_srt(folder / "events.srt", events)
    return ["events.json", "events.csv", "events.vtt", "events.srt"]


def describe(number: int, event: Event) -> dict[str, Any]:
    """COLUMNS -> values: frames 0-based, end exclusive; times None where the frame rate is unknown.

    The words are a list, empty where there are none; then the patch is None.
    """
    seconds = (event.start_s, event.end_s, event.peak_s)
    times = (None if second is None else time_code(second) for second in seconds)
    scores, words = (event.peak_score, event.mean_score), (list(event.words), event.patch or None)
    values = (number, *event[:3], *seconds, *times, *scores, *words)
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(path: Path, events: Sequence[Event]) -> None:
    """A row for each event with the columns COLUMNS; what is unknown is empty; words are parted by "; "."""
    with whole_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for number, event in enumerate(events, 1):
            cells = describe(number, event).values()
            rows.writerow(map(_cell, cells))


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return f"{value:.6f}" if isinstance(value, float) else value


def write_vtt(path: Path, events: Sequence[Event]) -> None:
    """WebVTT. Raises PipelineError where the events have no times."""
    write_text(path, "\n".join(["WEBVTT\n", *_cues(path, events, time_code)]))


def write_srt(path: Path, events: Sequence[Event]) -> None:
    """SubRip. Raises PipelineError where the events have no times."""
    write_text(path, "\n".join(_cues(path, events, lambda seconds: time_code(seconds).replace(".", ","))))


def _cues(path: Path, events: Sequence[Event], code: Callable[[float], str]) -> list[str]:
    cues = []
    for number, event in enumerate(events, 1):
        if event.start_s is None or event.end_s is None or event.peak_s is None:
            raise PipelineError(
                f"{path}: subtitles need times, and the video's frame rate is unknown; use events.csv, "
                "which counts frames, or re-encode the video with a constant rate (ffmpeg -r 25)"
            )
        start = round(event.start_s, 3)
        end = max(round(event.end_s, 3), start + 0.001)  # players drop a cue that lasts no time
        cues.append(
            f"{number}\n{code(start)} --> {code(end)}\n"
            f"Anomaly {number}: score {event.peak_score:.2f}, highest at {time_code(event.peak_s)}\n"
            + (f"{event.looks}\n" if event.words else "")
        )
    return cues
