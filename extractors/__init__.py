"""Stage one: frames in, I3D features of multi-scale patches out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssrl_pipeline.extractors.extractor import FeatureExtractor
    from ssrl_pipeline.extractors.presets import PRESETS, Preset

__all__ = ["PRESETS", "FeatureExtractor", "Preset"]


_HOMES = {"PRESETS": "presets", "FeatureExtractor": "extractor", "Preset": "presets"}


def __getattr__(name: str) -> Any:
    """Loads PyTorch only when a name that needs it is used: the process that decodes does without."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
