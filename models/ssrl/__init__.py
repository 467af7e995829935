"""SSRL: relation blocks over patches and moments, its loss, and the published weights' names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
