"""Files of cameras: how they are read and checked, and what they say of a camera's frame and hours."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
