"""What people say of moments: verdicts, what is learnt from them, what would have alarmed; label tools."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
