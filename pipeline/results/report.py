"""report.html: one page for a run of `score`, with each video beside its scores.

The page is a single file that needs no network. Plotly, the scores and the
pictures of the events are in it; the videos are linked to by a relative path.
Names of videos are a stranger's: they enter the page as JSON, and its script
(report.js) sets them as text alone.

Dimensions: N frames, T snippets, P patches, h x w cells of a heat map.
"""

import base64
import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from plotly.offline import get_plotlyjs

from ssrl_pipeline._version import __version__
from ssrl_pipeline.data import intervals_of
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.events import describe
from ssrl_pipeline.extractors import SNIPPET_FRAMES, every_16th
from ssrl_pipeline.results.heat_map import frame_heat
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.results.time_knots import time_knots

POINTS = 20_000  # of a curve at most: 3.5 hours of snippets at 25 frames a second are shown exactly
HEAT_BYTES = 500_000  # of a video's heat maps; above, some snippets share one
DIGITS = 5  # of a score on the curve


def report_entry(
    shown: Shown,
    summary: Mapping[str, Any],
    folder: Path,
    model: Mapping[str, Any],
    pictures: Mapping[int, bytes] | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """What the page tells of one video; much smaller than its scores.

    Args:
        shown: what is drawn.
        summary: the contents of the video's scores.json.
        folder: that the page will be in.
        model: the kind and the arguments of the model, as the checkpoint names them.
        pictures: peak of an event -> its JPEG, as of :func:`ssrl_pipeline.results.pictures.load_peaks`.
        name: of the video on the page; None for its file's.
    """
    events = [describe(number, event) for number, event in enumerate(shown.events, 1)]
    for event in events:
        if picture := (pictures or {}).get(event["peak_frame"]):
            event["picture"] = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    facts = ("video", "frames", "width", "height", "decoder", "checkpoint", "duration_s", "recipe", "rule")
    return {
        "name": shown.video.name if name is None else name,
        "link": link(shown.video, folder),
        **{key: summary[key] for key in facts},
        **{key: summary["summary"][key] for key in ("mean", "max", "peak_frame")},
        "fps": summary["fps"] if shown.times.known else None,
        "times": None if shown.times.stamps is None else time_knots(shown.times, summary["frames"]),
        "model": {"kind": "ssrl", **model},
        "curve": curve(shown.scores),
        "events": events,
        "truth": None if shown.truth is None else intervals_of(shown.truth),
        "snippets": None if shown.starts is None else np.diff(shown.starts).tolist(),
        "heat": heat_maps(shown.heat, shown.scores, shown.starts) if shown.heat else None,
    }


def save_report(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page, the video with the highest score first.

    Args:
        path: of the page.
        entries: of :func:`report_entry`, made for the page's folder.
    """
    page = {
        "version": __version__,
        "snippet_frames": SNIPPET_FRAMES,
        "videos": sorted(entries, key=lambda entry: -entry["max"]),
    }
    parts = {
        "style": _resource("palette.css", "ssrl_pipeline") + _resource("report.css"),
        "plotly": get_plotlyjs(),
        # Without a "<" nothing in the data can end the element that holds them.
        "data": json.dumps(page, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": _resource("report.js"),
    }
    # In one pass: what was put in is not searched again.
    write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _resource("report.html")))


def link(video: Path, folder: Path) -> str:
    """A page's link to a video: relative, so that both can be moved together."""
    try:
        relative = os.path.relpath(video.absolute(), folder.absolute())
    except ValueError:  # on another drive of Windows
        return video.absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def curve(scores: np.ndarray, points: int = POINTS) -> dict[str, Any]:
    """Scores as the points of a curve.

    Args:
        scores: float [N].
        points: at most.

    Returns:
        `frames` and `scores`, of the same length. Where `exact`, a score lasts up to
        the next point's frame; else they are the lowest and the highest of each of
        `points / 2` equal stretches, so that a single frame's peak in a day is kept.
    """
    frames = np.append(0, np.flatnonzero(np.diff(scores)) + 1)
    exact = len(frames) <= points
    if not exact:
        edges = np.linspace(0, len(scores), points // 2 + 1).astype(int)
        extremes = (
            begin + pick(scores[begin:end])
            for begin, end in itertools.pairwise(edges)
            for pick in (np.argmin, np.argmax)
        )
        frames = np.unique(np.fromiter(extremes, int))
    values = [round(score, DIGITS) for score in scores[frames].tolist()]
    return {"frames": frames.tolist(), "scores": values, "exact": exact}


def heat_maps(
    heat: Mapping[str, np.ndarray], scores: np.ndarray, starts: np.ndarray | None = None
) -> dict[str, Any]:
    """Where the model looked, small enough for the page.

    As in overlay.mp4 a map is relative to its own hottest cell and as strong as its
    snippet's score.

    Args:
        heat: scale, as "3x5" -> float [T, P].
        scores: float [N], of frames.
        starts: int [T], the first frame of each snippet; None: every 16th.

    Returns:
        `levels`, bytes [ceil(T / snippets), rows, columns] in base64, 255 for a score of
        1. Where HEAT_BYTES do not suffice for all, each is the highest of some `snippets`.
    """
    scores = scores[every_16th(len(next(iter(heat.values())))) if starts is None else starts]  # [T]
    _, rows, columns = frame_heat({scale: values[:1] for scale, values in heat.items()}).shape
    share = math.ceil(len(scores) * rows * columns / HEAT_BYTES)
    levels = []
    for begin in range(0, len(scores), share):
        part = slice(begin, begin + share)
        cells = frame_heat({scale: values[part] for scale, values in heat.items()})
        hottest = cells.max(axis=(1, 2), keepdims=True)
        shown = cells * scores[part, None, None] / np.where(hottest > 0, hottest, 1)
        levels.append(np.rint(255 * shown.max(axis=0)).astype(np.uint8))
    packed = base64.b64encode(np.stack(levels).tobytes()).decode()
    return {"rows": rows, "columns": columns, "snippets": share, "levels": packed}


def _resource(name: str, package: str = "ssrl_pipeline.results") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
