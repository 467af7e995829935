"""Labels and ground truth: our own tables, and the files of the field's datasets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
