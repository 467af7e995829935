"""The time and the memory that scoring a long video takes; memory must not grow with the length.

    python scripts/bench/long_video.py --hours 0.25 1 2 4 8 16 24

Features are made up chunk by chunk, the same in every run, and never stored. Each
length has a process of its own. Times are for making and scoring them, by the clock
and in processor time. Memory is the process's peak, PyTorch included. The scores of
the shortest length are compared with those that the model gives it at once.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.models import SSRL, Detector
from ssrl_pipeline.models.long_video import CHUNK, score_long

SNIPPETS_PER_HOUR = 30 * 3600 / 16  # at 30 frames a second


class Cost(NamedTuple):
    snippets: int
    seconds: float
    cpu_seconds: float
    peak_gib: float
    difference: str  # greatest, from the scores at once; - where these were not asked for


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, nargs="+", default=[0.25, 1, 2, 4, 8, 16, 24])
    parser.add_argument("--scales", nargs="*", default=["2x3", "3x5"], help="paper: 2x3 3x5 4x7")
    parser.add_argument("--crops", type=int, default=1, help="paper: 10")
    parser.add_argument("--feature-size", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()

    rows: list[tuple[float | str, ...]] = []
    context = multiprocessing.get_context("spawn")
    for hours in sorted(a.hours):
        work = (round(hours * SNIPPETS_PER_HOUR), not rows, a.scales, a.crops, a.feature_size)
        with ProcessPoolExecutor(1, mp_context=context) as process:
            cost = process.submit(measure, *work, a.threads, a.device).result()
        rows.append((hours, *cost[:3], cost.seconds / hours, *cost[3:]))
        header = ("hours", "snippets", "seconds", "CPU seconds", "seconds an hour", "peak GiB", "difference")
        print(table(rows[-1:], header).splitlines()[-1] if len(rows) > 1 else table(rows, header), flush=True)


def measure(
    snippets: int, compare: bool, scales: list[str], crops: int, feature_size: int, threads: int, device: str
) -> Cost:
    torch.set_num_threads(threads)
    model = made_up_model(scales, crops, feature_size).to(device)
    wall, cpu = time.perf_counter(), time.process_time()
    scores = score_long(model, made_up_features(model, snippets), torch.device(device))
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    assert len(scores) == snippets and scores.std() > 1e-3, "scores that do not differ show nothing"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    difference = "-"
    if compare:
        chunks = list(made_up_features(model, snippets))
        views = {name: torch.cat([chunk[name] for chunk in chunks])[None].to(device) for name in model.views}
        with torch.inference_mode():
            difference = f"{(model(views).scores[0].cpu() - scores).abs().max().item():.1e}"
    return Cost(snippets, seconds, cpu_seconds, peak, difference)


def made_up_model(scales: list[str], crops: int, feature_size: int) -> SSRL:
    """Untrained, but with batch norms that do something: a new one leaves the non-local block idle."""
    torch.manual_seed(0)
    model = SSRL(feature_size, scales, crops).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return model


def made_up_features(model: Detector, snippets: int) -> Iterator[dict[str, Tensor]]:
    for begin in range(0, snippets, CHUNK):
        random = torch.Generator().manual_seed(begin)
        n = min(CHUNK, snippets - begin)
        yield {
            name: torch.rand(n, count, model.feature_size, generator=random)
            for name, count in model.views.items()
        }


if __name__ == "__main__":
    main()
