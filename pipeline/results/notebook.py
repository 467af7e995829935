"""How a result shows itself in a notebook: facts, events and the timeline, in HTML without scripts."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ssrl_pipeline.console import time_code
from ssrl_pipeline.events import Event
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.results.timeline import save_timeline

LISTED = 20  # events in the table, the first


def result_html(shown: Shown, summary: Mapping[str, Any]) -> str:
    """A small table of facts, one of events, and the timeline as an inline PNG; all text is escaped.

    Args:
        shown: what is drawn.
        summary: the contents of scores.json.
    """
    peak, rule, length, when = summary["summary"], summary["rule"], f"{summary['frames']} frames", ""
    if shown.times.known:
        at = "at" if shown.times.stamps is None else f"over {time_code(summary['duration_s'])}, about"
        length += f" {at} {summary['fps']:.4g} a second"
        when = f"{time_code(peak['peak_time_s'])}, "
    facts = {
        "Video": summary["video"],
        "Length": length,
        "Highest score": f"{peak['max']:.4f} at {when}frame {peak['peak_frame']}",
        "Mean score": f"{peak['mean']:.4f}",
        "Checkpoint": summary["checkpoint"],
        "Threshold": f"{rule['threshold']:.4g}, of {rule['threshold_from']}",
        "Events": str(len(shown.events) or "none"),
    }
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    file = io.BytesIO()
    save_timeline(file, shown)
    picture = base64.b64encode(file.getvalue()).decode()
    return (
        f"<div><table>{rows}</table>{_events(shown.events)}"
        f"<img alt='timeline of scores' style='max-width:100%' src='data:image/png;base64,{picture}'></div>"
    )


def _events(events: Sequence[Event]) -> str:
    if not events:
        return ""
    rows = ["<tr><th>event</th><th>from</th><th>to</th><th>highest</th><th>mean</th></tr>"]
    for number, event in enumerate(events[:LISTED], 1):
        seconds = (event.start_s, event.end_s)
        frames = (f"frame {event.start}", f"frame {event.end - 1}")
        times = (f if s is None else time_code(s) for s, f in zip(seconds, frames, strict=True))
        cells = (str(number), *times, f"{event.peak_score:.4f}", f"{event.mean_score:.4f}")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    if len(events) > LISTED:
        rows.append(f"<tr><td colspan='5'>and {len(events) - LISTED} more</td></tr>")
    return f"<table>{''.join(rows)}</table>"
