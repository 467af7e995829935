"""Stage one: frames in, I3D features of multi-scale patches out."""

from ssrl_pipeline.extractors.extractor import FeatureExtractor
from ssrl_pipeline.extractors.presets import PRESETS, Preset

__all__ = ["PRESETS", "FeatureExtractor", "Preset"]
