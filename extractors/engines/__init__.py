"""What runs a backbone: PyTorch, OpenVINO, kernels of our own; and in which precision."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
