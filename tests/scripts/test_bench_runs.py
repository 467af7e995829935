"""Every script of scripts/bench runs, in its smallest setting: what it calls may long have changed."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import SSRL

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """run(script, arguments) -> what it printed."""

    def main(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        importlib.import_module(script).main()
        return capfd.readouterr().out

    return main


def test_frozen_cache(run: Run) -> None:
    few = ("--feature-size", 8, "--batch-size", 1, "--segments", 4, "--crops", 1, "--pairs", 1)
    assert "times as long without the cache" in run("frozen_cache", *few)


def test_long_video(run: Run) -> None:
    assert "seconds an hour" in run("long_video", "--hours", 0.01, "--scales", "--feature-size", 8)


@pytest.mark.slow
def test_replay_day(run: Run, tmp_path: Path) -> None:
    few = ("--folder", tmp_path, "--hours", 1, "--snippets", 300, "--scales", "2x3", "--feature-size", 8)
    told = run("replay_day", *few)
    firsts = [line.split()[0] for line in told.splitlines()[-6:]]
    assert firsts == ["probe", "memory", "taught", "probe", "memory", "scores"]


def test_extraction_memory(run: Run) -> None:
    few = ("--minutes", 0.02, "--size", 64, 48, "--preset", "live")
    assert "decoder_mib" in run("extraction_memory", *few)


@pytest.mark.slow
def test_profile_extraction(run: Run, make_video, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=16)
    few = ("--snippets", 1, "--preset", "live", "--engines", "eager", "--random-weights")
    told = run("profile_extraction", video, *few)
    assert "resize, cut" in told and "Mixed_5c" in told


@pytest.mark.usefixtures("quick_network")
def test_benchmark(run: Run, make_video, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=16)
    few = ("--rounds", 1, "--snippets", 1, "--preset", "live", "--engines", "eager", "--random-weights")
    sections = ("--sections", "decode", "extraction")  # the others' sizes are the published ones
    told = run("benchmark", "--video", video, "--json", tmp_path / "a.json", *few, *sections)
    assert "extraction, live" in told and (tmp_path / "a.json").exists()


@pytest.mark.usefixtures("quick_network")
def test_many_cameras(run: Run, tmp_path: Path) -> None:
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "patches": "max"}
    path = tmp_path / "best.pt"
    save_checkpoint(path, Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    few = ("--quiet", 1, "--busy", 1, "--minutes", 2 / 60, "--fps", 8)
    told = run("many_cameras", "--checkpoint", path, "--videos", tmp_path, *few)
    assert '"snippets scored"' in told and '"truth"' in told
