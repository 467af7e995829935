"""OpenVINO's graphs of a network: made once for each size of clips, then read from where they are kept.

Tracing and converting take seconds of each start, quantising some tens of them; reading takes a fraction
of one. What is read is what was written: a graph is kept with the hash of each of its files.
"""

import hashlib
import logging
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssrl_pipeline._version import __version__
from ssrl_pipeline.disk import file_sha256, locked, read_json, whole_folder, write_json
from ssrl_pipeline.errors import first_line
from ssrl_pipeline.extractors.graphs.calibration import Calibration
from ssrl_pipeline.extractors.graphs.library import import_openvino
from ssrl_pipeline.extractors.graphs.pools import in_first_form
from ssrl_pipeline.extractors.graphs.quantise import nncf_version, quantised

MOST_KEPT = 24  # graphs, of up to 50 MB each; the ones that were longest not read go
PATIENCE = 600  # seconds that another process is given to make a graph
FILES = ("graph.xml", "graph.bin")

log = logging.getLogger(__name__)


class Graphs:
    """Makes graphs and keeps them.

    Args:
        folder: where they are kept; None: nowhere.
        calibration: of those that are quantised; None: the clips that we make.
        pools: whether of these max-pools are computed in int8, too. What is kept is the same.
    """

    def __init__(
        self, folder: Path | None = None, calibration: Calibration | None = None, pools: bool = True
    ):
        self.folder, self.calibration, self.pools = folder, calibration or Calibration(), pools

    def graph(self, module: nn.Module, shape: tuple[int, ...], precision: str) -> Any:
        """For one clip of a size [3, t, h, w]: uint8 [1, 3, t, h, w] -> float32 [1, ...].

        Raises:
            PipelineError: it is to be quantised, and NNCF is missing or fails.
        """

        def make() -> Any:
            model = convert(module, shape)
            return quantised(model, self.calibration.clips(shape)) if precision == "int8" else model

        calibration = self.calibration.sha256 if precision == "int8" else ""
        if self.folder is None:
            graph = make()
        else:
            graph = _kept(self.folder / f"{_identity(module, calibration)}_{'x'.join(map(str, shape))}", make)
        return in_first_form(graph) if precision == "int8" and self.pools else graph


def convert(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """The network in float32, for one clip of a size."""
    openvino = import_openvino()
    example = torch.zeros(1, *shape, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are fixed, which is meant, and jit is old
        traced = torch.jit.trace(module, example, check_trace=False)
        # Shared, its weights would be those of `traced`, which OpenVINO 2024.0 does not keep.
        return openvino.convert_model(
            traced,
            example_input=example,
            input=[openvino.PartialShape([1, *shape])],
            share_weights=False,
        )


def _identity(module: nn.Module, calibration: str) -> str:
    """Of all that decides a graph, but for the size."""
    versions = [__version__, import_openvino().__version__, torch.__version__]
    if calibration:
        versions += [nncf_version(), calibration]
    digest = hashlib.sha256("\n".join([*versions, repr(module)]).encode())
    for name, array in module.state_dict().items():
        digest.update(f"\n{name} {array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.contiguous().numpy().data)
    return digest.hexdigest()[:24]


def _kept(place: Path, make: Callable[[], Any]) -> Any:
    """The graph that is kept at `place`, or else one that is made, and kept where that is possible."""
    if found := _read(place):
        return found
    until = time.monotonic() + PATIENCE
    try:
        while True:
            with locked(place.with_name(place.name + ".lock")) as other:
                if other is None:
                    if not (found := _read(place)):
                        found = make()
                        _write(place, found)
                        found = _read(place) or found  # to the last bit as the next process reads it
                    return found
            if time.monotonic() > until:
                break
            time.sleep(0.2)
            if found := _read(place):
                return found
    except OSError as error:  # the cache cannot be written: what is made serves this process alone
        log.debug("%s is not kept: %s", place, error)
    return found or make()


def _read(place: Path) -> Any:
    """None where there is none, or what is there is not what was written."""
    try:
        hashes = read_json(place / "hashes.json")
        if any(file_sha256(place / name) != hashes[name] for name in FILES):
            return None
        model = import_openvino().Core().read_model(place / FILES[0])
        place.touch()  # used
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
    return model


def _write(place: Path, model: Any) -> None:
    """Raises OSError."""
    with whole_folder(place) as scratch:
        try:
            import_openvino().save_model(model, scratch / FILES[0], compress_to_fp16=False)
        except RuntimeError as error:  # the disk is full
            raise OSError(first_line(error)) from error
        write_json(scratch / "hashes.json", {name: file_sha256(scratch / name) for name in FILES})
    graphs = sorted(place.parent.glob("*/hashes.json"), key=lambda path: path.parent.stat().st_mtime)
    for path in graphs[:-MOST_KEPT]:
        shutil.rmtree(path.parent, ignore_errors=True)
