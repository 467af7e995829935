"""Raw surveillance video in, frame-by-frame anomaly scores out (SSRL, ECCV 2022).

What is named here, in the stub beside this file, is for users, and stays. It is loaded when it is
used. The networks by themselves are in :mod:`ssrl_pipeline.extractors` and :mod:`ssrl_pipeline.models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
