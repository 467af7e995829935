"""What reaches people: events told to programs, phones, brokers and other systems."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
