"""What has not changed: `extract`, `score` and `watch` leave out the same clips, and say what that saved."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.commands import captured

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.features import open_features
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.results import VideoScores

pytestmark = pytest.mark.usefixtures("quick_network")

SNIPPETS, MOVES = 8, 4  # the picture stands still, but something passes below in the snippet MOVES
SAVED = "unchanged, so described by their last description: clip 62 %, patch2x3 "


@pytest.fixture
def video(tmp_path: Path) -> Path:
    rng, path = np.random.default_rng(0), tmp_path / "a.mkv"
    still = rng.integers(60, 180, (12, 16, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "bgr0"
        for number in range(16 * SNIPPETS):
            picture = still.copy()
            if number // 16 == MOVES:
                picture[200:220, 10 * (number % 16) : 10 * (number % 16) + 60] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_all_commands_leave_out_the_same_clips_and_say_so(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run: Callable = captured(capfd)
    quick = ("--preset", "live", "--weights", "random", "--device", "cpu", "-o", "extract.motion=false")
    said = run("extract", "--videos", video, *quick, "--unchanged", "repeat")
    assert said.code == 0 and SAVED in said.err
    store = open_features("features", "store")
    views = {name: store.read("a.mkv", [name])[name] for name in ("clip", "patch2x3")}
    still = [i for i in range(1, SNIPPETS) if i not in (MOVES, MOVES + 1)]
    assert all((views["clip"][i] == views["clip"][i - 1]).all() for i in still)
    assert all((rows[MOVES] != rows[MOVES - 1]).any() for rows in views.values())

    torch.manual_seed(0)
    model = LinearProbe(1024, {"clip": 1, "patch2x3": 6})  # which scores each snippet by itself
    torch.nn.init.normal_(model.linear.weight, std=0.1)
    save_checkpoint(Path("m.pt"), Checkpoint.of(model, store.recipe, {}, {}))
    Path("features").rename("stored")  # so that it is described again
    said = run("score", video, "--checkpoint", "m.pt", "--device", "cpu", "--out", "scores")
    assert said.code == 0 and SAVED in said.err
    said = run("watch", f"a={video}", "--checkpoint", "m.pt", "--device", "cpu")
    assert said.code == 0 and SAVED in said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    watched = [line["score"] for line in lines if line["type"] == "score"]
    scored = VideoScores.load("scores/a.mkv").snippet_scores
    assert len(set(scored.tolist())) == 2
    np.testing.assert_allclose(watched, scored, atol=1e-6)
