"""What a training step of stage 4 costs with and without the cache of frozen scales, at the published sizes.

    python scripts/bench/frozen_cache.py [--freeze stage]

Features are made up. The script prints the ratio of times (the median over pairs of
steps, one of each kind) and how far apart the losses are.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from ssrl_pipeline.models import SSRL, MILLoss
from ssrl_pipeline.scales import scale_of, view_of

SCALES = {"2x3": 6, "3x5": 15, "4x7": 28}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--feature-size", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=4, help="bags of either kind")
    parser.add_argument("--segments", type=int, default=32)
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--freeze", choices=["scales", "stage"], default="scales")
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()

    torch.manual_seed(0)
    bags = 2 * a.batch_size
    counts = {"clip": a.crops, **{view_of(scale): n for scale, n in SCALES.items()}}
    views = {
        name: torch.rand(bags, a.segments, n, a.feature_size, device=a.device) for name, n in counts.items()
    }
    labels = torch.arange(bags, device=a.device) >= a.batch_size
    model = SSRL(a.feature_size, list(SCALES), a.crops, dropout=0).to(a.device)
    *older, newest = SCALES
    for name, parameter in model.named_parameters():
        kept = not name.startswith(f"patches.{newest}.")
        parameter.requires_grad_(not (kept and (a.freeze == "stage" or name.startswith("patches."))))
    for module in model.modules():
        parameters = list(module.parameters())
        module.training = not parameters or any(p.requires_grad for p in parameters)
    with torch.no_grad():
        branches = {scale: model.branch(scale, views[view_of(scale)]) for scale in older}
    cached = {name: view for name, view in views.items() if scale_of(name) not in older} | branches
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.0)
    loss = MILLoss().eval()

    def step(batch: dict[str, Tensor]) -> tuple[float, float]:
        """(seconds, loss); a rate of zero leaves the weights, so that every step does the same."""
        start = time.perf_counter()
        optimiser.zero_grad()
        total = loss(model(batch), labels).total
        total.backward()
        optimiser.step()
        value = total.item()
        return time.perf_counter() - start, value

    step(cached)
    pairs = [(step(views), step(cached)) for _ in range(a.pairs)]
    ratio = statistics.median(without[0] / with_cache[0] for without, with_cache in pairs)
    difference = max(abs(without[1] - with_cache[1]) / without[1] for without, with_cache in pairs)
    seconds = statistics.median(with_cache[0] for _, with_cache in pairs)
    print(f"freeze={a.freeze}: {ratio:.2f} times as long without the cache ({seconds:.2f} s with it)")
    print(f"losses differ by {difference:.1e} at most, relatively")


if __name__ == "__main__":
    main()
