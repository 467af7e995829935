"""gpu_check.py's steps about the machine itself: versions, copies, peaks, and the tests that need a GPU."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from benchmark_features import peak
from benchmark_rounds import wall
from gpu_common import Check, precisions

from ssrl_pipeline._version import __version__
from ssrl_pipeline.extractors.engines.engines import ENGINES, why_not

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "whole" / "test_gpu.py"
SNIPPET = (16, 1080, 1920, 3)  # bytes: a group of such is what is copied


def versions(check: Check) -> None:
    found = {
        "ssrl-pipeline": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA of torch": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
        "C compiler": shutil.which("gcc") or shutil.which("cc") or "none",
        "cores": str(os.cpu_count()),
    }
    for package in ("triton", "torchvision", "av", "cv2"):
        found[package] = "none"
        if importlib.util.find_spec(package):
            found[package] = str(getattr(__import__(package), "__version__", "there"))
    if check.device.type == "cuda":
        card = torch.cuda.get_device_properties(check.device)
        found["card"] = (
            f"{card.name}, {card.multi_processor_count} multiprocessors, {card.total_memory >> 20} MiB"
        )
        found["compute capability"] = f"{card.major}.{card.minor}"
        if tool := shutil.which("nvidia-smi"):
            query = [
                tool,
                "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit",
                "--format=csv,noheader",
            ]
            found["driver, clocks, power limit"] = subprocess.run(
                query, capture_output=True, text=True
            ).stdout.strip()
    for name, value in found.items():
        check.report(name, value)
    for engine in ENGINES:
        if engine != "auto":
            check.report(f"engine {engine}", why_not(engine, check.device) or "runs here")


def copies(check: Check) -> None:
    """Rates count each byte once; copies within the device read and write it, and count it twice."""
    shape = (2, *SNIPPET[1:]) if check.tiny else (4 * SNIPPET[0], *SNIPPET[1:])
    here = torch.randint(0, 256, shape, dtype=torch.uint8)
    there = torch.empty_like(here, device=check.device)
    size = here.numel() / 1e9
    ways = {
        "host to device, pageable": lambda: there.copy_(here),
        "device to host, pageable": lambda: here.copy_(there),
    }
    if check.needs_cuda("copies of pinned memory"):
        pinned = here.pin_memory()
        ways |= {
            "host to device, pinned": lambda: there.copy_(pinned, non_blocking=True),
            "device to host, pinned": lambda: pinned.copy_(there, non_blocking=True),
        }
        one = here[: SNIPPET[0]]
        one.pin_memory()
        took = wall(lambda: one.pin_memory(), check.device)
        check.report("a snippet of 1920x1080 into pinned memory", 1e3 * took, "ms", "again: memory is kept")
    for name, way in ways.items():
        check.report(name, size / check.seconds(way), "GB/s")
    big = torch.randint(0, 256, (1 << (24 if check.tiny else 31),), dtype=torch.uint8, device=check.device)
    copy = torch.empty_like(big)
    check.report("device to device", 2e-9 * big.numel() / check.seconds(lambda: copy.copy_(big)), "GB/s")


def peaks(check: Check) -> None:
    """The peaks of which later steps give their share."""
    for precision in precisions():
        if check.device.type == "cpu" and precision != "float32":
            check.skip(f"matrix product, {precision}", "a CPU works in float32")
            continue
        size = 1024 if check.tiny else None
        check.report(f"matrix product, {precision}", peak(precision, check.device, size) / 1e12, "TFLOP/s")


def tests(check: Check) -> None:
    """The GPU's tests; on a CPU they skip, each with its reason."""
    marks = "gpu and not slow" if check.tiny else "gpu"
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-v", "-rfE"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "-m", marks, str(TESTS.relative_to(ROOT))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended, counts = start, {"PASSED": 0, "FAILED": 0, "SKIPPED": 0, "ERROR": 0}
    assert process.stdout
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"\S*::(\S+.*?) (PASSED|FAILED|SKIPPED|ERROR)", line):
            name, verdict = match.groups()
            counts[verdict] += 1
            took, ended = time.perf_counter() - ended, time.perf_counter()
            check.report(name, verdict.lower(), f"in {took:.1f} s")
        elif match := re.match(r"(FAILED|ERROR) \S*::(\S+) - (.*)", line):
            check.report(match[2], "reason", "", match[3])
    process.wait()
    summary = ", ".join(f"{count} {name.lower()}" for name, count in counts.items())
    check.report("all tests", summary, f"in {time.perf_counter() - start:.0f} s")
    if not sum(counts.values()) or counts["FAILED"] or counts["ERROR"]:
        sys.exit(f"pytest ended with {process.returncode}: {summary}")
