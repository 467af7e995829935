"""Where the time of an extraction goes in the plain way and in ours, by steps and by layers.

    python scripts/bench/profile_extraction.py --preset fast --snippets 2

The first table gives the seconds of each step for one snippet of a video, the second those
of each layer of the network for the views of one snippet. The plain way is scripts/bench/plain.py.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import plain
import torch
from benchmark_features import Subject, cut_video, load_subject, snippet_views
from torch import Tensor, nn

from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.extractors import PRESETS, extractor
from ssrl_pipeline.extractors.engines.engines import PRECISIONS, make_engine
from ssrl_pipeline.extractors.engines.networks import Networks
from ssrl_pipeline.extractors.engines.openvino import OpenVino
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES

Seconds = Counter[str]
ENGINES = ("eager", "openvino")
ALL = "all"
TIMES = 3  # that a network runs, after once to warm up


@contextmanager
def timed(seconds: Seconds, step: str, owner: Any, name: str) -> Iterator[None]:
    """While it lasts, the time that a function takes is added to a step."""
    function = getattr(owner, name)

    def measured(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[step] += time.perf_counter() - start

    with patch.object(owner, name, measured):
        yield


def steps_of_plain(subject: Subject, video: Path, folder: Path) -> Seconds:
    """The network's time includes normalising; one crop is described after the other."""
    seconds: Seconds = Counter()
    one = next(iter(subject.extractors.values()))
    start = time.perf_counter()
    with (
        timed(seconds, "decode, write images", plain, "write_images"),
        timed(seconds, "read images", plain, "read_image"),
        timed(seconds, "resize, cut", plain, "_cut"),
        timed(seconds, "network", plain, "_describe"),
    ):
        paths = plain.write_images(video, folder, ".jpg")
        plain.extract(paths, one.preset, subject.network, one.normalisation)
    wall = time.perf_counter() - start
    seconds["rest"] = wall - seconds.total()
    seconds[ALL] = wall
    return seconds


def steps_of_ours(subject: Subject, name: str, video: Path) -> Seconds:
    """Not in the sum: cutting, which has a thread beside the network, and decoding, which has a process."""
    seconds: Seconds = Counter()
    one = subject.extractors[name]
    one.from_video(video)  # warms up
    start = time.perf_counter()
    with (
        timed(seconds, "resize, cut", extractor, "cut_views"),
        timed(seconds, "network", Networks, "__call__"),
    ):
        one.from_video(video)
    seconds[ALL] = time.perf_counter() - start
    seconds["rest"] = seconds[ALL] - seconds["network"]
    return seconds


def layers_by_hooks(network: nn.Module, run: Callable[[], object]) -> Seconds:
    """The time of each of a network's direct children, on a CPU, where nothing runs on after the call."""
    seconds: Seconds = Counter()
    starts: dict[str, float] = {}

    def begin(name: str) -> Callable[..., None]:
        return lambda *_: starts.__setitem__(name, time.perf_counter())

    def end(name: str) -> Callable[..., None]:
        return lambda *_: seconds.update({name: time.perf_counter() - starts[name]})

    hooks = [child.register_forward_pre_hook(begin(name)) for name, child in network.named_children()]
    hooks += [child.register_forward_hook(end(name)) for name, child in network.named_children()]
    _repeat(run, seconds)
    for hook in hooks:
        hook.remove()
    return seconds


def layers_of_openvino(engine: OpenVino, clips: Tensor) -> Seconds:
    """By OpenVINO's own account, one clip after the other; fused layers count where it puts them."""
    options = {"INFERENCE_PRECISION_HINT": engine.hint, "PERF_COUNT": True}
    request = engine.core.compile_model(engine.convert(tuple(clips.shape[1:])), "CPU", options)
    request = request.create_infer_request()
    seconds: Seconds = Counter()

    def run() -> None:
        for clip in clips.numpy():
            request.infer([clip[None]])
            for part in request.profiling_info:
                name = re.search(r"network\.(\w+)", part.node_name)
                seconds[name[1] if name else "normalise"] += part.real_time.total_seconds()

    _repeat(run, seconds)
    return seconds


def _repeat(run: Callable[[], object], seconds: Seconds) -> None:
    run()
    seconds.clear()
    for _ in range(TIMES):
        run()
    for name in seconds:
        seconds[name] /= TIMES


def layers(subject: Subject) -> dict[str, Seconds]:
    """way -> the time of each layer, for all views of a snippet."""
    one = next(iter(subject.extractors.values()))
    device, normalisation = one.device, one.normalisation
    found: dict[str, Seconds] = {"plain": Counter(), **{name: Counter() for name in subject.extractors}}
    mean, std = normalisation
    for clips in snippet_views(subject, one).values():

        def plain_way(clips: Tensor = clips) -> None:
            for clip in clips.split(1):
                subject.network(((clip.float() - mean) / std).contiguous())

        with torch.inference_mode():
            found["plain"] += layers_by_hooks(subject.network, plain_way)
            for name in subject.extractors:
                own = subject.extractors[name]
                engine = make_engine(
                    own.engine, own.backbone, normalisation, device, own.precision, own.networks.graphs
                )
                if isinstance(engine, OpenVino):
                    found[name] += layers_of_openvino(engine, clips)
                else:
                    ours: Any = engine
                    network = ours.module.network
                    found[name] += layers_by_hooks(network, lambda: ours(clips))  # noqa: B023
    for seconds in found.values():
        seconds[ALL] = seconds.total()
    return found


def show(title: str, columns: dict[str, Seconds], count: int) -> None:
    names = dict.fromkeys(name for seconds in columns.values() for name in seconds if name != ALL)
    rows = [
        (name, *(f"{s[name] / count:.3f} ({s[name] / s[ALL]:.0%})" for s in columns.values()))
        for name in (*names, ALL)
    ]
    print(table(rows, (title, *columns)), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--snippets", type=int, default=2)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--random-weights", action="store_true", help="nothing is fetched")
    arguments = parser.parse_args()
    weights = "random" if arguments.random_weights else None
    chosen = (arguments.preset, "i3d", weights, arguments.engines)
    where = ("cpu", arguments.precisions)
    subject = load_subject(arguments.video, *chosen, arguments.snippets, *where)
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder, "short.avi")
        count = cut_video(arguments.video, short, arguments.snippets * SNIPPET_FRAMES) // SNIPPET_FRAMES
        steps = {"plain": steps_of_plain(subject, short, Path(folder))}
        steps |= {name: steps_of_ours(subject, name, short) for name in subject.extractors}
    show("seconds a snippet", steps, count)
    show("seconds a snippet", layers(subject), 1)


if __name__ == "__main__":
    main()
