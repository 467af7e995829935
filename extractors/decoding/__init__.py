"""A video, a stream or a camera in, RGB frames with their times out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
