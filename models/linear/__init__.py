"""Linear detectors: a weighted sum of some numbers of a snippet, of the backbone's features or of motion."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
