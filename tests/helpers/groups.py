"""Training by several processes, compared with that of one."""

from pathlib import Path

from ssrl_pipeline.checkpoint import load_checkpoint

STAGED = ("-o", "train.schedule=staged", "-o", "train.optimiser.lr=3e-3", "-o", "train.optimiser.warmup=3")


def greatest_difference(project: Path, first: str, second: str) -> float:
    a, b = (load_checkpoint(project / "runs" / name / "best.pt").weights for name in (first, second))
    assert a.keys() == b.keys()
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)
