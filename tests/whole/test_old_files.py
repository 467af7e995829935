"""What version 0.1.0 wrote is read, scored, judged and gone on with as that version did.

tests/written/0.1.0/README.md tells what is there. Numbers are those of expected.json: to CLOSE where
features or checkpoints are only read, to LEARNT where training went on.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssrl_pipeline import VideoScores
from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.cli import main as cli
from ssrl_pipeline.features.opening import open_features, open_store
from ssrl_pipeline.scoring.stored import score_stored

OLD = Path(__file__).resolve().parents[1] / "written" / "0.1.0"
CLOSE = 1e-5  # absolute: kernels of other processors and releases of PyTorch round in another way
LEARNT = 1e-3  # absolute: such differences after the four steps that remained of `staged`
EXTRACTED = 1e-3  # absolute: such differences after all layers of the backbone
CPU = torch.device("cpu")
STAGED = (
    *("-o", "train.schedule=staged", "-o", "model.patches=relation", "-o", "model.dropout=0.1"),
    *("-o", "train.steps=8", "-o", "train.evaluate_every=2"),
    *("-o", "train.optimiser.lr=0.02", "-o", "train.optimiser.warmup=2"),
)
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
RUNS = tuple(name for name in EXPECTED["scores"] if name != "whole")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all, runs unpacked, as the folder that one is in."""
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    shutil.unpack_archive(folder / "runs.zip", folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """run("runs", "--json") -> (stdout, stderr) of a command, whose exit code is checked."""

    def call(*arguments: object, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["ssrl-pipeline", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
                sys.exit(0)
        printed = capsys.readouterr()
        assert (stop.value.code or 0) == code, printed.err
        return printed.out, printed.err

    return call


def features_of(name: str) -> str:
    return "features16" if name == "half" else "features"


def snippet_scores(name: str) -> dict[str, list[float]]:
    """What the best checkpoint of a run says of each video of its store, as it was trained."""
    store = open_store(Path(features_of(name)))
    model = load_checkpoint(Path("runs", name)).at_level(0).build()
    return {video: score_stored(video, model, store, CPU)[::16].tolist() for video in store.videos()}


def same(found: Any, before: Any, tolerance: float = CLOSE) -> None:
    """Whether all that was there before is there with the same value; more may have come."""
    if isinstance(before, dict):
        for key, value in before.items():
            same(found[key], value, tolerance)
    elif isinstance(before, list):
        assert len(found) == len(before)
        for one, other in zip(found, before, strict=True):
            same(one, other, tolerance)
    elif isinstance(before, float):
        assert found == pytest.approx(before, rel=0, abs=tolerance, nan_ok=True)
    else:
        assert found == before


@pytest.mark.parametrize(("root", "dtype"), [("features", np.float32), ("features16", np.float16)])
def test_stores_are_read(old: Path, root: str, dtype: type) -> None:
    store = open_store(old / root)
    videos = list(EXPECTED["scores"]["ssrl"])
    assert store.videos() == sorted(videos)
    for number, video in enumerate(videos):
        meta, views = store.meta(video), store.read(video)  # against its checksums
        for name, rows in views.items():
            assert rows.dtype == dtype
            assert np.array_equal(rows, np.load(old / root / video / f"{name}.npy"))
        assert {name: rows.shape for name, rows in views.items()} == {
            "clip": (meta.snippets, 1, 16),
            "patch2x3": (meta.snippets, 6, 16),
        }
        assert (meta.frames, meta.fps) == (16 * meta.snippets - number, 25.0 if number else 0.0)
        times = store.times(video)
        assert times.known == bool(number)
        if number:
            assert times.starts(meta.frames).tolist() == [frame / 25 for frame in range(meta.frames)]


@pytest.mark.parametrize("name", RUNS)
def test_runs_score_as_before(old: Path, name: str) -> None:
    assert load_checkpoint(Path("runs", name)).level == 0
    same(snippet_scores(name), EXPECTED["scores"][name])


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_judged_as_before(old: Path, run: Callable[..., tuple[str, str]], name: str) -> None:
    store = ("--features", features_of(name))
    at = ("--threshold", "0.5")  # what false alarms were counted at whatever the checkpoint said
    out, _ = run("evaluate", "--checkpoint", f"runs/{name}", *store, *at, "--device", "cpu", "--json")
    same(json.loads(out), EXPECTED["evaluations"][name])


def test_a_run_is_calibrated_as_before(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    kept = load_checkpoint(Path("runs/ssrl")).provenance["threshold"]
    same(kept, EXPECTED["calibrated"]["threshold"], 0)
    options = ("--checkpoint", "runs/seeds/seed0", "--false-alarms", "0.1", "--device", "cpu")
    out, _ = run("calibrate", *options, "--json")  # that of the same seed, not calibrated so far
    before = dict(EXPECTED["calibrated"]) | {"checkpoint": "runs/seeds/seed0/best.pt"}
    same(json.loads(out), before)


def test_runs_are_listed_as_before(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    found, before = json.loads(run("runs", "--json")[0]), json.loads(json.dumps(EXPECTED["runs"]))
    for one in before["runs"]:
        if one["kind"] == "memory":  # which has no steps: what is shown of them are today's defaults
            for name in ("batch_size", "steps", "evaluate_every"):
                del one["settings"][f"train.{name}"]
    before["differing"].insert(4, "train.batch_size")  # by the memory's
    same(found, before, 0)
    staged = next(one for one in found["runs"] if one["name"] == "staged")
    assert (staged["state"], staged["stage"], staged["step"]) == ("unfinished", 2, 4)
    assert {one["kind"] for one in found["runs"]} == {"ssrl", "memory", "fused"}


def steps(printed: str) -> list[tuple[int, int]]:
    """The stage and step of each evaluation that training tells of."""
    return [(int(stage), int(step)) for stage, step in re.findall(r"stage (\d)  step +(\d+)", printed)]


def evaluations(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"runs/{name}/metrics.jsonl").read_text().splitlines()]


def test_a_stopped_run_goes_on(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    before = evaluations("staged")
    stages = Path("runs/staged/stage1.pt").read_bytes()
    _, told = run("train", "--name", "staged", *STAGED, "--device", "cpu")
    assert len(before) == 6
    assert steps(told) == [(2, 6), (2, 8)]  # what was left of it, and nothing again
    found = evaluations("staged")
    assert found[:6] == [{**line, "correction": 0.0} for line in before]  # a term that it did not have
    same(found, EXPECTED["whole"], LEARNT)
    assert Path("runs/staged/stage1.pt").read_bytes() == stages
    same(snippet_scores("staged"), EXPECTED["scores"]["whole"], LEARNT)
    _, told = run("train", "--name", "staged", *STAGED, "--device", "cpu")
    assert steps(told) == []


def test_without_last_pt_it_would_begin_anew(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    Path("runs/staged/last.pt").unlink()
    _, told = run("train", "--name", "staged", *STAGED, "--device", "cpu")
    assert steps(told) == [(stage, step) for stage in (1, 2) for step in (2, 4, 6, 8)]


def test_a_run_begun_before_a_setting_was_known_has_its_default(
    old: Path, run: Callable[..., tuple[str, str]]
) -> None:
    path = Path("runs/staged/last.pt")
    state = torch.load(path, weights_only=True)
    del state["identity"]["train"]["patience"], state["identity"]["train"]["optimiser"]["weight_decay"]
    torch.save(state, path)
    for other in ("train.patience=5", "train.optimiser.weight_decay=0"):
        _, told = run("train", "--name", "staged", *STAGED, "-o", other, code=1)
        assert "other settings" in told
    _, told = run("train", "--name", "staged", *STAGED, "--device", "cpu")
    assert steps(told) == [(2, 6), (2, 8)]


def test_finished_runs_are_not_trained_again(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    options = [option for option in STAGED[4:] if option != "model.patches=relation"]
    best = Path("runs/fused/ssrl/best.pt").read_bytes()
    _, told = run("train", "--name", "fused", "--model", "fused", "-o", "memory.limit=8", *options)
    assert steps(told) == []
    assert Path("runs/fused/ssrl/best.pt").read_bytes() == best
    same(snippet_scores("fused"), EXPECTED["scores"]["fused"])
    _, told = run("train", "--name", "seeds", "--seeds", 0, 1, *options)
    assert steps(told) == []


def test_export_writes_what_it_wrote(old: Path, run: Callable[..., tuple[str, str]]) -> None:
    run("store", "export", "features", "exported")
    before = sorted(path.relative_to("released") for path in Path("released").rglob("*") if path.is_file())
    assert len(before) == 2 * len(EXPECTED["scores"]["ssrl"]) + 4  # notes, and lists of three splits
    for path in before:
        if path.suffix != ".json":
            assert Path("exported", path).read_bytes() == Path("released", path).read_bytes(), path
    released, store = open_features("released", "released"), open_store(Path("features"))
    model = load_checkpoint(Path("runs/ssrl")).build()
    for video in store.videos():
        scores = score_stored(Path(video).stem, model, released, CPU)[::16]
        same(scores.tolist(), EXPECTED["scores"]["ssrl"][video])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssrl", "memory", "fused"])
def test_checkpoints_become_onnx(old: Path, run: Callable[..., tuple[str, str]], name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run("export", "model.onnx", "--checkpoint", f"runs/{name}")
    session = runtime.InferenceSession("model.onnx")
    store = open_store(Path("features"))
    for video, before in EXPECTED["scores"][name].items():
        views = {one.name: store.read(video)[one.name][None] for one in session.get_inputs()}
        same(session.run(["scores"], views)[0][0].tolist(), before)


def scored(folder: str) -> Iterator[Path]:
    return (path.parent for path in Path(folder).rglob("scores.json"))


def test_result_folders_are_read(old: Path) -> None:
    for folder in scored("camera/scores"):
        said = json.loads((folder / "scores.json").read_text())
        numbers = np.load(folder / "scores.npz")
        result = VideoScores.load(folder)
        assert np.array_equal(result.scores, numbers["scores"])
        assert np.array_equal(result.heat["2x3"], numbers["heat_2x3"])
        assert result.times.tolist() == [frame / 10 for frame in range(said["frames"])]
        said.pop("drawn")
        same(result.summary(), said, 0)
        told = json.loads((folder / "events.json").read_text())["events"]
        same([event._asdict() for event in result.events], [dict_of(event) for event in told], 0)


def dict_of(event: dict[str, Any]) -> dict[str, Any]:
    """The fields of an Event in an entry of events.json."""
    names = ("peak_score", "mean_score", "start_s", "end_s", "peak_s")
    frames = {name: event[f"{name}_frame"] for name in ("start", "end", "peak")}
    return frames | {name: event[name] for name in names}


def camera(run: Callable[..., tuple[str, str]], threshold: float, *options: str) -> dict[str, str]:
    """Scores both videos again; name -> what became of it."""
    videos = [f"videos/{name}" for name in EXPECTED["camera"]]
    rule = ("-o", f"events.threshold={threshold}", "--device", "cpu", "--json")
    out, _ = run("score", *videos, *rule, *options)
    return {one["name"]: one["status"] for one in json.loads(out)}


def test_results_are_kept_and_another_threshold_needs_no_extraction(
    old: Path, run: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old / "camera")
    before = {folder: np.load(folder / "scores.npz")["scores"] for folder in scored("scores")}
    assert len(before) == 2
    assert set(camera(run, 0.3).values()) == {"skipped"}
    for threshold in ("0.05", "0.95"):
        assert set(camera(run, float(threshold)).values()) == {"events updated"}
        for name, events in EXPECTED["camera"].items():
            folder = Path("scores", name)
            same(json.loads((folder / "events.json").read_text()), events[threshold], 0)
            assert (folder / "contact_sheet.png").exists() == bool(events[threshold]["events"])
        for folder, scores in before.items():
            assert np.array_equal(np.load(folder / "scores.npz")["scores"], scores)
    assert Path("scores/robbery.mp4/overlay.mp4").is_file()


def test_an_extracted_store_is_current_and_scores_as_before(
    old: Path, run: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old / "camera")
    Path("videos/yard.mp4").rename("yard.mp4")
    options = ("--preset", "live", "--weights", "random", "--dtype", "float16", "--device", "cpu", "--json")
    done = json.loads(run("extract", *options)[0])
    assert [(one["video"], one["status"]) for one in done["videos"]] == [
        (f"{name}.mp4", "skipped") for name in ("monday", "robbery", "tuesday")
    ]
    run("score", "videos/robbery.mp4", "--out", "new", "--no-contact-sheet", "--device", "cpu")
    new, before = VideoScores.load("new/robbery.mp4"), VideoScores.load("scores/robbery.mp4")
    assert new.stored
    assert new.checkpoint_sha256 == before.checkpoint_sha256
    np.testing.assert_allclose(new.scores, before.scores, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(new.heat["2x3"], before.heat["2x3"], rtol=0, atol=CLOSE)


@pytest.mark.slow
def test_a_video_is_extracted_and_scored_as_before(
    old: Path, run: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old / "camera")
    run("score", "videos/yard.mp4", "--out", "new", "--no-contact-sheet", "--device", "cpu")
    new, before = VideoScores.load("new/yard.mp4"), VideoScores.load("scores/yard.mp4")
    assert not new.stored
    np.testing.assert_allclose(new.scores, before.scores, rtol=0, atol=EXTRACTED)
