"""The page of `watch`: its cameras as they are now, and the latest events."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
