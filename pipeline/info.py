"""What a bug report needs: versions, devices, decoders, caches."""

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from ssrl_pipeline._version import __version__
from ssrl_pipeline.errors import PipelineError, first_line
from ssrl_pipeline.extractors import find_device
from ssrl_pipeline.extractors.backbones import PUBLISHED, cache_path
from ssrl_pipeline.extractors.engines import ENGINES, cudnn_version, offered, why_not
from ssrl_pipeline.extractors.graphs import import_openvino, why_not_int8
from ssrl_pipeline.results import ENCODER, require_encoder
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching import CameraEntry, Models, measure_entries, parse_sources

PACKAGES = (
    "torch",
    "torchvision",
    "pytorchvideo",
    "av",
    "opencv-python-headless",
    "numpy",
    "openvino",
    "scikit-learn",
)


def collect(
    checkpoint: Path | None = None, device: str = "auto", settings: Settings | None = None
) -> dict[str, str]:
    """What -> found, in the order in which to show it.

    Args:
        checkpoint: with which to measure how many cameras `watch` carries on the device.
        settings: of that watch; None: the defaults.

    Raises:
        PipelineError: it cannot be had.
    """
    facts = {
        "ssrl-pipeline": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    facts |= {package: _version(package) for package in PACKAGES}
    facts["cpu"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    facts["gpu"] = _gpus()
    facts["cudnn"] = _cudnn()
    here = find_device("auto")
    facts[f"precisions on {here.type}"] = ", ".join(offered(here))
    if here.type == "cpu" and (reason := why_not_int8()):
        facts["precision int8"] = reason
    for engine in ENGINES[1:]:
        facts[f"engine {engine}"] = why_not(engine, here) or _engine(engine)
    facts["decoder"] = _decoder()
    facts["encoder H.264"] = _encoder()
    facts["weights cache"] = str(cache_path("i3d").parent)
    for backbone in PUBLISHED:
        path = cache_path(backbone)
        facts[f"weights {backbone}"] = (
            f"{path.stat().st_size / 1e6:.0f} MB" if path.exists() else "not fetched"
        )
    if checkpoint:
        settings = settings or Settings()
        (source,) = parse_sources(["rtsp://made-up"])
        camera = CameraEntry(source, checkpoint)
        measured = measure_entries([camera], Models(settings, checkpoint, device), settings.watch)
        facts[f"cameras with {checkpoint}"] = measured[checkpoint].told()
    return facts


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpus() -> str:
    if not torch.cuda.is_available():
        return "none"
    return ", ".join(
        "cuda:{} {}, compute capability {}.{}".format(
            i, torch.cuda.get_device_name(i), *torch.cuda.get_device_capability(i)
        )
        for i in range(torch.cuda.device_count())
    )


def _cudnn() -> str:
    try:
        return cudnn_version() or "none"
    except RuntimeError as error:  # another than PyTorch was made for, or not for this GPU
        return f"not usable: {error}"


def _engine(name: str) -> str:
    try:
        if name == "openvino":
            import_openvino()
    except Exception as error:  # a library of it may be missing, or another version's
        return f"not usable: {first_line(error)}"
    return "available"


def _encoder() -> str:
    try:
        require_encoder()
    except PipelineError as error:
        return str(error)
    return ENCODER


def _decoder() -> str:
    try:
        import av  # it may be broken, which is to be told
    except (ImportError, OSError) as error:
        return f"not usable: {error}"
    return ", ".join(
        f"{name} {'.'.join(map(str, version))}"
        for name, version in av.library_versions.items()
        if name in ("libavcodec", "libavformat")
    )
