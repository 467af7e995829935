"""Files of annotation tools: ranges of videos read from them, and written for them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
