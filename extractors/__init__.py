"""Stage one: frames in, I3D features of multi-scale patches out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
