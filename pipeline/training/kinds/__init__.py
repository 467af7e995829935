"""What trains each kind of detector that has no steps of its own, or is made of others."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
