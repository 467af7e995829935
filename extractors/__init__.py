"""Stage one: frames in, I3D features of multi-scale patches out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssrl_pipeline.extractors.extractor import FeatureExtractor
    from ssrl_pipeline.extractors.presets import PRESETS, Preset

__all__ = ["PRESETS", "FeatureExtractor", "Preset"]


def __getattr__(name: str) -> Any:
    """Loads PyTorch only when a name that needs it is used: the process that decodes does without."""
    if name == "FeatureExtractor":
        from ssrl_pipeline.extractors import extractor

        return extractor.FeatureExtractor
    if name in ("PRESETS", "Preset"):
        from ssrl_pipeline.extractors import presets

        return getattr(presets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
