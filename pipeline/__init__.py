"""Raw surveillance video in, frame-by-frame anomaly scores out (SSRL, ECCV 2022)."""

from typing import TYPE_CHECKING, Any

from ssrl_pipeline._version import __version__

if TYPE_CHECKING:
    from ssrl_pipeline.results.video_scores import VideoScores
    from ssrl_pipeline.scoring.scorer import Scorer, score_video

__all__ = ["Scorer", "VideoScores", "__version__", "score_video"]


def __getattr__(name: str) -> Any:
    """Loads PyTorch only when a name that needs it is used, so that `--help` stays quick."""
    if name in ("Scorer", "VideoScores", "score_video"):
        from ssrl_pipeline.scoring import scorer as score

        return getattr(score, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
