"""Weights, videos and reference features for scripts/gpu/gpu_check.py; scripts/gpu/gpu_payload.sh calls it.

    PYTHONPATH=scripts/bench python scripts/gpu/gpu_payload.py .gpu

What is already there and whole is kept, except the features, which follow the code.
"""

import json
import sys
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from gpu_common import FACTS, REFERENCES, WEIGHTS, restore_weights
from gpu_steps_features import first_frames
from safetensors.torch import save_file

from ssrl_pipeline.demo.render import RenderPlan, build_scene, render_video
from ssrl_pipeline.disk.files import whole_file, write_json
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.weights import published_weights

VIDEOS = {  # how long: 25 frames a second, and 7 seconds at least for a renderer's cart to pass
    "320x240": RenderPlan(frames=400, fps=25, width=320, height=240),
    "1920x1080": RenderPlan(frames=176, fps=25, width=1920, height=1080),
}


class Reference(NamedTuple):
    """Features that are computed here on the CPU, in float32, by eager PyTorch."""

    preset: str
    patches: str
    video: str
    snippets: int


REFERENCED = (
    Reference("paper", "exact", "320x240", 2),
    Reference("paper", "dense", "320x240", 2),
    Reference("fast", "exact", "1920x1080", 3),
)


def save_weights(path: Path) -> None:
    """The published weights without their classifier, each number rounded to bfloat16."""
    arrays = {name: array for name, array in published_weights("i3d").items() if "Logits" not in name}
    tensors = {
        name: torch.from_numpy(array).to(torch.bfloat16).contiguous() for name, array in arrays.items()
    }
    with whole_file(path) as scratch:
        save_file(tensors, scratch)


def save_video(path: Path, plan: RenderPlan) -> None:
    """One abnormal video as H.264, as cameras send it."""
    rng = np.random.default_rng(0)
    frames = render_video(rng, "cyclist", build_scene(rng, plan)).frames
    with whole_file(path, suffix=".mp4") as scratch, av.open(str(scratch), "w") as container:
        stream = container.add_stream("libx264", rate=plan.fps, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        stream.time_base = Fraction(1, plan.fps)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def describe(frames: np.ndarray, wanted: Reference, weights: Path | None) -> dict[str, np.ndarray]:
    """View name -> float32 [T, P, D]."""
    extractor = FeatureExtractor(
        "i3d", wanted.preset, "cpu", weights, patches=wanted.patches, engine="eager", precision="float32"
    )
    return extractor(frames)


def save_references(folder: Path) -> None:
    """references.npz: "NUMBER/WEIGHTS/VIEW" -> features; references.json: what each number is."""
    with tempfile.TemporaryDirectory() as scratch:
        restored = Path(scratch, "rounded.safetensors")
        restore_weights(folder / WEIGHTS, restored)
        arrays, facts = _references(folder, restored)
    with whole_file(folder / REFERENCES, suffix=".npz") as path:
        np.savez(path, **arrays)
    write_json(folder / FACTS, {"torch": torch.__version__, "references": facts})


def _references(folder: Path, rounded: Path) -> tuple[dict[str, np.ndarray], list[dict[str, object]]]:
    arrays: dict[str, np.ndarray] = {}
    facts: list[dict[str, object]] = []
    for number, wanted in enumerate(REFERENCED):
        frames = first_frames(folder / "videos" / f"{wanted.video}.mp4", wanted.snippets)
        for kind, weights in (("rounded", rounded), ("published", None)):
            features = describe(frames, wanted, weights)
            arrays |= {f"{number}/{kind}/{view}": rows for view, rows in features.items()}
        facts.append({**wanted._asdict(), "frames_crc32": zlib.crc32(frames.tobytes())})
        print(json.dumps(facts[-1]), flush=True)
    return arrays, facts


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    if not (folder / WEIGHTS).exists():
        save_weights(folder / WEIGHTS)
    for name, plan in VIDEOS.items():
        if not (path := folder / "videos" / f"{name}.mp4").exists():
            save_video(path, plan)
    save_references(folder)


if __name__ == "__main__":
    main()
