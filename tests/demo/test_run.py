"""The whole pipeline as a new user first sees it: real I3D weights, real training, some minutes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.demo import render
from ssrl_pipeline.demo.render import RenderPlan
from ssrl_pipeline.extractors.engines import precision

WHOLE = os.environ.get("DEMO") == "whole"
SOME = {"train": 6, "val": 2, "test": 3}  # videos of a label; of the whole demo 9, 3 and 6


def render_some(folder: Path) -> None:
    """Most of the demo's videos, as it renders them itself; it goes on with what is there."""
    plan = RenderPlan()
    nothing = render.Clip(np.zeros((1, plan.height, plan.width, 3), np.uint8), [])
    splits = {"train": plan.train, "val": plan.val, "test": plan.test}
    names = [
        f"{s}_{label}_{k}" for s, n in splits.items() for label in ("normal", "abnormal") for k in range(n)
    ]
    coming = iter(names)

    def rendered(rng: np.random.Generator, anomaly: str | None, scene: render.Scene) -> render.Clip:
        """Nothing of what is not taken: each video draws from a generator of its own."""
        return render_video(rng, anomaly, scene) if is_taken(next(coming)) else nothing

    render_video = render.render_video
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_video", rendered)
        render.render_dataset(folder, seed=0)
    for table in ("labels.csv", "intervals.csv"):
        header, *rows = (folder / table).read_text().splitlines()
        some = [row for row in rows if is_taken(row.partition(",")[0])]
        (folder / table).write_text("\n".join([header, *some]) + "\n")
    for path in folder.glob("*.mp4"):
        if not is_taken(path.name):
            path.unlink()


def is_taken(name: str) -> bool:
    split, _, number = name.removesuffix(".mp4").split("_")
    return int(number) < SOME[split]


@pytest.mark.slow
def test_demo_finds_the_anomalies(
    tmp_path: Path, quick_engine: Callable[[], frozenset[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "abilities", quick_engine)  # in bfloat16, where a user's demo is
    if not WHOLE:
        render_some(tmp_path / "demo" / "videos" / "seed0")
    result = CliRunner().invoke(
        cli, ["demo", "--out", str(tmp_path / "demo"), "--device", "cpu", "--engine", "openvino"]
    )
    assert result.exception is None and result.exit_code == 0, result.output
    auc = float(result.output.rpartition("test AUC ")[2].split(". ")[0])
    assert auc > 0.9  # 0.945 where it was written, 0.98 of all; other processors round differently
    scores = tmp_path / "demo" / "scores" / "seed0"
    assert f"\n  {(scores / 'report.html').as_uri()}\n" in result.output
    tests = 6 if WHOLE else SOME["test"]
    names = [f"test_{label}_{k:02d}.mp4" for label in ("abnormal", "normal") for k in range(tests)]
    page = (scores / "report.html").read_text(encoding="utf-8")
    for name in names:
        assert len((scores / name / "scores.csv").read_text().splitlines()) == 1 + 128
        assert f"../../videos/seed0/{name}" in page
