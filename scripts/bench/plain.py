"""The plain way to multi-scale I3D features, with which benchmark.py compares ours.

This is how the field's extractors work: every frame goes through an image file on the
disk, Pillow resizes and cuts it, and one crop or patch after the other passes the
network, in float32 and contiguous, as PyTorch runs it by default.

Dimensions: T snippets, P crops or patches, D feature size.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from ssrl_pipeline.extractors.presets import Normalisation, Preset
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.extractors.views import Crops, Resize, View


def write_images(video: Path, folder: Path, suffix: str) -> list[Path]:
    """Every frame as an image file: ".jpg", as the field's extractors do, or lossless ".png"."""
    return write_frames(_frames(video), folder, suffix)


def write_frames(frames: Iterable[np.ndarray], folder: Path, suffix: str) -> list[Path]:
    """BGR, uint8 [H, W, 3] each."""
    paths = []
    for number, frame in enumerate(frames):
        paths.append(folder / f"{number:06d}{suffix}")
        cv2.imwrite(str(paths[-1]), frame)
    return paths


def _frames(video: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        yield read[1]


def read_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def extract(
    paths: list[Path], preset: Preset, backbone: nn.Module, normalisation: Normalisation
) -> dict[str, np.ndarray]:
    """Image files -> view name -> float32 [T, P, D]."""
    rows: dict[str, list[np.ndarray]] = {view.name: [] for view in preset.views}
    for begin in range(0, len(paths), SNIPPET_FRAMES):
        snippet = paths[begin : begin + SNIPPET_FRAMES]
        looped = [snippet[i % len(snippet)] for i in range(SNIPPET_FRAMES)]
        for view in preset.views:
            cut = zip(*(_cut(read_image(path), view) for path in looped), strict=True)
            rows[view.name].append(np.stack([_describe(clip, backbone, normalisation) for clip in cut]))
    return {name: np.stack(features) for name, features in rows.items()}


def _cut(image: Image.Image, view: View) -> list[Image.Image]:
    """One frame's crops or patches, in the view's order."""
    resized = _resize(image, view.resize)
    if isinstance(view, Crops):
        return list(_crops(resized, view))
    width, height = resized.width // view.columns, resized.height // view.rows
    return [
        resized.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in range(view.rows)
        for x in range(view.columns)
    ]


def _resize(image: Image.Image, resize: Resize) -> Image.Image:
    if isinstance(resize.size, tuple):
        height, width = resize.size
    else:
        short = min(image.size)
        width, height = (int(resize.size * side / short) for side in image.size)
    kind = Image.Resampling.LANCZOS if resize.filter == "lanczos" else Image.Resampling.BILINEAR
    return image.resize((width, height), kind)


def _crops(image: Image.Image, view: Crops) -> Iterator[Image.Image]:
    size, right, bottom = view.crop, image.width - view.crop, image.height - view.crop
    centre = (round(right / 2), round(bottom / 2))
    corners = {
        "centre": [centre],
        "ten": [(0, 0), (right, 0), (0, bottom), (right, bottom), centre],
        "gowtham": [(0, 0), (right, 0), centre, (0, bottom), (right, bottom)],
    }[view.layout]
    for mirrored in (False,) if view.layout == "centre" else (False, True):
        source = ImageOps.mirror(image) if mirrored else image
        for x, y in corners:
            yield source.crop((x, y, x + size, y + size))


@torch.no_grad()
def _describe(clip: tuple[Image.Image, ...], backbone: nn.Module, normalisation: Normalisation) -> np.ndarray:
    """[D] of one crop or patch."""
    frames = torch.from_numpy(np.stack([np.asarray(image) for image in clip])).float()
    mean, std = normalisation
    x = ((frames - mean) / std).permute(3, 0, 1, 2)[None].contiguous()  # [1, 3, t, h, w]
    device = next(backbone.parameters()).device
    return backbone(x.to(device))[0].cpu().numpy()
