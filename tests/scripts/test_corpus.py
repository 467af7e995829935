"""Every kind of video through the commands: right features and scores, or one line on what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import pytest
import torch
from byte_surgery import noise, shorter
from check_corpus import ffmpeg_frames, is_right
from helpers import pixel_features
from helpers.commands import Result

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.backbones.inception import InceptionI3d
from ssrl_pipeline.extractors.decoding import EXTENSIONS
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.models import SSRL

EVERY = int(os.environ.get("CORPUS_EVERY", "10"))  # of so many files one is taken; 1: all, in some minutes
SECONDS = 600.0  # for all files of a folder: against what hangs, not against a slow machine
NEAR = 10.0  # grey levels, for means of some dozen pixels that another version of libav decoded
COMMON = ("--weights", "random", "--engine", "eager", "--device", "cpu")

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to make the files")
is_root = sys.platform != "win32" and os.geteuid() == 0


def run(*arguments: object) -> Result:
    """A command in a process of its own, which is ended where it hangs; it must leave no traceback."""
    command = [sys.executable, pixel_features.__file__, *map(str, (*arguments, *COMMON))]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    out, err = os.fsdecode(done.stdout), os.fsdecode(done.stderr)
    assert out and "Traceback" not in out + err, err
    return Result(done.returncode, out, err)


def extracted(videos: Path, features: Path) -> tuple[Result, dict[str, dict[str, Any]]]:
    result = run("extract", "--videos", videos, "--features", features, "--preset", "live", "--json")
    return result, {row["video"]: row for row in json.loads(result.out)["videos"]}


def scored(videos: Path, checkpoint: Path, out: Path, *arguments: object) -> tuple[Result, dict[str, Any]]:
    result = run("score", videos, "--checkpoint", checkpoint, "--out", out, "--json", *arguments)
    return result, {row["name"]: row for row in json.loads(result.out)}


def lines_about(path: Path, text: str) -> list[str]:
    """As messages spell names out."""
    name = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))
    return [line for line in text.splitlines() if f"{name}: " in line]


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> FeatureExtractor:
    """As the commands here have it."""
    monkeypatch.setattr(InceptionI3d, "forward", pixel_features.forward)
    return FeatureExtractor("i3d", "live", device="cpu", weights="random", engine="eager")


@pytest.fixture
def checkpoint(tmp_path: Path, live: FeatureExtractor) -> Path:
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "best.pt", Checkpoint(SSRL(**arguments).state_dict(), arguments, live.recipe, {}, {})
    )
    return tmp_path / "best.pt"


def like(expected: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> bool:
    """The same number of snippets, each with the grey levels of the same pictures."""
    return all(
        rows.shape == stored[view].shape
        and float(np.abs(rows - stored[view]).mean(axis=(1, 2)).max()) * 127.5 < NEAR
        for view, rows in expected.items()
    )


@pytest.mark.slow
@needs_ffmpeg
def test_every_kind_is_extracted_and_scored_or_refused(
    tmp_path: Path, live: FeatureExtractor, checkpoint: Path
) -> None:
    folder, features, out = tmp_path / "videos", tmp_path / "features", tmp_path / "scores"
    kinds = sorted(corpus.kinds(), key=Path)
    corpus.make(folder, {*kinds[::EVERY], "h264.mp4", "bad folder.mp4"})  # a link leads to the first
    (folder / "names").mkdir(exist_ok=True)
    (folder / "names" / "loop").symlink_to("..")
    found = {p.relative_to(folder).as_posix() for p in corpus.files(folder)} - {"bad folder.mp4"}
    assert len(found) > 120 // EVERY

    result, outcomes = extracted(folder, features)
    assert result.code == 1 and outcomes.keys() == found
    store = open_store(features)
    wrong = []
    for kind, row in outcomes.items():
        path, refused = folder / kind, row["status"] != "done"
        same = False
        if refused:
            assert row["reason"].startswith(f"{path}: ") and "\n" not in row["reason"], row
            assert len(lines_about(path, result.err)) == 1, row
        else:
            meta = store.meta(kind)
            truth = ffmpeg_frames(path, (meta.width, meta.height))
            same = len(truth) == meta.frames and like(live(truth), store.read(kind))
        if not is_right(kind, refused, same, row["reason"] * (not refused)):
            wrong.append(row)
    assert wrong == []
    done = {kind for kind, row in outcomes.items() if row["status"] == "done"}
    assert len(done) > 90 // EVERY and set(store.videos()) == done

    result, rows = scored(folder, checkpoint, out, "--features", features, "--no-contact-sheet")
    assert result.code == 1 and rows.keys() == done
    for kind in done:
        frames = store.meta(kind).frames
        assert (rows[kind]["frames"], rows[kind]["damage"]) == (frames, outcomes[kind]["reason"])
        assert np.isfinite(np.load(out / kind / "scores.npz")["scores"]).sum() == frames
    for kind in found - done:
        assert len(lines_about(folder / kind, result.err)) == 1, kind


@pytest.fixture
def few(make_video: Callable[..., Path], tmp_path: Path) -> Path:
    """Kinds that need no ffmpeg."""
    folder = tmp_path / "videos"
    healthy = make_video(folder / "healthy.mp4", frames=37)
    content = healthy.read_bytes()
    make_video(folder / "one frame.avi", frames=1)
    avi = make_video(tmp_path / "whole.avi", frames=40).read_bytes()
    (folder / "cut.avi").write_bytes(shorter(0.6)(bytearray(avi)))
    (folder / "broken.avi").write_bytes(noise(0.45, 0.46)(bytearray(avi)))
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    (folder / "text.mkv").write_bytes(b"this is no video\n" * 100)
    (folder / "empty.ts").touch()
    if sys.platform != "win32":
        (folder / "names").mkdir()
        for name in ("two\nlines.mp4", 'it\'s "quoted".mp4', "видео كاميرا 🎥.mp4", "-o.mp4", "%d $x^$.mp4"):
            shutil.copy(healthy, folder / "names" / name)
        shutil.copy(healthy, folder / "names" / "at 1.00\u202fPM.mp4")  # as some systems name recordings
        (folder / "loop.mp4").symlink_to("loop.mp4")
        (folder / "nowhere.mp4").symlink_to("nothing.mp4")
        (folder / "names" / "round").symlink_to("..")
        os.mkfifo(folder / "pipe.mp4")
    if sys.platform == "linux":
        shutil.copy(healthy, os.fsencode(folder) + b"/names/no utf-8 \xff\xfe.mp4")
    return folder


def test_few_kinds(few: Path, tmp_path: Path, live: FeatureExtractor, checkpoint: Path) -> None:
    """A shorter one, with what only a file system has."""
    bad = {"cut.avi", "cut.mp4", "text.mkv", "empty.ts", "loop.mp4", "nowhere.mp4", "pipe.mp4"}
    found = {
        Path(top, name).relative_to(few).as_posix()
        for top, _, names in os.walk(few)
        for name in names
        if Path(name).suffix in EXTENSIONS
    }
    result, outcomes = extracted(few, tmp_path / "features")
    assert result.code == 1 and outcomes.keys() == found
    good = {kind for kind, row in outcomes.items() if row["status"] == "done"}
    assert found - good == bad & found
    store = open_store(tmp_path / "features")
    assert {store.meta(kind).frames for kind in good if kind.startswith("names/")} <= {37}
    assert [store.meta(f"{kind}").frames for kind in ("healthy.mp4", "one frame.avi")] == [37, 1]
    told = [kind for kind in good if outcomes[kind]["reason"]]
    assert told == ["broken.avi"] and "perhaps damaged" in outcomes["broken.avi"]["reason"]
    for kind in bad & found:
        assert len(lines_about(few / kind, result.err)) == 1, kind

    result, rows = scored(few, checkpoint, tmp_path / "scores", "--no-contact-sheet")
    assert result.code == 1 and rows.keys() == good
    assert {rows[kind]["frames"] for kind in good} - {38, 39, 40} == {37, 1}
    assert [kind for kind in good if rows[kind]["damage"]] == told
    for kind in bad & found:
        assert len(lines_about(few / kind, result.err)) == 1, kind


@pytest.mark.skipif(sys.platform == "win32" or is_root, reason="root may read everything")
def test_what_may_not_be_read(make_video: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    make_video(folder / "good.mp4", frames=5)
    closed = [make_video(folder / "file.mp4", frames=5), make_video(folder / "closed" / "a.mp4").parent]
    for path in closed:
        path.chmod(0)
    try:
        result, outcomes = extracted(folder, tmp_path / "features")
    finally:
        for path in closed:
            path.chmod(0o700)
    assert result.code == 1 and outcomes["good.mp4"]["status"] == "done"
    for path in closed:
        assert any(str(path) in line for line in result.err.splitlines()), result.err
