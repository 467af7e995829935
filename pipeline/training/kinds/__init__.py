"""What trains each kind of detector, a module each; and what an SSRL takes from a probe."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
