"""What a scored video gives: numbers, events, pictures, and a folder that holds them.

The folder is written whole, and read back to be shown again or drawn anew.
Dimensions: N frames, T snippets, P patches.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssrl_pipeline.data import intervals_of
from ssrl_pipeline.disk import Identity, read_identity, read_json, read_npz, whole_folder, write_json
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.events import (
    ChosenRule,
    Event,
    EventRule,
    SnippetWords,
    find_events,
    read_words,
    save_events,
    worded,
)
from ssrl_pipeline.extractors import Repeats, require_starts
from ssrl_pipeline.results.contact_sheet import save_contact_sheet, sheet_frames
from ssrl_pipeline.results.overlay import save_overlay
from ssrl_pipeline.results.pictures import PictureTaker, peak_frames, read_pictures, save_peaks
from ssrl_pipeline.results.shown import Shown
from ssrl_pipeline.scales import parse_scale
from ssrl_pipeline.times import FrameTimes, is_rate, require_increasing, steady

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULE = ("threshold", "hysteresis", "shortest", "gap")
PEAKS = "peaks.npz"


class Drawn(NamedTuple):
    """What a folder has beside scores, events and timeline."""

    contact_sheet: bool
    overlay: bool
    truth: list[tuple[int, int]] | None = None  # the anomalous intervals that are shown; None: not known


@dataclass(frozen=True, repr=False)
class VideoScores:
    """What a scored video gives. Raises ValueError: stamps or starts are not of its frames and snippets."""

    video: Path
    scores: np.ndarray  # float32 [N], 0 normal to 1 anomalous, one for each frame
    snippet_scores: np.ndarray  # float32 [T]
    fps: float  # frames a second while there is no pause; 0 where unknown
    width: int
    height: int
    decoder: str
    checkpoint: Path
    recipe: dict[str, Any]
    chosen: ChosenRule  # what makes frames an event
    heat: dict[str, np.ndarray] = field(default_factory=dict)  # scale -> float32 [T, P]: models.heat
    checkpoint_sha256: str = ""  # of the checkpoint's content
    source: Identity | None = None  # the file as it was when it was scored; None: not known
    stored: bool = False  # whether its features came from a store
    damage: str = ""  # what the decoder complained of; "" where of nothing
    repeats: Repeats = field(default_factory=Repeats, compare=False)  # of clips that had not changed
    stamps: np.ndarray | None = None  # float64 [N], seconds; None: a frame is shown at its number / fps
    starts: np.ndarray | None = None  # int64 [T], the first frame of each snippet; None: every 16th
    words: SnippetWords | None = None  # what stands out in each snippet; None: not known

    def __post_init__(self) -> None:
        if self.starts is not None:
            require_starts(self.starts, len(self.snippet_scores), len(self.scores))
        if self.stamps is None:
            return
        if self.stamps.shape != self.scores.shape or self.stamps.dtype != np.float64:
            raise ValueError(
                f"stamps are {self.stamps.dtype} {list(self.stamps.shape)}, not float64 "
                f"{list(self.scores.shape)}"
            )
        require_increasing(self.stamps)

    @cached_property
    def events(self) -> list[Event]:
        """When the scores say that something happens, and what it looks like as far as that is known."""
        found = find_events(self.scores, self.timing, self.chosen.rule)
        return [worded(event, self.words, self.starts) for event in found]

    @cached_property
    def timing(self) -> FrameTimes:
        """When frames are shown, and for how long."""
        return FrameTimes(self.fps, self.stamps)

    @property
    def times(self) -> np.ndarray:
        """float64 [N]: when each frame is shown, in seconds; nan where unknown."""
        return self.timing.starts(len(self.scores))

    @property
    def duration(self) -> float:
        """Seconds from the first frame's start to the last one's end, pauses included; nan where unknown."""
        return self.timing.duration(len(self.scores))

    def shown(self, truth: np.ndarray | None = None) -> Shown:
        """What is drawn of it; `truth`, bool [N], are the anomalous frames."""
        found = self.events, self.chosen.rule.threshold
        return Shown(self.video, self.scores, self.timing, *found, truth, self.heat, self.starts)

    def summary(self) -> dict[str, Any]:
        """The contents of scores.json."""
        peak = int(self.scores.argmax())
        return {
            "video": str(self.video),
            "source": self.source and self.source._asdict(),
            "frames": len(self.scores),
            "fps": self.fps,
            "duration_s": self.duration if self.timing.known else None,
            "width": self.width,
            "height": self.height,
            "decoder": self.decoder,
            "damage": self.damage,
            **({"repeats": repeats} if (repeats := self.repeats.as_json()) else {}),
            "snippets": len(self.snippet_scores),
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": self.checkpoint_sha256,
            "recipe": self.recipe,
            "features": "stored" if self.stored else "extracted",
            "rule": {
                **asdict(self.chosen.rule),
                "low": self.chosen.rule.low,
                "threshold_from": self.chosen.origin,
            },
            "events": len(self.events),
            "summary": {
                "mean": float(self.scores.mean()),
                "max": float(self.scores[peak]),
                "peak_frame": peak,
                "peak_time_s": float(self.times[peak]) if self.timing.known else None,
            },
        }

    def save(
        self,
        folder: str | Path,
        contact_sheet: bool = True,
        overlay: bool = False,
        truth: np.ndarray | None = None,
    ) -> None:
        """Writes scores, events and pictures; the folder appears whole.

        That is scores.csv, scores.json, scores.npz (in it heat_2x3 and the like, of
        the model's patch scales, and words_actions and the like of the snippets),
        events.json, events.csv, timeline.png, where the frame rate is known events.vtt
        and events.srt, and where there are events contact_sheet.png and peaks.npz, the
        report's pictures. For these two the video
        is decoded once more, up to the last frame shown; all of it for overlay.mp4,
        which is written if asked for.

        Args:
            truth: bool [N], the anomalous frames, for the timeline and the overlay.

        Raises:
            VideoError: the video is no longer there to take frames from.
            PipelineError: an overlay is asked for, and nothing is installed to write it.
        """
        from ssrl_pipeline.results.timeline import save_timeline  # loads matplotlib

        shown, events = self.shown(truth), self.events
        drawn = Drawn(contact_sheet, overlay, None if truth is None else intervals_of(truth))
        with whole_folder(Path(folder)) as scratch:
            _save_table(scratch / "scores.csv", self)
            write_json(scratch / "scores.json", {**self.summary(), "drawn": drawn._asdict()})
            np.savez(scratch / "scores.npz", fps=self.fps, **self._arrays())
            save_events(scratch, events, str(self.video), self.fps, self.chosen.rule, self.chosen.origin)
            save_timeline(scratch / "timeline.png", shown)
            peaks = peak_frames(events)
            wanted = sheet_frames(events) | peaks if contact_sheet else set()
            if overlay:
                taker = PictureTaker(wanted)  # the overlay's pass through the video serves all pictures
                save_overlay(scratch / "overlay.mp4", shown, taker)
                pictures = taker.pictures
            else:
                pictures = read_pictures(self.video, wanted, self.fps)
            if wanted:
                save_contact_sheet(scratch / "contact_sheet.png", self.video.name, events, pictures)
                save_peaks(scratch / PEAKS, pictures, peaks)

    def _arrays(self) -> dict[str, Any]:
        """What scores.npz holds."""
        arrays: dict[str, Any] = {"scores": self.scores, "snippet_scores": self.snippet_scores}
        arrays |= {f"heat_{scale}": rows for scale, rows in self.heat.items()}
        if self.stamps is not None:
            arrays["times"] = self.stamps
        if self.starts is not None:
            arrays["starts"] = self.starts
        if self.words is not None:
            arrays |= {f"words_{name}": rows for name, rows in self.words._asdict().items()}
        return arrays

    @classmethod
    def load(cls, folder: str | Path) -> "VideoScores":
        """Reads back what :meth:`save` wrote, from scores.npz and scores.json.

        Raises:
            PipelineError: a file is missing or damaged, or the two do not belong together.
        """
        return load_result(Path(folder))[0]

    def plot(self, ax: "Axes | None" = None, truth: np.ndarray | None = None) -> "Axes":
        """Draws scores, threshold and events with matplotlib, as in timeline.png.

        Args:
            ax: axes to draw on; None for those of a new figure.
            truth: bool [N], the anomalous frames; drawn as a band below where given.

        Returns:
            the axes.
        """
        from ssrl_pipeline.results.timeline import draw_timeline  # loads matplotlib

        if ax is None:
            from matplotlib import pyplot  # looks for a screen

            ax = pyplot.figure(figsize=(10, 3), layout="constrained").subplots()
        draw_timeline(ax, self.shown(truth))
        return ax

    def __repr__(self) -> str:
        peak = int(self.scores.argmax())
        length, where = f"{len(self.scores)} frames", f"frame {peak}"
        if self.timing.known:
            length += f", {self.duration:.1f} s"
            where = f"{self.times[peak]:.1f} s, {where}"
        events = f"{len(self.events)} event{'' if len(self.events) == 1 else 's'}"
        highest = f"highest score {self.scores[peak]:.2f} at {where}"
        return f"<VideoScores {self.video.name!r}: {length}; {highest}; {events}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        from ssrl_pipeline.results.notebook import result_html  # loads matplotlib

        return result_html(self.shown(), self.summary())


def load_result(folder: Path) -> tuple[VideoScores, Drawn]:
    """Reads a folder back, with what is drawn in it; see :meth:`VideoScores.load`."""
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
            source=read_identity(said.get("source")),
            stored=said.get("features") == "stored",
            damage=str(said.get("damage", "")),
            repeats=Repeats.from_json(said.get("repeats", {})),
            stamps=stamps,
            starts=numbers.get("starts"),
            words=read_words(numbers, int(said["snippets"])),
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


def missing_files(folder: Path, result: VideoScores, drawn: Drawn) -> list[str]:
    """Files that the folder ought to hold and has not, or empty ones."""
    names = ["scores.csv", "events.json", "events.csv", "timeline.png"]
    if is_rate(result.fps):
        names += ["events.vtt", "events.srt"][: 1 + bool(result.events)]  # without any, the latter is empty
    if drawn.contact_sheet and result.events:
        names += ["contact_sheet.png", PEAKS]
    if drawn.overlay:
        names.append("overlay.mp4")
    return [name for name in names if not (folder / name).is_file() or not (folder / name).stat().st_size]


def _check(result: VideoScores, said: Mapping[str, Any]) -> None:
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
            raise ValueError(f"{name} are not finite")
    if abs(float(result.scores.max()) - said["summary"]["max"]) > 1e-6:
        raise ValueError("the highest score is not that of scores.json")


def _save_table(path: Path, result: VideoScores) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["frame", "time_s", "score"])
        for frame, (time, score) in enumerate(zip(result.times, result.scores, strict=True)):
            rows.writerow([frame, f"{time:.6f}" if result.timing.known else "", f"{score:.6f}"])
