"""OpenVINO's graphs of networks: converted or quantised once, then kept beside the weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
