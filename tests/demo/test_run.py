"""The whole pipeline as a new user first sees it: real I3D weights, real training, some minutes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ssrl_pipeline.cli.main import cli


@pytest.mark.slow
def test_demo_finds_the_anomalies(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["demo", "--out", str(tmp_path / "demo"), "--device", "cpu", "--engine", "openvino"]
    )
    assert result.exception is None and result.exit_code == 0, result.output
    auc = float(result.output.rpartition("test AUC ")[2].split(". ")[0])
    assert auc > 0.9  # 0.96 where it was written; other processors round differently
    scores = tmp_path / "demo" / "scores" / "seed0"
    assert f"\n  {(scores / 'report.html').as_uri()}\n" in result.output
    names = [f"test_{label}_{k:02d}.mp4" for label in ("abnormal", "normal") for k in range(6)]
    page = (scores / "report.html").read_text(encoding="utf-8")
    for name in names:
        assert len((scores / name / "scores.csv").read_text().splitlines()) == 1 + 128
        assert f"../../videos/seed0/{name}" in page
