"""What videos show that a detector did not learn from: cross-validation, and the threshold of alarms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
