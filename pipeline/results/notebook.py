"""How a result shows itself in a notebook: facts, events and the timeline, in HTML without scripts."""

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from ssrl_pipeline.console.units import time_code
from ssrl_pipeline.results.timeline import save_timeline

if TYPE_CHECKING:
    from ssrl_pipeline.results.video_scores import VideoScores

MOST = 20  # events in the table, the first


def result_html(result: "VideoScores") -> str:
    """A small table of facts, one of events, and the timeline as an inline PNG; all text is escaped."""
    summary = result.summary()
    peak, length, when = summary["summary"]["peak_frame"], f"{summary['frames']} frames", ""
    if result.timing.known:
        at = "at" if result.stamps is None else f"over {time_code(result.duration)}, about"
        length += f" {at} {result.fps:.4g} a second"
        when = f"{time_code(result.times[peak])}, "
    facts = {
        "Video": str(result.video),
        "Length": length,
        "Highest score": f"{summary['summary']['max']:.4f} at {when}frame {peak}",
        "Mean score": f"{summary['summary']['mean']:.4f}",
        "Checkpoint": str(result.checkpoint),
        "Threshold": f"{result.chosen.rule.threshold:.4g}, of {result.chosen.origin}",
        "Events": str(len(result.events) or "none"),
    }
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    file = io.BytesIO()
    save_timeline(file, result, events=result.events, threshold=result.chosen.rule.threshold)
    picture = base64.b64encode(file.getvalue()).decode()
    return (
        f"<div><table>{rows}</table>{_events(result)}"
        f"<img alt='timeline of scores' style='max-width:100%' src='data:image/png;base64,{picture}'></div>"
    )


def _events(result: "VideoScores") -> str:
    if not result.events:
        return ""
    rows = ["<tr><th>event</th><th>from</th><th>to</th><th>highest</th><th>mean</th></tr>"]
    for number, event in enumerate(result.events[:MOST], 1):
        seconds = (event.start_s, event.end_s)
        frames = (f"frame {event.start}", f"frame {event.end - 1}")
        times = (f if s is None else time_code(s) for s, f in zip(seconds, frames, strict=True))
        cells = (str(number), *times, f"{event.peak_score:.4f}", f"{event.mean_score:.4f}")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    if len(result.events) > MOST:
        rows.append(f"<tr><td colspan='5'>and {len(result.events) - MOST} more</td></tr>")
    return f"<table>{''.join(rows)}</table>"
