"""The part of benchmark.py on stage one: decoding, the backbone, extraction.

Dimensions: P crops or patches, t frames, h x w pixels, D feature size.
"""

import copy
import importlib.util
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import plain
import torch
from benchmark_rounds import Bench, Row, seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.base import Backbone
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.engines.engines import Engine, make_engine, why_not
from ssrl_pipeline.extractors.engines.precision import offered
from ssrl_pipeline.extractors.engines.transfer import Transfer
from ssrl_pipeline.extractors.graphs import import_openvino
from ssrl_pipeline.extractors.repeats import UnchangedRule
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, cut_snippets
from ssrl_pipeline.extractors.views import cut_views

SIZES = {"cpu": 4096, "cuda": 8192}  # of the matrices whose product tells what the machine can do
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Subject(NamedTuple):
    """What is measured."""

    video: Path
    network: Backbone  # as published, contiguous
    extractors: dict[str, FeatureExtractor]  # one for each engine and precision
    leaving_out: dict[str, FeatureExtractor]  # likewise, which do not describe what has not changed
    snippets: int  # of the video that is extracted in each round


def load_subject(
    video: Path,
    preset: str,
    backbone: str,
    weights: str | None,
    engines: Sequence[str],
    count: int,
    device: str,
    precisions: Sequence[str] = ("float32",),
    leave_out: bool = False,
) -> Subject:
    """Weights of None are the published ones. Engines that do not run here, or not so, are left out."""
    there = torch.device(device)

    def by(rule: UnchangedRule | None) -> dict[str, FeatureExtractor]:
        return {
            f"{name}, {precision}": FeatureExtractor(
                backbone, preset, device, weights, engine=name, precision=precision, unchanged=rule
            )
            for name in engines
            if why_not(name, there) is None
            for precision in precisions
            if precision in offered(there, name)
        }

    extractors = by(None)
    leaving_out = by(UnchangedRule()) if leave_out else {}
    network = copy.deepcopy(next(iter(extractors.values())).backbone).to(
        memory_format=torch.contiguous_format
    )
    return Subject(video, network, extractors, leaving_out, count)


def decode(bench: Bench, subject: Subject) -> Iterator[Row]:
    """Frames of the video as arrays."""
    video = subject.video

    def images() -> float:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            paths = plain.write_images(video, Path(folder), ".jpg")
            return sum(np.asarray(plain.read_image(path)).ndim > 0 for path in paths)

    def opencv() -> float:
        capture, count = cv2.VideoCapture(str(video)), 0
        while (read := capture.read())[0]:
            cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            count += 1
        return count

    def pyav() -> float:
        with av.open(str(video)) as container:
            container.streams.video[0].thread_type = "AUTO"
            return sum(frame.to_ndarray(format="rgb24").ndim > 0 for frame in container.decode(video=0))

    def ours() -> float:
        return sum(frame.ndim > 0 for frame in open_video(video).frames)

    ways = {
        "JPEG files and Pillow": images,
        "OpenCV": opencv,
        "PyAV": pyav,
        "ours: PyAV, in a process of its own": ours,
    }
    yield from bench.compare("decode", "frames/s", ways)


def backbone(bench: Bench, subject: Subject) -> Iterator[Row]:
    """The network alone, on the clips of one snippet, and matrix products of the same precision beside it."""
    network, extractors = subject.network, subject.extractors
    any_extractor = next(iter(extractors.values()))
    views = snippet_views(subject, any_extractor)
    mean, std = any_extractor.normalisation
    size = SIZES[bench.device.type]
    precisions = dict.fromkeys(one.precision for one in extractors.values())
    products = {
        f"matrix product, {precision}: {name}": partial(_product, multiply, size)
        for precision in precisions
        for name, multiply in _products(precision, bench.device, size)
    }

    def plain_way(clips: torch.Tensor, work: float) -> float:
        with torch.inference_mode():
            for clip in clips.split(1):
                network(((clip.float() - mean) / std).contiguous())
        return work

    engines = {
        name: make_engine(
            one.engine, network, one.normalisation, bench.device, one.precision, one.networks.graphs
        )
        for name, one in extractors.items()
    }

    def our_way(engine: Engine, clips: torch.Tensor, work: float) -> float:
        with torch.inference_mode():
            engine(clips)
        return work

    for clips in views.values():  # uint8 [P, 3, t, h, w]
        work = 2e-9 * len(clips) * macs(network, clips.shape[2:])
        ways = {"plain: eager, contiguous, one at a time": partial(plain_way, clips, work)}
        ways |= {f"ours: {name}": partial(our_way, engine, clips, work) for name, engine in engines.items()}
        part = f"backbone, {len(clips)} of {'x'.join(map(str, clips.shape[3:]))}"
        rows = bench.compare(part, "GFLOP/s", {**ways, **products})
        for row in rows:
            precision = next((one for one in precisions if one in row.way), next(iter(precisions)))
            peak = max(other.rate for other in rows[len(ways) :] if precision in other.way)
            yield row._replace(note=f"{row.rate / peak:.0%} of the best matrix product in {precision}")


def extraction(bench: Bench, subject: Subject) -> Iterator[Row]:
    """The whole way from a short video to its features; in both ways, networks are loaded and warm."""
    network, extractors = subject.network, subject.extractors
    any_extractor = next(iter(extractors.values()))
    preset, normalisation = any_extractor.preset, any_extractor.normalisation
    video = bench.folder / "short.avi"
    count = cut_video(subject.video, video, subject.snippets * SNIPPET_FRAMES) / SNIPPET_FRAMES

    def plain_way(suffix: str) -> dict[str, np.ndarray]:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            paths = plain.write_images(video, Path(folder), suffix)
            return plain.extract(paths, preset, network, normalisation)

    def work(way: Callable[[], dict[str, np.ndarray]]) -> float:
        way()
        return count

    ways = {"plain: JPEG files, Pillow, eager, one at a time": partial(plain_way, ".jpg")}
    ways |= {f"ours: {name}": partial(e.from_video, video) for name, e in extractors.items()}
    ways |= {
        f"ours: {name}, unchanged clips left out": partial(e.from_video, video)
        for name, e in subject.leaving_out.items()
    }
    works = {name: partial(work, way) for name, way in ways.items()}
    rows = bench.compare(f"extraction, {preset.name}", "snippets/s", works)
    truth = plain_way(".png")
    for row, way in zip(rows, ways.values(), strict=True):
        yield row._replace(note=f"features {_distance(way(), truth):.1e} from those of lossless images")


def snippet_views(subject: Subject, extractor: FeatureExtractor) -> dict[str, torch.Tensor]:
    """Views of the video's first snippet: name -> uint8 [P, 3, t, h, w], on the device."""
    frames = next(cut_snippets(open_video(subject.video).frames))
    up = Transfer(extractor.device).up
    return cut_views(frames[:: subject.network.frame_stride], extractor.preset.views, up)


def peak(precision: str, device: torch.device, size: int | None = None) -> float:
    """Floating-point operations a second of a product of square matrices: the best of several."""
    size = size or SIZES[device.type]
    multiply = matrix_product(precision, device, size)
    return 2 * size**3 / seconds(multiply, device)


def matrix_product(precision: str, device: torch.device, size: int) -> Callable[[], Tensor]:
    """A product by PyTorch, of random numbers; nobody waits for it."""
    left, right = (
        torch.randn(size, size, device=device).to(HALVES.get(precision, torch.float32)) for _ in range(2)
    )

    def multiply() -> Tensor:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        try:
            return left @ right
        finally:
            torch.set_float32_matmul_precision("highest")

    return multiply


def _products(precision: str, device: torch.device, size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Products of square matrices by each library that is installed: some use a processor better."""
    if precision == "int8":
        left, right = (torch.randint(-128, 128, (size, size), dtype=torch.int8) for _ in range(2))
        yield "PyTorch", lambda: torch._int_mm(left, right)
        return
    yield "PyTorch", matrix_product(precision, device, size)
    if device.type == "cpu":
        array = np.random.default_rng(0).random((size, size), np.float32)
        if precision == "float32":
            yield "NumPy", lambda: array @ array
        if importlib.util.find_spec("openvino"):
            import_openvino()
            from openvino import Core, Model, opset13

            parameter = opset13.parameter([size, size], np.float32)
            model = Model([opset13.matmul(parameter, opset13.constant(array), False, False)], [parameter])
            hint = "bf16" if precision == "bfloat16" else "f32"
            compiled = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
            yield "OpenVINO", lambda: compiled(array)


def _product(multiply: Callable[[], object], size: int) -> float:
    multiply()
    return 2e-9 * size**3


def macs(network: Backbone, shape: torch.Size) -> float:
    """Multiplications of one clip [t, h, w], counted by PyTorch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, *shape, device=next(network.parameters()).device))
    return counter.get_total_flops() / 2


def cut_video(video: Path, to: Path, frames: int) -> int:
    """The beginning of a video again, as Motion JPEG, which every decoder reads to the same frames."""
    opened = open_video(video)
    info, source = opened.info, opened.frames
    writer = cv2.VideoWriter(str(to), cv2.VideoWriter.fourcc(*"MJPG"), 25, (info.width, info.height))
    count = 0
    for frame in itertools.islice(source, frames):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        count += 1
    writer.release()
    return count


def _distance(features: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> float:
    """The largest relative L2 difference of a view's features."""
    return max(
        float(np.linalg.norm(features[name] - truth[name]) / np.linalg.norm(truth[name])) for name in truth
    )
