"""Scores of frames -> events: found in a video or as they come, written, counted as false alarms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
