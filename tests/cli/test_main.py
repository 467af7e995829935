"""The command line as a person meets it: exit codes, one line for what went wrong, JSON for machines."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Result, run_main

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.cli import options as cli_options
from ssrl_pipeline.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("quick_network")

QUICK = ("--preset", "live", "--weights", "random", "--device", "cpu")


def run_apart(*arguments: object, folder: Path) -> Result:
    """The same in a process of its own, as from a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "ssrl_pipeline", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def the_error(result: Result, code: int, *mentions: object) -> str:
    """The one line that says what went wrong; the exit code and what the line has to mention are checked."""
    assert result.code == code, result
    assert "Traceback" not in result.out + result.err
    errors = [line for line in result.err.splitlines() if line.startswith(("error:", "Error:"))]
    assert len(errors) == 1, result.err
    assert result.err.splitlines()[-1] == errors[0]
    assert [word for word in map(str, mentions) if word not in errors[0]] == [], errors[0]
    return errors[0]


def write_text_video(path: Path) -> None:
    path.write_text("this is no video\n" * 50, encoding="utf-8")


def write_empty_video(path: Path) -> None:
    path.write_bytes(b"")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """good.mp4 of 20 frames, and text.mp4, empty.mp4 and cut.mp4, which are none."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "good.mp4", frames=20)
    write_text_video(folder / "text.mp4")
    write_empty_video(folder / "empty.mp4")
    whole = make_video(folder / "whole.mp4", frames=60, size=(160, 120))
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    return folder


@pytest.fixture(scope="session")
def extracted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The store that `extract` makes of all of them, and what the command said."""
    features = tmp_path_factory.mktemp("extracted") / "features"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_main("extract", "--videos", videos, "--features", features, *QUICK, "--json")
    return features, Result(code, out.getvalue(), err.getvalue())


BAD = {
    "text.mp4": "not a video",
    "empty.mp4": "empty",
    "cut.mp4": "not a video",  # make_video writes the index last: it is lost with the second half
}


def test_a_good_video_is_stored_though_others_are_bad(extracted: tuple[Path, Result]) -> None:
    features, result = extracted
    the_error(result, 1, "3 of 4", features)
    assert {path.name for path in features.iterdir()} == {"store.json", "good.mp4"}
    meta = json.loads((features / "good.mp4" / "meta.json").read_text(encoding="utf-8"))
    assert (meta["frames"], meta["snippets"], meta["width"], meta["height"]) == (20, 2, 64, 48)
    for view, count in {"clip": 1, "patch2x3": 6}.items():
        array = np.load(features / "good.mp4" / f"{view}.npy", allow_pickle=False)
        assert array.shape == (2, count, 1024)
        assert np.isfinite(array).all()


def test_json_on_stdout_says_which_failed_and_why(videos: Path, extracted: tuple[Path, Result]) -> None:
    features, result = extracted
    said = json.loads(result.out)
    assert said["features"] == str(features)
    outcomes = {outcome["video"]: outcome for outcome in said["videos"]}
    assert {video: o["status"] for video, o in outcomes.items()} == {
        "good.mp4": "done",
        **dict.fromkeys(BAD, "failed"),
    }
    for video, reason in BAD.items():
        assert str(videos / video) in outcomes[video]["reason"]
        assert reason in outcomes[video]["reason"]


def test_a_second_run_skips_what_is_stored(
    run: Callable[..., Result], videos: Path, extracted: tuple[Path, Result]
) -> None:
    features, _ = extracted
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in features.rglob("*")}
    result = run("extract", "--videos", videos / "good.mp4", "--features", features, *QUICK, "--json")
    assert result.code == 0, result.err
    (outcome,) = json.loads(result.out)["videos"]
    assert (outcome["video"], outcome["status"], outcome["snippets"]) == ("good.mp4", "skipped", 2)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in features.rglob("*")} == before


def test_another_recipe_does_not_enter_the_store(
    run: Callable[..., Result], videos: Path, extracted: tuple[Path, Result]
) -> None:
    features, _ = extracted
    other = ("--preset", "fast", "--weights", "random", "--device", "cpu")
    result = run("extract", "--videos", videos, "--features", features, *other)
    the_error(result, 1, features, "live", "fast")
    result = run("extract", "--videos", videos, "--features", features, *QUICK, "--patches", "dense")
    the_error(result, 1, features, "differ in patches", "dense patches")


@pytest.mark.parametrize("name", BAD)
def test_one_bad_video_alone(run: Callable[..., Result], videos: Path, name: str) -> None:
    result = run("extract", "--videos", videos / name, "--features", "features", *QUICK)
    the_error(result, 1, "1 of 1")
    assert BAD[name] in result.out  # the table says why
    assert [path.name for path in Path("features").iterdir()] == ["store.json"]
    # What FFmpeg and OpenCV have to say of broken files stays away.
    foreign = [line for line in result.err.splitlines() if line.lstrip().startswith("[")]
    assert foreign == []


def test_a_store_among_the_videos_costs_no_video(
    run: Callable[..., Result], tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    video = make_video(tmp_path / "mine" / "a.mp4", frames=16)
    content = video.read_bytes()
    run("extract", "--videos", tmp_path / "mine", "--features", tmp_path / "mine", *QUICK)
    assert video.is_file()
    assert video.read_bytes() == content


def test_a_missing_folder_is_one_line_and_nothing_else(tmp_path: Path) -> None:
    result = run_apart("extract", "--videos", "nowhere", folder=tmp_path)
    assert result == Result(1, "", "error: nowhere: no such file or folder\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_videos(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("nothing to see", encoding="utf-8")
    line = the_error(run("extract", "--videos", tmp_path / "notes"), 1, tmp_path / "notes", ".mp4", "1 .txt")
    assert line.startswith("error: ")


# Wrong usage: exit code 2, before anything is read or written.
@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("extract", "--preset", "papier"), ["'papier'", "'paper', 'fast', 'live'"]),
        (("extract", "--backbone", "vgg"), ["'vgg'", "'i3d', 'i3d_r50', 'i3d_r50_nl'"]),
        (("extract", "--dtype", "float8"), ["'float8'", "'float32', 'float16'"]),
        (("extract", "--device", "tpu"), ["'tpu'", "cuda:N"]),
        (("extract", "--device", "cuda:x"), ["'cuda:x'"]),
        (("extract", "-o", "extract.prest=fast"), ["'extract.prest'", "'preset'"]),
        (("extract", "--set", "train"), ["train", "key=value"]),
        (("train", "-o", "train.stpes=5"), ["'train.stpes'", "'steps'"]),
        (("train", "--seed", "many"), ["'many'"]),
        (("train", "--seed", "-1"), ["seed", "-1"]),
        (("train", "3"), ["argument 3", "--seeds"]),
        (
            ("train", "--devices", "3", "-o", "train.batch_size=4"),
            ["batch_size: 4", "3 processes", "multiple of 3"],
        ),
        (("train", "--devices", "0"), ["0"]),
        (("train", "-o", "train.precision=float8"), ["float8", "bfloat16"]),
        (("train", "-c", "nowhere.yaml"), ["nowhere.yaml"]),
        (("train", "--stpes", "5"), ["--stpes"]),
        (("evaluate", "--split", "everything"), ["'everything'", "train", "val", "test"]),
        (("score",), ["VIDEOS"]),
        (("score", "one/a.mp4", "two/a.mp4"), ["one/a.mp4", "two/a.mp4", "--out"]),
        (("weights", "fetch", "vgg"), ["'vgg'"]),
        (("weights", "verify", "vgg"), ["'vgg'"]),
        (("extrct",), ["extrct"]),
    ],
)
def test_wrong_usage(
    run: Callable[..., Result], videos: Path, arguments: tuple[str, ...], mentions: list[str]
) -> None:
    where = ("--videos", videos) if arguments[0] == "extract" else ()
    result = run(*arguments, *where)
    the_error(result, 2, *mentions)
    assert result.out == ""
    assert list(Path().iterdir()) == []


# What can only be found out by trying: exit code 1.
@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("train",), ["features", "extract"]),
        (("train", "--features", "nowhere"), ["nowhere", "extract"]),
        (("train", "--features", "STORE", "--labels", "nowhere.csv"), ["nowhere.csv", "no such file"]),
        (("train", "--features", "STORE"), ["labels.csv", "good.mp4"]),
        (("evaluate",), ["runs", "--checkpoint"]),
        (("evaluate", "--checkpoint", "nowhere.pt"), ["nowhere.pt", "no such"]),
        (("evaluate", "--checkpoint", "TEXT"), ["text.mp4", "damaged"]),
        (("evaluate", "--checkpoint", "STORE"), ["without a best.pt", "a run's folder"]),
        (("score", "VIDEO"), ["runs", "--checkpoint"]),
        (("score", "VIDEO", "--checkpoint", "nowhere.pt"), ["nowhere.pt", "no such"]),
        (("score", "VIDEO", "--checkpoint", "TEXT"), ["text.mp4", "damaged"]),
        (("extract", "--videos", "VIDEO", "--weights", "nowhere.pth"), ["nowhere.pth"]),
        (("extract", "--videos", "VIDEO", "--weights", "TEXT"), ["text.mp4"]),
        (("extract", "--videos", "VIDEO", *QUICK, "--features", "TEXT"), ["text.mp4"]),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    run: Callable[..., Result],
    videos: Path,
    extracted: tuple[Path, Result],
    arguments: tuple[str, ...],
    mentions: list[str],
) -> None:
    paths = {"STORE": extracted[0], "VIDEO": videos / "good.mp4", "TEXT": videos / "text.mp4"}
    result = run(*(paths.get(argument, argument) for argument in arguments))
    line = the_error(result, 1, *mentions)
    assert line.startswith("error: ")
    assert result == Result(1, "", line + "\n")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", ["extract", "train"])
def test_a_device_that_is_missing_is_no_other_device(
    run: Callable[..., Result],
    tmp_path: Path,
    videos: Path,
    tiny_store: Callable[..., FeatureStore],
    command: str,
) -> None:
    if torch.cuda.device_count() > 7:
        pytest.skip("there is a device cuda:7")
    store = tiny_store({"normal/n.mp4": 4, "abnormal/x.mp4": 4})
    where = ("--videos", videos) if command == "extract" else ("--features", store.root)
    result = run(command, *where, "--device", "cuda:7")
    assert result == Result(1, "", the_error(result, 1, "'cuda:7'", "missing") + "\n")


def test_videos_without_features_are_named_and_may_be_left_out(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    splits = ("train", "train", "test", "test")
    videos = {f"{kind}{i}.mp4": s for kind in ("normal", "abnormal") for i, s in enumerate(splits)}
    gone = {"normal0.mp4", "abnormal3.mp4"}
    store = tiny_store(dict.fromkeys(sorted(set(videos) - gone), 6))
    rows = [f"{video},{video[:-5]},{split}" for video, split in videos.items()]
    Path("labels.csv").write_text("\n".join(["video,label,split", *rows]))
    Path("intervals.csv").write_text("video,start,end\nabnormal2.mp4,32,64\nabnormal3.mp4,32,64\n")
    quick = ("--steps", 2, "-o", "train.segments=6", "-o", "train.batch_size=2", "--device", "cpu")
    where = ("--features", store.root)

    refused = the_error(run("train", *where, *quick), 1, "1 of 4", "'normal0.mp4'", "--skip-missing")
    assert "name" not in refused
    assert list(Path("runs").iterdir()) == []  # what nothing was written into has gone

    done = run("train", *where, *quick, "--skip-missing", "--name", "a")
    assert done.code == 0, done.err
    assert "left out: 'normal0.mp4'" in done.err and "abnormal3" not in done.err  # test videos are not needed
    learned = load_checkpoint(Path("runs/a")).provenance["train_videos"]
    assert learned == ["normal1.mp4", "abnormal0.mp4", "abnormal1.mp4"]

    judged = run("train", *where, *quick, "--skip-missing", "--select-on", "test", "--name", "b")
    assert judged.code == 0, judged.err
    assert "left out: 'abnormal3.mp4'" in judged.err
    the_error(run("evaluate", *where, "--checkpoint", "runs/a"), 1, "abnormal3.mp4", "of the test split")

    Path("labels.csv").write_text("video,label\nvideos/normal1.mp4,normal\nvideos/abnormal0.mp4,abnormal\n")
    for option in ((), ("--skip-missing",)):
        the_error(
            run("train", *where, *quick, *option), 1, "2 of 2", "'abnormal0.mp4'", "names are paths below"
        )


def test_from_features_to_metrics_in_json(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    snippets = {
        f"{kind}/{split}/{i}.mp4": 6
        for kind in ("normal", "abnormal")
        for i, split in enumerate(("train", "train", "test"))
    }
    store = tiny_store(snippets, {video: [2, 3] for video in snippets if video.startswith("abnormal")})
    intervals = tmp_path / "intervals.csv"
    intervals.write_text("video,start,end\nabnormal/test/2.mp4,32,64\n", encoding="utf-8")
    quick = ("--steps", 2, "-o", "train.segments=6", "-o", "train.batch_size=2", "--device", "cpu")

    trained = run("train", "--features", store.root, "--name", "first", *quick, "--json")
    assert trained.code == 0, trained.err
    said = json.loads(trained.out)
    assert Path(said["checkpoint"]) == Path("runs/first/best.pt")
    assert Path(said["checkpoint"]).is_file()
    assert [stage["stage"] for stage in said["stages"]] == [2]

    evaluated = run(
        "evaluate", "--features", store.root, "--intervals", intervals, "--device", "cpu", "--json"
    )
    assert evaluated.code == 0, evaluated.err
    figures = json.loads(evaluated.out)
    assert (figures["videos"], figures["frames"], figures["anomalous_frames"]) == (2, 2 * 6 * 16, 32)
    assert 0 <= figures["auc"] <= 1
    assert figures["split"] == "test"

    lost = run("evaluate", "--features", store.root, "--device", "cpu")
    the_error(lost, 1, "intervals.csv", "no such file")


def test_seeds_and_what_chooses(
    run: Callable[..., Result], tmp_path: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    splits = ("train", "train", "test", "test")
    snippets = {f"{kind}/{s}/{i}.mp4": 6 for kind in ("normal", "abnormal") for i, s in enumerate(splits)}
    store = tiny_store(snippets, {video: [2, 3] for video in snippets if video.startswith("abnormal")})
    rows = [f"{video},32,64" for video in snippets if video.startswith("abnormal/test")]
    (tmp_path / "intervals.csv").write_text("\n".join(["video,start,end", *rows]))
    where = ("--features", store.root, "-o", f"data.intervals={tmp_path / 'intervals.csv'}")
    quick = ("--steps", 2, "-o", "train.segments=6", "-o", "train.batch_size=2", "--device", "cpu")

    done = run("train", *where, *quick, "--name", "group", "--seeds", 4, 7, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert [one["seed"] for one in said["runs"]] == [4, 7]
    aucs = [one["auc"] for one in said["runs"]]
    assert said["mean"]["auc"] == pytest.approx(sum(aucs) / 2)
    shown = run("runs")
    assert shown.code == 0 and "group/seed4" in shown.out and "group: mean ± deviation" in shown.out

    chosen = run("train", *where, *quick, "--name", "chosen", "--select-on", "test", "--json")
    assert chosen.code == 0, chosen.err
    (stage,) = json.loads(chosen.out)["stages"]
    assert stage["val_loss"] is None and 0 <= stage["test_auc"] <= 1


@pytest.mark.parametrize("command", [("info",), ("weights", "list")])
def test_json_of_what_there_is(run: Callable[..., Result], command: tuple[str, ...]) -> None:
    result = run(*command, "--json")
    assert result.code == 0, result.err
    said: Any = json.loads(result.out)
    if command == ("info",):
        assert said["torch"] in (torch.__version__, torch.__version__.split("+")[0])
    else:
        assert [row["backbone"] for row in said] == ["i3d", "i3d_r50", "i3d_r50_nl"]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "extract",
        "train",
        "evaluate",
        "runs",
        "score",
        "watch",
        "dataset check",
        "store export",
        "weights",
        "demo",
        "info",
    ],
)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(run: Callable[..., Result], command: str, option: str) -> None:
    result = run(*command.split(), option)
    assert (result.code, result.err) == (0, "")
    usage = result.out.splitlines()[0]
    assert usage.startswith("Usage: ")
    assert f"{command} [OPTIONS]" in usage


def test_no_command_is_wrong_usage(run: Callable[..., Result]) -> None:
    result = run()
    assert result.code == 2
    assert result.err.startswith("Usage: ")


def test_interrupted_is_130(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_options, "load_config", interrupt)
    result = run("train")
    assert result.code == 130
    assert "Traceback" not in result.err
    assert "interrupted" in result.err


def test_a_disk_that_will_be_too_small_is_told_before_the_work(
    make_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run
) -> None:
    words = ["extract", "--videos", make_video(tmp_path / "a.mp4", frames=33), "--preset", "live"]
    needed = 3 * ((1 + 6) * 1024 + 48 * 12) * 4  # snippets; views, and motion; numbers of four bytes
    for free, told in ((needed - 1, True), (needed, False)):
        monkeypatch.setattr("ssrl_pipeline.extraction.start.free_bytes", lambda folder, free=free: free)
        done = run(*words, "--weights", "random", "--features", tmp_path / f"features{free}")
        assert done.code == 0
        assert ("is too small: the features will take 92.9 kB, 92.9 kB are free" in done.err) == told
