"""For processes that tests start: Python imports this first. I3D is means of pixels, and `auto` is eager.

See the fixtures `quick_network`, which puts this folder on their PYTHONPATH, and `quick_engine`.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


def means(inception: ModuleType) -> None:
    from helpers.pixel_features import forward

    inception.InceptionI3d.forward = forward


def eager(engines: ModuleType) -> None:
    engines.AUTO = ("eager",)


def plain(precision: ModuleType) -> None:
    precision.abilities = lambda: frozenset({"INT8"})


CHANGES = {  # module -> what is done once it is loaded
    "ssrl_pipeline.extractors.backbones.inception": means,
    "ssrl_pipeline.extractors.engines.engines": eager,
    "ssrl_pipeline.extractors.engines.precision": plain,
}


class Quick:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        change = CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Quick)
