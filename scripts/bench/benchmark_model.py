"""The part of benchmark.py on stages two and three: training and scoring.

Dimensions: B sequences, N elements.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from benchmark_rounds import Bench, Row
from torch import Tensor, nn

from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.features.segments import segment_means
from ssrl_pipeline.models import SSRL, MILLoss, SSRLOutput
from ssrl_pipeline.models.long_video import score_long
from ssrl_pipeline.models.ssrl.relation import NonLocal
from ssrl_pipeline.scales import view_of


def training(bench: Bench, precision: str = "float32") -> Iterator[Row]:
    """Steps of the paper's stages: bags from the videos' files each time and plain Adam, or ours.

    Args:
        precision: `float32`, or `bfloat16` for mixed.
    """
    feature_size, segments, crops, half = 1024, 32, 10, 4
    scales = {"2x3": 6, "3x5": 15, "4x7": 28}
    rng = np.random.default_rng(0)
    names = {"clip": crops} | {view_of(scale): n for scale, n in scales.items()}
    videos = []
    for i in range(2 * half):  # two snippets a segment, as a video of half a minute has
        files = {name: bench.folder / f"{i}-{name}.npy" for name in names}
        for name, path in files.items():
            np.save(path, rng.random((2 * segments, names[name], feature_size), np.float32))
        videos.append(files)
    labels = torch.arange(2 * half, device=bench.device) >= half

    def bags(views: list[str]) -> dict[str, Tensor]:
        read = {name: [segment_means(np.load(files[name]), segments) for files in videos] for name in views}
        return {name: torch.from_numpy(np.stack(rows)).to(bench.device) for name, rows in read.items()}

    loss = MILLoss()

    def step(model: SSRL, batch: Callable[[], dict[str, Tensor]], adam: torch.optim.Optimizer) -> float:
        adam.zero_grad()
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = SSRLOutput(*(values if values is None else values.float() for values in model(batch())))
        loss(output, labels).total.backward()
        adam.step()
        return 1

    for stage in range(1, 5):
        used = list(scales)[: stage - 1]
        views = ["clip", *(view_of(scale) for scale in used)]
        torch.manual_seed(0)
        ours = SSRL(feature_size, used, crops).to(bench.device).train()
        published = with_plain_order(ours)
        ready = bags(views)
        for scale in used[:-1]:  # frozen: what they make of a bag is computed once
            with torch.no_grad():
                ready[scale] = ours.branch(scale, ready.pop(view_of(scale)))
            ours.patches[scale].requires_grad_(False).eval()
        learned = [parameter for parameter in ours.parameters() if parameter.requires_grad]
        plain_adam = torch.optim.Adam(published.parameters(), foreach=False)
        our_adam = torch.optim.Adam(learned, fused=True)
        ways = {
            "plain: files in each step, all scales learn": partial(
                step, published, partial(bags, views), plain_adam
            ),
            "ours: bags in memory, frozen scales cached": partial(step, ours, ready.copy, our_adam),
        }
        yield from bench.compare(f"training, stage {stage}, {precision}", "steps/s", ways)


def scoring(bench: Bench) -> Iterator[Row]:
    """An hour of features at 25 frames a second."""
    count, scales = 25 * 3600 // SNIPPET_FRAMES, ("2x3", "3x5")
    torch.manual_seed(0)
    model = SSRL(1024, scales, crops=1, patches="max").to(bench.device).eval()
    views = {name: torch.rand(count, n, 1024) for name, n in model.views.items()}
    chunks = [{name: rows[i : i + 256] for name, rows in views.items()} for i in range(0, count, 256)]
    whole = with_plain_order(model)

    @torch.inference_mode()
    def at_once() -> float:
        whole({name: rows[None].to(bench.device) for name, rows in views.items()})
        return 1

    def in_chunks() -> float:
        return len(score_long(model, chunks, bench.device)) / count

    yield from bench.compare(
        "scoring", "hours/s", {"plain: at once, N x N relations": at_once, "ours: in chunks": in_chunks}
    )


class PlainNonLocal(nn.Module):
    """As models.relation.NonLocal, through the whole N x N matrix of relations."""

    def __init__(self, block: NonLocal):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, gathered: Tensor | None = None) -> Tensor:
        """[B, channels, N] -> [B, channels, N], of a whole sequence alone."""
        assert gathered is None
        block = self.block
        relations = block.theta(x).transpose(1, 2) @ block.phi(x) / x.shape[2]  # [B, N, N]
        y = (relations @ block.g(x).transpose(1, 2)).transpose(1, 2)
        return x + block.norm(block.out(y))


def with_plain_order(model: SSRL) -> SSRL:
    """A copy whose relation blocks multiply in the published order."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(getattr(module, "non_local", None), NonLocal):
            module.non_local = PlainNonLocal(module.non_local)
    return model
