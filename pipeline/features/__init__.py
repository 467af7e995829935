"""Stores of features: a folder, an object store, and the layouts that others released."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
