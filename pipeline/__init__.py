"""Raw surveillance video in, frame-by-frame anomaly scores out (SSRL, ECCV 2022)."""

from ssrl_pipeline._version import __version__

__all__ = ["__version__"]
