"""A scored video's folder: written whole, and read back to be shown again or drawn anew."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssrl_pipeline.data.labels import intervals_of
from ssrl_pipeline.disk.files import read_json, whole_folder, write_json
from ssrl_pipeline.disk.identity import read_source
from ssrl_pipeline.disk.npy import read_npz
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events.files import save_events
from ssrl_pipeline.events.rule import ChosenRule, EventRule
from ssrl_pipeline.results.contact_sheet import save_contact_sheet, sheet_frames
from ssrl_pipeline.results.overlay import save_overlay
from ssrl_pipeline.results.pictures import PictureTaker, peak_frames, read_pictures, save_peaks
from ssrl_pipeline.scales import parse_scale
from ssrl_pipeline.times import is_rate, steady

if TYPE_CHECKING:
    from ssrl_pipeline.results.video_scores import VideoScores

RULE = ("threshold", "hysteresis", "shortest", "gap")
PEAKS = "peaks.npz"


class Drawn(NamedTuple):
    """What a folder has beside scores, events and timeline."""

    contact_sheet: bool
    overlay: bool
    truth: list[tuple[int, int]] | None = None  # the anomalous intervals that are shown; None: not known


def save_result(result: "VideoScores", folder: Path, drawn: Drawn, truth: np.ndarray | None = None) -> None:
    """See :meth:`ssrl_pipeline.results.video_scores.VideoScores.save`; `truth` decides on that of `drawn`."""
    from ssrl_pipeline.results.timeline import save_timeline

    rule, events, name = result.chosen.rule, result.events, result.video.name
    drawn = drawn._replace(truth=None if truth is None else intervals_of(truth))
    with whole_folder(folder) as scratch:
        _save_table(scratch / "scores.csv", result)
        write_json(scratch / "scores.json", {**result.summary(), "drawn": drawn._asdict()})
        arrays: dict[str, Any] = {"scores": result.scores, "snippet_scores": result.snippet_scores}
        arrays |= {f"heat_{scale}": rows for scale, rows in result.heat.items()}
        if result.stamps is not None:
            arrays["times"] = result.stamps
        np.savez(scratch / "scores.npz", fps=result.fps, **arrays)
        save_events(scratch, events, str(result.video), result.fps, rule, result.chosen.origin)
        save_timeline(scratch / "timeline.png", result, truth, events, rule.threshold)
        peaks = peak_frames(events)
        wanted = sheet_frames(events) | peaks if drawn.contact_sheet else set()
        if drawn.overlay:
            taker = PictureTaker(wanted)  # the overlay's pass through the video serves all pictures
            save_overlay(
                *(scratch / "overlay.mp4", result.video, result.scores, result.timing, events, result.heat),
                *(truth, taker),
            )
            pictures = taker.pictures
        else:
            pictures = read_pictures(result.video, wanted, result.fps)
        if wanted:
            save_contact_sheet(scratch / "contact_sheet.png", name, events, pictures)
            save_peaks(scratch / PEAKS, pictures, peaks)


def load_result(folder: Path) -> tuple["VideoScores", Drawn]:
    """Reads a folder back; see :meth:`ssrl_pipeline.results.video_scores.VideoScores.load`."""
    from ssrl_pipeline.results.video_scores import VideoScores

    try:
        said, numbers = read_json(folder / "scores.json"), read_npz(folder / "scores.npz")
        fps, stamps = float(numbers["fps"]), numbers.get("times")
        if not 0 <= fps < math.inf:
            raise ValueError(f"fps {fps}")
        rule = EventRule(**{name: said["rule"][name] for name in RULE})
        drawn = _read_drawn(**said.get("drawn", {"contact_sheet": False, "overlay": False}))
        result = VideoScores(
            video=Path(said["video"]),
            scores=numbers["scores"],
            snippet_scores=numbers["snippet_scores"],
            fps=steady(fps).fps if stamps is None else fps,
            width=int(said["width"]),
            height=int(said["height"]),
            decoder=str(said["decoder"]),
            checkpoint=Path(said["checkpoint"]),
            recipe=dict(said["recipe"]),
            chosen=ChosenRule(rule, str(said["rule"]["threshold_from"])),
            heat={name[5:]: rows for name, rows in numbers.items() if name.startswith("heat_")},
            checkpoint_sha256=str(said.get("checkpoint_sha256", "")),
            source=read_source(said.get("source")),
            stored=said.get("features") == "stored",
            damage=str(said.get("damage", "")),
            stamps=stamps,
        )
        _check(result, said)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise PipelineError(
            f"{folder}: no whole result of `score` ({type(error).__name__}: {error}); score the video again"
        ) from error
    return result, drawn


def _read_drawn(contact_sheet: Any, overlay: Any, truth: Any = None) -> Drawn:
    """What scores.json says of the pictures."""
    intervals = None if truth is None else [(int(start), int(end)) for start, end in truth]
    return Drawn(bool(contact_sheet), bool(overlay), intervals)


def missing_files(folder: Path, result: "VideoScores", drawn: Drawn) -> list[str]:
    """Files that the folder ought to hold and has not, or empty ones."""
    names = ["scores.csv", "events.json", "events.csv", "timeline.png"]
    if is_rate(result.fps):
        names += ["events.vtt", "events.srt"][: 1 + bool(result.events)]  # without any, the latter is empty
    if drawn.contact_sheet and result.events:
        names += ["contact_sheet.png", PEAKS]
    if drawn.overlay:
        names.append("overlay.mp4")
    return [name for name in names if not (folder / name).is_file() or not (folder / name).stat().st_size]


def _check(result: "VideoScores", said: Mapping[str, Any]) -> None:
    """Raises ValueError where numbers are not what scores.json says of them."""
    frames, snippets = int(said["frames"]), int(said["snippets"])
    for name, numbers, shape in (
        ("scores", result.scores, (frames,)),
        ("snippet_scores", result.snippet_scores, (snippets,)),
        *(
            (f"heat_{scale}", rows, (snippets, math.prod(parse_scale(scale))))
            for scale, rows in result.heat.items()
        ),
    ):
        if numbers.dtype != np.float32 or numbers.shape != shape or not numbers.size:
            raise ValueError(f"{name} is {numbers.dtype} {list(numbers.shape)}, not float32 {list(shape)}")
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} are no numbers")
    if abs(float(result.scores.max()) - said["summary"]["max"]) > 1e-6:
        raise ValueError("the highest score is not that of scores.json")


def _save_table(path: Path, result: "VideoScores") -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["frame", "time_s", "score"])
        for frame, (time, score) in enumerate(zip(result.times, result.scores, strict=True)):
            rows.writerow([frame, f"{time:.6f}" if result.timing.known else "", f"{score:.6f}"])
