"""Stage three: a raw video into a score of every frame.

    ssrl-pipeline score video.mp4

Dimensions: N frames, T snippets, P crops or patches, F feature size.
"""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.calibrate import ChosenRule, choose_rule
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.contact_sheet import save_contact_sheet
from ssrl_pipeline.errors import CheckpointError, PipelineError, VideoError
from ssrl_pipeline.event_files import save_events
from ssrl_pipeline.events import Event, EventSettings, find_events
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.extractor import find_device
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.files import whole_folder, write_json
from ssrl_pipeline.models import Detector
from ssrl_pipeline.models.heat import HeatStream
from ssrl_pipeline.models.streaming import CHUNK, ScoreStream, score_long
from ssrl_pipeline.overlay import save_overlay
from ssrl_pipeline.released import Features
from ssrl_pipeline.store import require_same_recipe


@dataclass(frozen=True)
class VideoScores:
    """What a scored video gives."""

    video: Path
    scores: np.ndarray  # float32 [N], 0 normal to 1 anomalous, one for each frame
    snippet_scores: np.ndarray  # float32 [T], of 16 frames each
    fps: float  # 0 where the container does not say
    width: int
    height: int
    decoder: str
    checkpoint: Path
    recipe: dict[str, Any]
    chosen: ChosenRule  # what makes frames an event
    heat: dict[str, np.ndarray] = field(default_factory=dict)  # scale -> float32 [T, P]: models.heat

    @cached_property
    def events(self) -> list[Event]:
        """When the scores say that something happens."""
        return find_events(self.scores, self.fps, self.chosen.rule)

    @property
    def times(self) -> np.ndarray:
        """float64 [N]: when each frame is shown, in seconds; nan where the rate is unknown."""
        return np.arange(len(self.scores)) / (self.fps or np.nan)

    def summary(self) -> dict[str, Any]:
        """The contents of scores.json."""
        peak = int(self.scores.argmax())
        return {
            "video": str(self.video),
            "frames": len(self.scores),
            "fps": self.fps,
            "width": self.width,
            "height": self.height,
            "decoder": self.decoder,
            "snippets": len(self.snippet_scores),
            "checkpoint": str(self.checkpoint),
            "recipe": self.recipe,
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
                "peak_time_s": float(self.times[peak]) if self.fps else None,
            },
        }

    def save(self, folder: Path, contact_sheet: bool = True, overlay: bool = False) -> None:
        """Writes scores, events and pictures; the folder appears whole.

        That is scores.csv, scores.json, scores.npz (in it heat_2x3 and the like, of
        the model's patch scales), events.json, events.csv, timeline.png, where the
        frame rate is known events.vtt and events.srt, and where there are events
        contact_sheet.png, for which the video is decoded once more up to the last
        frame shown. If asked for also overlay.mp4, for which all of it is.

        Raises:
            VideoError: the video is no longer there to take frames from.
            PipelineError: an overlay is asked for, and nothing is installed to write it.
        """
        from ssrl_pipeline.timeline import save_timeline

        with whole_folder(folder) as scratch:
            with (scratch / "scores.csv").open("w", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["frame", "time_s", "score"])
                for frame, (time, score) in enumerate(zip(self.times, self.scores, strict=True)):
                    rows.writerow([frame, f"{time:.6f}" if self.fps else "", f"{score:.6f}"])
            write_json(scratch / "scores.json", self.summary())
            arrays: dict[str, Any] = {"scores": self.scores, "snippet_scores": self.snippet_scores}
            arrays |= {f"heat_{scale}": rows for scale, rows in self.heat.items()}
            np.savez(scratch / "scores.npz", fps=self.fps, **arrays)
            rule = self.chosen.rule
            save_events(scratch, self.events, str(self.video), self.fps, rule, self.chosen.origin)
            save_timeline(scratch / "timeline.png", self, events=self.events, threshold=rule.threshold)
            if contact_sheet:
                save_contact_sheet(scratch / "contact_sheet.png", self.video, self.events, self.decoder)
            if overlay:
                save_overlay(
                    *(scratch / "overlay.mp4", self.video, self.scores, self.fps, self.events, self.heat),
                    decoder=self.decoder,
                )


class Scorer:
    """Scores videos with one checkpoint, which stays loaded; memory does not grow with their length.

    Args:
        checkpoint: a file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: of the backbone; None for the published ones.
        events: what makes frames an event; a threshold of None is the checkpoint's.
        engine: what runs the backbone; see :class:`FeatureExtractor`.
        precision: of the backbone.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
        StoreError: the backbone's weights are not those that the checkpoint's
            features were made with.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "auto",
        weights: str | Path | None = None,
        events: EventSettings | None = None,
        engine: str = "auto",
        precision: str = "float32",
    ):
        self.path = Path(checkpoint)
        self.checkpoint: Checkpoint = load_checkpoint(self.path)
        self.chosen = choose_rule(events or EventSettings(), self.checkpoint)
        self.device = find_device(device)
        self.model = self.checkpoint.build().to(self.device)
        recipe = self.checkpoint.recipe
        if weights is None and recipe.get("weights_sha256") == "random":
            weights = "random"
        try:
            backbone, preset = recipe["backbone"], recipe["preset"]
        except KeyError as error:
            raise CheckpointError(f"{self.path}: its recipe names no {error}") from error
        self.extractor = FeatureExtractor(
            *(backbone, preset, device, weights),
            patches=recipe.get("patches", "exact"),
            engine=engine,
            precision=precision,
        )
        require_same_recipe(recipe, self.extractor.recipe, f"the checkpoint {self.path}", "this extraction")

    def score(self, video: str | Path) -> VideoScores:
        """Extracts and scores one video.

        Raises:
            VideoError: the video cannot be decoded.
        """
        video = Path(video)
        heat = HeatStream(self.model, self.device)
        with ScoreStream(self.model, self.device) as stream:

            def restart() -> None:
                stream.restart()
                heat.restart()

            def write(features: Mapping[str, np.ndarray]) -> None:
                views = _tensors(self.model, features)
                stream.add(views)
                heat.add(views)

            result = self.extractor.write_video(video, restart=restart, write=write)
            if not result.snippets:
                raise VideoError(
                    f"{video}: {result.frames} frames are too few for one snippet of this preset"
                )
            snippet_scores = _numbers(str(video), stream.scores())
        return VideoScores(
            video=video,
            scores=frame_scores(snippet_scores, result.frames),
            snippet_scores=snippet_scores,
            fps=result.info.fps,
            width=result.info.width,
            height=result.info.height,
            decoder=result.decoder,
            checkpoint=self.path,
            recipe=self.checkpoint.recipe,
            chosen=self.chosen,
            heat={scale: rows.numpy() for scale, rows in heat.heat().items()},
        )


def score_video(
    video: str | Path, checkpoint: str | Path, device: str = "auto", weights: str | Path | None = None
) -> VideoScores:
    """Scores every frame of one video; see :class:`Scorer` for several, and for what may be raised."""
    return Scorer(checkpoint, device, weights).score(video)


def score_snippets(
    video: str, model: Detector, features: Mapping[str, np.ndarray], device: torch.device
) -> np.ndarray:
    """Scores one whole video of any length; features that are mapped from the disk are read in chunks.

    Args:
        video: its name, for the error.
        model: on `device` and in evaluation mode.
        features: view name -> [T, P, F].

    Returns:
        float32 [T].

    Raises:
        PipelineError: a score is not a number, as features are not.
    """
    snippets = len(features[next(iter(model.views))])
    chunks = (
        _tensors(model, {name: features[name][begin : begin + CHUNK] for name in model.views})
        for begin in range(0, snippets, CHUNK)
    )
    return _numbers(video, score_long(model, chunks, device))


def _tensors(model: Detector, features: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The views that the model takes, copied as float32."""
    return {name: torch.from_numpy(np.array(features[name], np.float32)) for name in model.views}


def _numbers(video: str, scores: Tensor) -> np.ndarray:
    if not scores.isfinite().all():
        raise PipelineError(f"{video}: the scores are no numbers; the features or the checkpoint are damaged")
    return scores.numpy()


def score_stored(video: str, model: Detector, store: Features, device: torch.device) -> np.ndarray:
    """float32 [N]: the score of every frame of a stored video; see :func:`score_snippets`."""
    return frame_scores(score_snippets(video, model, store.read(video), device), store.meta(video).frames)


def frame_scores(snippet_scores: np.ndarray, frames: int) -> np.ndarray:
    """[T] -> float32 [frames]: a snippet's score goes to its 16 frames.

    Frames behind the last snippet, where a preset leaves out an incomplete one,
    get that of the last.
    """
    snippet = np.minimum(np.arange(frames) // SNIPPET_FRAMES, len(snippet_scores) - 1)
    return snippet_scores[snippet].astype(np.float32)
