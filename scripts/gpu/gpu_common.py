"""What gpu_check.py, its steps and its payload share: where things lie, results, timing.

A result is a line of JSON: the part and step, a name, a value with its unit, and what it
is to be compared with. Lines are appended at once, so that nothing is lost if a step is stopped.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmark_rounds import seconds
from safetensors.torch import load_file, save_file

from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.engines.engines import PRECISIONS
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES

PAYLOAD = Path(__file__).resolve().parents[2] / ".gpu"
WEIGHTS, REFERENCES, FACTS = "i3d_bfloat16.safetensors", "references.npz", "references.json"


class Result(NamedTuple):
    """One line of the results."""

    part: int
    step: str
    status: str  # "ok", "skipped", "failed" or "timeout"
    name: str
    value: float | str | None = None
    unit: str = ""
    beside: str = ""  # what it is compared with; why it was skipped or failed


def append(path: Path, result: Result) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result._asdict()) + "\n")


def results(path: Path) -> list[Result]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Result(**json.loads(line)) for line in lines]


class Check(NamedTuple):
    """What a step knows."""

    part: int
    step: str
    out: Path
    folder: Path  # for what the step writes; gone afterwards
    tiny: bool
    weights: str | None  # a file, "random", or None for the published ones
    engine: str  # of what runs through an extractor
    precision: str

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.tiny else "cuda")

    @property
    def preset(self) -> str:
        """What "paper" stands for."""
        return "live" if self.tiny else "paper"

    def report(self, name: str, value: float | str, unit: str = "", beside: str = "") -> None:
        append(self.out, Result(self.part, self.step, "ok", name, value, unit, beside))

    def skip(self, name: str, reason: str) -> None:
        append(self.out, Result(self.part, self.step, "skipped", name, beside=reason))

    def fail(self, name: str, error: BaseException) -> None:
        """Reports one of several figures as failed; the step goes on."""
        reason = " ".join(str(error).split())[:300]
        append(
            self.out, Result(self.part, self.step, "failed", name, beside=f"{type(error).__name__}: {reason}")
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def needs_cuda(self, name: str) -> bool:
        """Whether there is CUDA; if not, reports that something was skipped."""
        if self.device.type != "cuda":
            self.skip(name, "needs CUDA")
        return self.device.type == "cuda"

    def best(self, step: str, word: str, unit: str) -> Result | None:
        """The largest value of a step so far, among the names that hold a word."""
        found = [
            result
            for result in results(self.out)
            if result.step == step and word in result.name and result.unit == unit and result.status == "ok"
        ]
        return max(found, key=lambda result: float(result.value or 0), default=None)

    def extractor(self, preset: str, **options: Any) -> FeatureExtractor:
        """With the engine and precision of this check, unless others are given."""
        options = {"engine": self.engine, "precision": self.precision} | options
        return FeatureExtractor("i3d", preset, self.device.type, self.weights, **options)

    def videos(self) -> dict[str, Path]:
        """Those of the payload, by their size."""
        return {path.stem: path for path in sorted((PAYLOAD / "videos").glob("*.mp4"))}

    def seconds(self, run: Callable[[], object], budget: float = 1.0) -> float:
        """The median time of a call, in seconds; calls are repeated for about `budget` seconds."""
        return seconds(run, self.device, 0.0 if self.tiny else budget)

    def frames(self, width: int, height: int, snippets: int = 1) -> np.ndarray:
        """Random ones, uint8 [16 * snippets, H, W, 3]."""
        shape = (SNIPPET_FRAMES * snippets, height, width, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def relative_l2(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def precisions() -> list[str]:
    """All precisions that an engine knows by name, the most important one first."""
    return sorted(PRECISIONS, key=lambda name: name != "bfloat16")


def restore_weights(path: Path, to: Path) -> None:
    """The payload's rounded weights as float32, which is what a FeatureExtractor reads."""
    save_file({name: value.float() for name, value in load_file(path).items()}, to)
