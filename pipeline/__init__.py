"""Raw surveillance video in, frame-by-frame anomaly scores out (SSRL, ECCV 2022).

What is named here is for users, and stays. The networks by themselves are in
:mod:`ssrl_pipeline.extractors` and :mod:`ssrl_pipeline.models`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssrl_pipeline._version import __version__
from ssrl_pipeline.errors import (
    BusyError,
    CheckpointError,
    ConfigError,
    DiskError,
    LabelError,
    PipelineError,
    StoreError,
    VideoError,
    WeightsError,
)

if TYPE_CHECKING:
    from ssrl_pipeline.evaluation.evaluate import evaluate_run
    from ssrl_pipeline.events.find import Event
    from ssrl_pipeline.extraction.extract import extract
    from ssrl_pipeline.extractors.extractor import FeatureExtractor
    from ssrl_pipeline.features.opening import create_store, open_store
    from ssrl_pipeline.features.store import FeatureStore
    from ssrl_pipeline.results.video_scores import VideoScores
    from ssrl_pipeline.scoring.scorer import Scorer, score_video
    from ssrl_pipeline.settings import Settings
    from ssrl_pipeline.training.start import train_run

__all__ = [
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "DiskError",
    "Event",
    "FeatureExtractor",
    "FeatureStore",
    "LabelError",
    "PipelineError",
    "Scorer",
    "Settings",
    "StoreError",
    "VideoError",
    "VideoScores",
    "WeightsError",
    "__version__",
    "create_store",
    "evaluate_run",
    "extract",
    "open_store",
    "score_video",
    "train_run",
]

_HOMES = {  # of what is loaded when it is used, as it needs PyTorch or NumPy
    "Event": "events.find",
    "FeatureExtractor": "extractors.extractor",
    "FeatureStore": "features.store",
    "Scorer": "scoring.scorer",
    "Settings": "settings",
    "VideoScores": "results.video_scores",
    "create_store": "features.opening",
    "evaluate_run": "evaluation.evaluate",
    "extract": "extraction.extract",
    "open_store": "features.opening",
    "score_video": "scoring.scorer",
    "train_run": "training.start",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ssrl_pipeline.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
