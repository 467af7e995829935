"""A checkpoint fitted to single cameras by what they normally show, without labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
