"""gpu_check.py's steps about the network alone: its share of the peak, and where its time goes.

Dimensions: B clips, t frames, h x w pixels.
"""

import copy
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from benchmark_features import macs, peak
from benchmark_rounds import wall
from gpu_common import Check, precisions
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extractors.engines.engines import ENGINES, Engine, check_engine, make_engine, why_not
from ssrl_pipeline.extractors.presets import PRESETS, Normalisation
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES

BATCH_PIXELS = 16 * 10 * 224 * 224  # of one batch, times:
BATCHES = {"bfloat16": (1, 4, 16)}
USUAL = (4,)  # for all others
KERNELS = (  # the first that a name holds tells its class; names of convolutions hold layouts too
    ("pooling", "pool"),
    ("elementwise", r"^triton_(poi|per|red)"),
    (
        "copy, layout",
        r"copy|memcpy|memset|nchwtonhwc|nhwctonchw|transpose|catarray|permute|reorder|contiguous",
    ),
    ("convolution", r"conv|fprop|gemm|nvjet|xmma|cutlass|winograd|mma|matmul"),
    ("copy, layout", r"nchw|nhwc|::cat$"),
    ("elementwise", r"elementwise|relu|clamp|add|mul|div|sub|fill|reduce|mean|sum|norm"),
)


class Clips(NamedTuple):
    """One view's clips of a snippet."""

    view: str
    count: int
    size: tuple[int, int, int]  # t, h, w
    work: float  # floating-point operations of one clip

    @property
    def shape(self) -> str:
        return "x".join(map(str, self.size[1:]))


class Beginning(nn.Module):
    """A backbone's first layers, for a try on a CPU."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*list(network.children())[:5])

    def forward(self, clips: Tensor) -> Tensor:
        return cast(Tensor, self.layers(clips)).mean(dim=(2, 3, 4))


class Subject(NamedTuple):
    """What is measured, and on what."""

    network: nn.Module  # in float32
    normalisation: Normalisation
    views: list[Clips]

    def engine(self, name: str, precision: str, device: torch.device) -> Engine:
        return make_engine(name, self.network, self.normalisation, device, precision)


def load(check: Check) -> Subject:
    extractor = check.extractor(check.preset, engine="eager", precision="float32")
    network: Any = Beginning(extractor.backbone) if check.tiny else extractor.backbone
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    height, width = (120, 160) if check.tiny else (240, 320)
    snippet = torch.from_numpy(check.frames(width, height)).permute(0, 3, 1, 2)
    views = []
    for view in PRESETS[check.preset].views:
        clips = view.cut(view.resize(snippet))
        size = clips.shape[2:]
        views.append(Clips(view.name, len(clips), (size[0], size[1], size[2]), 2 * macs(network, size)))
    return Subject(network, extractor.normalisation, views)


def random_clips(clips: Clips, count: int, device: torch.device) -> Tensor:
    """uint8 [count, 3, t, h, w]."""
    return torch.randint(0, 256, (count, 3, *clips.size), dtype=torch.uint8, device=device)


def plans(check: Check, engine: str) -> Iterator[tuple[str, int]]:
    """Precision, and how many times BATCH_PIXELS pass at once; one alone where each size is compiled."""
    for precision in precisions():
        try:
            check_engine(engine, precision, check.device)
        except ConfigError as error:
            check.skip(f"all views, {precision}", str(error))
            continue
        if engine == "compile":
            if precision == precisions()[0] or check.tiny:
                yield precision, USUAL[0]
        else:
            yield from ((precision, batch) for batch in BATCHES.get(precision, USUAL))


def backbone(check: Check, name: str) -> None:
    """Each clip size by itself, and all views of a snippet weighted by their clips."""
    if reason := why_not(name, check.device):
        check.skip("all views", reason)
        return
    subject, tops = load(check), {}
    for precision, times in plans(check, name):
        if precision not in tops:
            tops[precision] = peak(precision, check.device, 1024 if check.tiny else None)
        took = work = 0.0
        try:
            engine = subject.engine(name, precision, check.device)
            for clips in subject.views[: 1 if check.tiny and name == "compile" else None]:
                pixels = SNIPPET_FRAMES * clips.size[1] * clips.size[2]
                count = clips.count if check.tiny else max(1, times * BATCH_PIXELS // pixels)
                batch = random_clips(clips, count, check.device)
                first = wall(lambda: engine(batch), check.device)  # noqa: B023
                seconds = check.seconds(lambda: engine(batch), 0.5) / count  # noqa: B023
                share = clips.work / seconds / tops[precision]
                check.report(
                    f"{clips.shape}, {precision}, {count} clips",
                    clips.work / seconds / 1e12,
                    "TFLOP/s",
                    f"{share:.1%} of the {precision} peak; its first call took {first:.1f} s",
                )
                took += clips.count * seconds
                work += clips.count * clips.work
        except Exception as error:  # one precision that fails leaves the others
            check.fail(f"all views, {precision}, {times} x", error)
            continue
        share, top = work / took / tops[precision], tops[precision] / 1e12
        check.report(
            f"all views, {precision}, {times} x",
            1 / took,
            "snippets/s",
            f"{share:.1%} of the {precision} peak, {work / took / 1e12:.4g} TFLOP/s of {top:.4g}",
        )


def kernels(check: Check) -> None:
    """Where the time of the fastest engine so far goes: kernels by class and by name, layers of eager."""
    subject = load(check)
    best = max(
        (name for name in ENGINES if name not in ("auto", "openvino")),
        key=lambda name: _rate(check, name),
    )
    precision = check.precision
    best = "eager" if check.tiny or not _rate(check, best) else best
    engine = subject.engine(best, precision, check.device)
    classes: Counter[str] = Counter()
    names: Counter[str] = Counter()
    took = 0.0
    for clips in subject.views:
        batch = random_clips(clips, _usual_count(check, clips), check.device)
        share = clips.count / len(batch)
        for _ in range(1 if check.tiny else 3):
            engine(batch)
        took += share * check.seconds(lambda: engine(batch), 0.3)  # noqa: B023
        for name, seconds in _profile(lambda: engine(batch), check.device).items():  # noqa: B023
            names[name] += share * seconds
            classes[class_of(name)] += share * seconds
    total = sum(classes.values())
    if not total:
        check.fail(f"{best}, {precision}", RuntimeError("the profiler saw no kernel"))
    for name, seconds in classes.most_common():
        check.report(
            f"{best}, {precision}: {name}",
            seconds / total,
            "of the time",
            f"{1e3 * seconds:.3g} ms a snippet",
        )
    if total:
        check.report(f"{best}, {precision}: kernels at work", total / took, "of the time", "the rest is gaps")
    for name, seconds in names.most_common(25):
        check.report(
            f"kernel {name[:80]}", seconds / total, "of the time", f"{class_of(name)}, {1e3 * seconds:.3g} ms"
        )
    layers(check, subject, precision)


def layers(check: Check, subject: Subject, precision: str) -> None:
    """Each of the network's direct children, as eager runs it: its time for a snippet, and its rate."""
    engine: Any = subject.engine("eager", precision, check.device)
    network = engine.module.network
    spans: dict[str, float] = Counter()
    work: dict[str, float] = Counter()
    for clips in subject.views:
        batch = random_clips(clips, _usual_count(check, clips), check.device)
        counts = _work_of_children(subject.network, clips)
        for name, count in counts.items():
            work[name] += clips.count * count
        for name, seconds in _spans(_layers_of(network), lambda: engine(batch), check.device).items():  # noqa: B023
            spans[name] += clips.count / len(batch) * seconds
    total = sum(spans.values())
    for name, seconds in spans.items():
        rate = f"{work[name] / seconds / 1e12:.4g} TFLOP/s" if work[name] else "no products"
        beside = f"{1e3 * seconds:.3g} ms a snippet, {rate}"
        check.report(f"eager, {precision}, layer {name}", seconds / total, "of the time", beside)


def class_of(kernel: str) -> str:
    return next((name for name, words in KERNELS if re.search(words, kernel, re.IGNORECASE)), "other")


def _usual_count(check: Check, clips: Clips) -> int:
    pixels = SNIPPET_FRAMES * clips.size[1] * clips.size[2]
    return 1 if check.tiny else max(1, USUAL[0] * BATCH_PIXELS // pixels)


def _rate(check: Check, engine: str) -> float:
    found = check.best(f"backbone-{engine}", f"all views, {check.precision}", "snippets/s")
    return float(found.value or 0) if found else 0.0


def _profile(run: Callable[[], object], device: torch.device) -> Counter[str]:
    """Seconds by the name of a kernel, or on a CPU of an operator."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        run()
        if cuda:
            torch.cuda.synchronize(device)
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if spent:
            seconds[event.key] += spent / 1e6
    return seconds


def _layers_of(network: nn.Module) -> dict[str, nn.Module]:
    return dict(getattr(network, "layers", network).named_children())


def _work_of_children(network: nn.Module, clips: Clips) -> dict[str, float]:
    """Floating-point operations of each layer for one clip, of the network as published."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, *clips.size, device=next(network.parameters()).device))
    counts = counter.get_flop_counts()
    return {
        name: float(sum(next((v for k, v in counts.items() if k.split(".")[-1] == name), {}).values()))
        for name in _layers_of(network)
    }


def _spans(
    children: dict[str, nn.Module], run: Callable[[], object], device: torch.device
) -> dict[str, float]:
    """Seconds of each child in one call, after one that warms up."""
    cuda = device.type == "cuda"
    marks: dict[str, list[Any]] = {name: [] for name in children}

    def mark(name: str) -> Callable[..., None]:
        def record(*_: object) -> None:
            if cuda:
                event = torch.cuda.Event(enable_timing=True)
                event.record()
                marks[name].append(event)
            else:
                marks[name].append(time.perf_counter())

        return record

    run()
    hooks = [child.register_forward_pre_hook(mark(name)) for name, child in children.items()]
    hooks += [child.register_forward_hook(mark(name)) for name, child in children.items()]
    run()
    if cuda:
        torch.cuda.synchronize(device)
    for hook in hooks:
        hook.remove()
    return {
        name: first.elapsed_time(second) / 1e3 if cuda else second - first
        for name, (first, second) in marks.items()
    }
