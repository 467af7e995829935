"""For processes that tests start: Python imports this first, and once I3D is loaded, it is means of pixels.

See the fixture `quick_network`, which puts this folder on their PYTHONPATH.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

INCEPTION = "ssrl_pipeline.extractors.backbones.inception"


class Quick:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != INCEPTION:
            return None
        sys.meta_path.remove(Quick)
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        load = spec.loader.exec_module

        def load_and_replace(module: ModuleType) -> None:
            load(module)
            from helpers.pixel_features import forward

            module.InceptionI3d.forward = forward

        spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Quick)
