"""Stage two's networks: SSRL and its loss, the memory of normal patches, and both together."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
