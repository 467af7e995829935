"""Checks and figures that need a GPU machine, in two parts of some minutes each.

    scripts/gpu/gpu_payload.sh                           # here: makes .gpu/, which travels along
    python3 scripts/gpu/gpu_check.py --part 1 --out part1.jsonl   # there
    python3 scripts/gpu/gpu_check.py --part 2 --out part2.jsonl
    python scripts/gpu/gpu_check.py --part 1 --tiny          # on a CPU: every step, to see that it runs

It needs PyTorch and a CUDA device, but no network and no installation: missing packages come
from .gpu/wheels. Every step is a process of its own with a time limit. Results are appended to
the file as they come; a step that fails is one of them. A table of all results comes last.
"""

import argparse
import configparser
import contextlib
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD = ROOT / ".gpu"
NEEDED = ("av", "pytorchvideo", "fvcore", "iopath", "yacs", "parameterized", "termcolor")
MINUTES = 8.7  # for a part


class Step(NamedTuple):
    """A function of a module, and what it is called with; in the order in which they run."""

    name: str
    module: str
    function: str
    limit: float  # seconds
    argument: str = ""


def plan(part: int, engines: tuple[str, ...]) -> list[Step]:
    """Steps that compile come last: they take the longest, and are dropped first where time is short."""
    quick = [name for name in engines if name not in ("auto", "compile")]
    if part == 1:
        return [
            Step("versions", "gpu_steps_card", "versions", 60),
            Step("copies", "gpu_steps_card", "copies", 60),
            Step("peaks", "gpu_steps_card", "peaks", 60),
            *(Step(f"backbone-{name}", "gpu_steps_backbone", "backbone", 110, name) for name in quick),
            Step("kernels", "gpu_steps_backbone", "kernels", 70),
            Step("tests", "gpu_steps_card", "tests", 200),
            Step("backbone-compile", "gpu_steps_backbone", "backbone", 200, "compile"),
        ]
    return [
        *(Step(f"features-{name}", "gpu_steps_features", "features", 90, name) for name in quick),
        Step("end-to-end", "gpu_steps_features", "end_to_end", 170),
        Step("plain", "gpu_steps_features", "plain_baseline", 60),
        Step("training", "gpu_steps_model", "training", 100),
        Step("nccl", "gpu_steps_group", "nccl", 60),
        Step("gloo", "gpu_steps_group", "gloo", 80),
        Step("scoring", "gpu_steps_model", "scoring", 60),
        Step("watch", "gpu_steps_model", "cameras", 80),
        Step("memory", "gpu_steps_features", "out_of_memory", 60),
        Step("features-compile", "gpu_steps_features", "features", 120, "compile"),
    ]


HIDDEN = [  # started by other steps
    Step("nccl-member", "gpu_steps_group", "nccl_member", 60),
    Step("gloo-member", "gpu_steps_group", "gloo_member", 80),
]


def importable(folder: Path) -> tuple[list[str], list[str]]:
    """Folders for PYTHONPATH: this checkout as its package and the scripts; wheels for what is missing."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["package_dir"].strip().splitlines()
    places = dict(line.replace(" ", "").split("=") for line in lines)
    for package in sorted(places, key=len):
        target = folder / "checkout" / package.replace(".", "/")
        target.mkdir(parents=True, exist_ok=True)
        for path in (ROOT / places[package]).iterdir():
            (target / path.name).symlink_to(path)
    paths = [str(folder / "checkout"), *(str(ROOT / "scripts" / room) for room in ("gpu", "bench"))]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    wheels = sorted((PAYLOAD / "wheels").glob("*.whl"))
    if missing and wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-index", "--no-deps", "--no-compile", "--target", str(folder / "wheels")]
        subprocess.run([*command, *map(str, wheels)], check=True)
        return paths, [str(folder / "wheels")]  # behind what is installed
    return paths, []


def find_weights(wanted: str | None, tiny: bool, folder: Path) -> str:
    """A file, "random", or "" for the published weights, from the cache or from where they are published."""
    if wanted or tiny:
        return wanted or "random"
    from gpu_common import WEIGHTS, restore_weights

    if not (PAYLOAD / WEIGHTS).exists():
        return ""
    restore_weights(PAYLOAD / WEIGHTS, folder / "weights.safetensors")
    return str(folder / "weights.safetensors")


def run_step(step: Step, arguments: argparse.Namespace, log: Path, limit: float) -> tuple[str, str]:
    """How the step ended and, unless it ended well, the last line that it printed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step.name]
    for name in ("part", "out", "weights_file", "engine", "precision"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    command += ["--tiny"] if arguments.tiny else []
    with log.open("a", encoding="utf-8") as file:
        print(f"\n==== {step.name}", file=file, flush=True)
        start = file.tell()
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            status = "ok" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "timeout"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also what it started
            process.wait()
    said = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    return status, (said[-1].strip()[:300] if said else "")


def run_part(arguments: argparse.Namespace, steps: list[Step]) -> None:
    from gpu_common import Result, append

    begun = time.monotonic()
    log = arguments.out.with_suffix(".log")
    for step in steps:
        left = arguments.minutes * 60 - (time.monotonic() - begun)
        if left < 10:
            append(
                arguments.out,
                Result(arguments.part, step.name, "skipped", "whole step", beside="no time left"),
            )
            continue
        start = time.monotonic()
        limit = step.limit * (5 if arguments.tiny else 1)  # a CPU shared with others is slow
        status, said = run_step(step, arguments, log, min(limit, left))
        took = time.monotonic() - start
        if status == "timeout":
            said = f"after {took:.0f} s: {said}"
        beside = "" if status == "ok" else said
        append(arguments.out, Result(arguments.part, step.name, status, "whole step", took, "s", beside))
        print(f"{step.name}: {status} in {took:.0f} s {beside}", flush=True)


def show(out: Path) -> None:
    from gpu_common import results

    from ssrl_pipeline.console.terminal import table

    rows = []
    for result in results(out):
        value = f"{result.value:.5g}" if isinstance(result.value, float) else str(result.value or "")
        status = "" if result.status == "ok" else result.status
        rows.append((result.step, result.name, value, result.unit, result.beside[:110], status))
    print()
    print(table(rows, ("step", "what", "value", "unit", "beside", "")))


@contextlib.contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[None]:
    """Prepares what the steps' processes need: imports, weights, an empty file of results."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        paths, wheels = importable(folder)
        sys.path[:0] = paths
        sys.path += wheels
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [*paths, *wheels, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        os.environ["PYTHONUNBUFFERED"] = "1"
        arguments.weights_file = find_weights(arguments.weights, arguments.tiny, folder)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        for path in (arguments.out, arguments.out.with_suffix(".log")):
            path.write_text("")
        yield


def parse(options: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", type=int, choices=(1, 2), required=True)
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU, with random weights and little of each"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("gpu_check.jsonl"), help="results; the log lies beside"
    )
    parser.add_argument("--weights", help="a file, or random; those of .gpu/ or the published ones otherwise")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps alone")
    parser.add_argument("--engine", default="auto", help="of what runs videos")
    parser.add_argument("--precision", help="likewise; bfloat16 on a GPU otherwise")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which no step goes on")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--weights-file", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args(options)
    arguments.out = arguments.out.resolve()
    arguments.precision = arguments.precision or ("float32" if arguments.tiny else "bfloat16")
    if arguments.tiny:
        arguments.minutes = max(arguments.minutes, 60)
    return arguments


def child(arguments: argparse.Namespace) -> None:
    """One step, in its own process."""
    from gpu_common import Check

    from ssrl_pipeline.extractors.engines.engines import ENGINES

    step = next(s for s in [*plan(arguments.part, tuple(ENGINES)), *HIDDEN] if s.name == arguments.step)
    function = getattr(importlib.import_module(step.module), step.function)
    with tempfile.TemporaryDirectory(prefix="gpu-step-") as folder:
        check = Check(
            arguments.part,
            step.name,
            arguments.out,
            Path(folder),
            arguments.tiny,
            arguments.weights_file or None,
            arguments.engine,
            arguments.precision,
        )
        function(check, *([step.argument] if step.argument else []))


def main() -> None:
    arguments = parse()
    if arguments.step:
        child(arguments)
        return
    with prepared(arguments):
        import torch

        from ssrl_pipeline.extractors.engines.engines import ENGINES

        if not (arguments.tiny or torch.cuda.is_available()):
            sys.exit("error: PyTorch finds no CUDA device here; --tiny runs every step on the CPU")
        steps = plan(arguments.part, tuple(ENGINES))
        if unknown := set(arguments.only or ()) - {step.name for step in steps}:
            sys.exit(
                f"error: no step {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in steps)}"
            )
        run_part(arguments, [step for step in steps if step.name in (arguments.only or [step.name])])
        show(arguments.out)


if __name__ == "__main__":
    main()
