"""What a scored video gives: numbers, events, pictures, and a folder that holds them.

Dimensions: N frames, T snippets, P patches.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssrl_pipeline.disk.identity import Source
from ssrl_pipeline.events.find import Event, find_events
from ssrl_pipeline.events.rule import ChosenRule
from ssrl_pipeline.times import FrameTimes, require_increasing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class VideoScores:
    """What a scored video gives. Raises ValueError where the stamps are not the times of its frames."""

    video: Path
    scores: np.ndarray  # float32 [N], 0 normal to 1 anomalous, one for each frame
    snippet_scores: np.ndarray  # float32 [T], of 16 frames each
    fps: float  # frames a second while there is no pause; 0 where unknown
    width: int
    height: int
    decoder: str
    checkpoint: Path
    recipe: dict[str, Any]
    chosen: ChosenRule  # what makes frames an event
    heat: dict[str, np.ndarray] = field(default_factory=dict)  # scale -> float32 [T, P]: models.heat
    checkpoint_sha256: str = ""  # of the checkpoint's content
    source: Source | None = None  # the file as it was when it was scored; None: not known
    stored: bool = False  # whether its features came from a store
    damage: str = ""  # what the decoder complained of; "" where of nothing
    stamps: np.ndarray | None = None  # float64 [N], seconds; None: a frame is shown at its number / fps

    def __post_init__(self) -> None:
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
        """When the scores say that something happens."""
        return find_events(self.scores, self.timing, self.chosen.rule)

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
        the model's patch scales), events.json, events.csv, timeline.png, where the
        frame rate is known events.vtt and events.srt, and where there are events
        contact_sheet.png and peaks.npz, the report's pictures. For these two the video
        is decoded once more, up to the last frame shown; all of it for overlay.mp4,
        which is written if asked for.

        Args:
            truth: bool [N], the anomalous frames, for the timeline and the overlay.

        Raises:
            VideoError: the video is no longer there to take frames from.
            PipelineError: an overlay is asked for, and nothing is installed to write it.
        """
        from ssrl_pipeline.results.result_folder import Drawn, save_result

        save_result(self, Path(folder), Drawn(contact_sheet, overlay), truth)

    @classmethod
    def load(cls, folder: str | Path) -> "VideoScores":
        """Reads back what :meth:`save` wrote, from scores.npz and scores.json.

        Raises:
            PipelineError: a file is missing or damaged, or the two do not belong together.
        """
        from ssrl_pipeline.results.result_folder import load_result

        return load_result(Path(folder))[0]

    def plot(self, ax: "Axes | None" = None, truth: np.ndarray | None = None) -> "Axes":
        """Draws scores, threshold and events with matplotlib, as in timeline.png.

        Args:
            ax: axes to draw on; None for those of a new figure.
            truth: bool [N], the anomalous frames; drawn as a band below where given.

        Returns:
            the axes.
        """
        from ssrl_pipeline.results.timeline import draw_timeline

        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(figsize=(10, 3), layout="constrained").subplots()
        draw_timeline(ax, self, truth, self.events, self.chosen.rule.threshold)
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
        from ssrl_pipeline.results.notebook import result_html

        return result_html(self)
