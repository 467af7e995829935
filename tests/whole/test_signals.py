"""SIGINT and SIGTERM end a command cleanly: its exit code, finished work kept, nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.results.video_scores import VideoScores

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
    pytest.mark.usefixtures("quick_network", "usual_signals"),
]
CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


def stop(folder: Path, number: signal.Signals, ready: Callable[[], bool], *arguments: str) -> str:
    """Starts a command, signals it as soon as it is ready, and gives its messages."""
    command = [sys.executable, "-m", "ssrl_pipeline", *arguments, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            return ended(process, number, ready)
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]", number: signal.Signals, ready: Callable[[], bool]) -> str:
    while process.poll() is None and not ready():
        time.sleep(0.005)
    assert process.poll() is None, "it was over before the signal"
    process.send_signal(number)
    messages = process.communicate(timeout=120)[1]
    code, word = CODES[number]
    assert process.returncode == code
    assert messages.splitlines()[-1] == word
    assert "Traceback" not in messages
    end = time.monotonic() + 30
    while (left := somebody_is_left(process.pid)) and time.monotonic() < end:
        time.sleep(0.05)  # a killed process is there until its parent, or the system, has seen it end
    assert not left
    return messages


def somebody_is_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") and path.name != ".packs"]


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_extract(tmp_path: Path, make_video: Callable[..., Path], number: signal.Signals) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=16)
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random")
    extract(tmp_path / "videos", tmp_path / "features", extractor)
    make_video(tmp_path / "videos" / "b.mp4", frames=8_000)
    options = ("--preset", "live", "--weights", "random")

    def within_the_second() -> bool:
        return any((tmp_path / "features").glob(".b.mp4.*.part"))

    stop(tmp_path, number, within_the_second, "extract", *options)
    assert open_store(tmp_path / "features").videos() == ["a.mp4"]
    assert hidden(tmp_path / "features") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_train(tmp_path: Path, tiny_store: Callable[..., FeatureStore], number: signal.Signals) -> None:
    videos = {f"{kind}/{i}.mp4": 8 for kind in ("normal", "abnormal") for i in range(4)}
    tiny_store(videos, {}, root=tmp_path / "features")
    run = tmp_path / "runs" / "first"

    def saved() -> bool:
        return (run / "last.pt").exists()

    settings = ("-o", "train.steps=100000", "-o", "train.evaluate_every=2", "-o", "train.segments=4")
    stop(tmp_path, number, saved, "train", "--name", "first", *settings)
    assert {"config.yaml", "last.pt", "metrics.jsonl"} <= {path.name for path in run.iterdir()}
    assert hidden(run) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_score(tmp_path: Path, make_video: Callable[..., Path], number: signal.Signals) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=20)
    make_video(tmp_path / "videos" / "b.mp4", frames=8_000)
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    model = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    save_checkpoint(tmp_path / "x.pt", Checkpoint(SSRL(**model).state_dict(), model, recipe, {}, {}))
    scores = tmp_path / "scores"

    def the_first_is_done() -> bool:
        done = scores / "a.mp4"
        return done.exists() and time.time() - done.stat().st_mtime > 1  # and the second is under way

    stop(tmp_path, number, the_first_is_done, "score", "videos", "--checkpoint", "x.pt")
    assert VideoScores.load(scores / "a.mp4").scores.shape == (20,)
    assert sorted(path.name for path in scores.iterdir()) == ["a.mp4", "report.html"]
