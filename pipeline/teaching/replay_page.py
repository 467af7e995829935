"""A page of what `replay` found: alarms that go and that come, with pictures where they are at hand."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssrl_pipeline.console import time_code
from ssrl_pipeline.disk import write_text
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.results import PEAKS, load_peaks, read_pictures
from ssrl_pipeline.teaching.replay import Change, Comparison, Played
from ssrl_pipeline.teaching.verdicts import Verdict

MOST_PICTURES = 100  # on a page
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
.alarms { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 170px; font-size: 13px; }
img { width: 160px; display: block; background: #ddd; min-height: 90px; }
"""


def save_page(path: Path, found: Comparison, played: Mapping[str, Played], files: Mapping[str, Path]) -> None:
    """Writes the page, a single file.

    Args:
        played: the videos, whose results' pictures are taken where they have any.
        files: the videos' own files, which are decoded where there is no picture.
    """
    pictures = _pictures([*found.gone, *found.come], played, files)
    rows = [("", "now", "then"), ("threshold", *found.threshold_words), ("alarms", *map(str, found.alarms))]
    if found.hours:
        rows.append(("alarms an hour", *(f"{count / found.hours:.3g}" for count in found.alarms)))
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Replay</title>",
        f"<style>{_STYLE}</style><h1>Replay</h1><table>{cells}</table>",
        f"<p>{found.videos} videos" + (f", {found.hours:.3g} hours" if found.hours else "") + "</p>",
        *_alarms("Alarms that go", found.gone, pictures),
        *_alarms("Alarms that come", found.come, pictures),
        *_verdicts(found),
        "</html>\n",
    ]
    write_text(path, "\n".join(parts))


def _alarms(title: str, changes: Sequence[Change], pictures: Mapping[Change, bytes]) -> list[str]:
    figures = []
    for change in changes:
        event = change.event
        when = f"frame {event.start}" if event.start_s is None else time_code(event.start_s)
        picture = base64.b64encode(pictures.get(change, b"")).decode()
        shown = f'<img alt="" src="data:image/jpeg;base64,{picture}">' if picture else ""
        said = f"{html.escape(change.video)}<br>{when}, score {event.peak_score:.2f}"
        figures.append(f"<figure>{shown}<figcaption>{said}</figcaption></figure>")
    return [f"<h2>{title}: {len(changes)}</h2>", "<div class='alarms'>", *figures, "</div>"]


def _verdicts(found: Comparison) -> list[str]:
    titles = {"lost": "right now, wrong then", "won": "wrong now, right then", "wrong": "wrong with both"}
    parts = [f"<h2>Verdicts: {len(found.kept)} right with both</h2>"]
    for name, title in titles.items():
        given: list[Verdict] = getattr(found, name)
        items = "".join(f"<li>{html.escape(str(one.moment))}: {one.word}</li>" for one in given)
        parts.append(f"<h3>{title}: {len(given)}</h3><ul>{items}</ul>")
    return parts


def _pictures(
    changes: Sequence[Change], played: Mapping[str, Played], files: Mapping[str, Path]
) -> dict[Change, bytes]:
    """Each alarm's, where its video's result has one or its file can be decoded."""
    by_video: dict[str, list[Change]] = {}
    for change in changes[:MOST_PICTURES]:
        by_video.setdefault(change.video, []).append(change)
    found: dict[Change, bytes] = {}
    for video, of_it in by_video.items():
        folder = played[video].folder
        try:
            known = load_peaks(folder / PEAKS) if folder and (folder / PEAKS).is_file() else {}
            missing = {one.event.peak for one in of_it} - known.keys()
            if missing and video in files:
                for frame, picture in read_pictures(files[video], missing, played[video].times.fps).items():
                    coded = io.BytesIO()
                    picture.convert("RGB").save(coded, "JPEG", quality=80)
                    known[frame] = coded.getvalue()
        except PipelineError:
            continue  # a page without pictures is better than none
        found.update({one: known[one.event.peak] for one in of_it if one.event.peak in known})
    return found
