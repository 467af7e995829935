"""The check of a GPU machine runs whole on a CPU, so that nothing trivial makes it fail there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_check import parse, plan, prepared, run_part
from gpu_steps_backbone import class_of

from ssrl_pipeline.extractors.engines.engines import ENGINES

WHOLE = os.environ.get("GPU_CHECK") == "whole"
SOME = {  # of the steps: one of each kind, none that compiles or starts others
    *("versions", "peaks", "backbone-eager", "kernels"),
    *("features-eager", "end-to-end", "training", "watch"),
}
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gpu" / "gpu_check.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
def test_every_step_has_a_result(part: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if part == 2:  # which is about what stands around the network
        request.getfixturevalue("quick_network")
    out = tmp_path / "results.jsonl"
    steps = [step for step in plan(part, ENGINES) if WHOLE or step.name in SOME]
    done = run("--part", str(part), "--tiny", "--out", str(out), "--only", *(step.name for step in steps))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in out.read_text().splitlines()]
    bad = [result for result in results if result["status"] not in ("ok", "skipped")]
    assert not bad, out.with_suffix(".log").read_text()[-4000:]
    for step in steps:
        own = [result for result in results if result["step"] == step.name]
        assert own[-1]["name"] == "whole step", step
        assert len(own) > 1 or f"{step.name}-member" in {result["step"] for result in results}, step
        assert all(result["beside"] for result in own if result["status"] == "skipped")
    for result in results:  # the table has them all
        assert re.search(rf"^{re.escape(result['step'])} +{re.escape(result['name'])}", done.stdout, re.M)


@pytest.mark.slow
def test_a_step_that_fails_or_hangs_is_a_result_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    arguments = parse(["--part", "1", "--tiny", "--out", str(tmp_path / "results.jsonl")])
    steps = {step.name: step for step in plan(1, ENGINES)}
    with prepared(arguments):
        hanging = steps["versions"]._replace(limit=0.1)
        run_part(arguments, [steps["peaks"]._replace(name="no such step"), hanging, steps["peaks"]])
    results = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    whole = {result["step"]: result for result in results if result["name"] == "whole step"}
    assert [result["status"] for result in whole.values()] == ["failed", "timeout", "ok"]
    assert whole["no such step"]["beside"] == "StopIteration"
    assert whole["versions"]["beside"].startswith("after 1 s")
    assert [result["unit"] for result in results if result["status"] == "ok"] == ["TFLOP/s", "s"]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (
            "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64",
            "convolution",
        ),
        ("cutlass_tensorop_bf16_s16816fprop_optimized_bf16_128x128_32x4_nhwc_align8", "convolution"),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "convolution"),
        ("void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16, float>", "copy, layout"),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy_contig<float>", "copy, layout"),
        ("Memcpy HtoD (Pinned -> Device)", "copy, layout"),
        ("void at::native::max_pool3d_with_indices_single_out_frame<float>", "pooling"),
        ("triton_poi_fused_convolution_relu_3", "elementwise"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add>", "elementwise"),
        ("something else", "other"),
    ],
)
def test_kernels_are_told_apart_by_their_names(kernel: str, expected: str) -> None:
    assert class_of(kernel) == expected
