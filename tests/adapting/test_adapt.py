"""A checkpoint adapted to cameras: what changes, for which videos, and what is told."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.adapting.adapt import adapt_checkpoint
from ssrl_pipeline.adapting.footage import Part, cut, folds, footage
from ssrl_pipeline.checkpoint import Checkpoint, amending, load_checkpoint, save_checkpoint
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL, ActionDetector, FusedDetector, LinearProbe, fit_memory
from ssrl_pipeline.models.detector import Detector
from ssrl_pipeline.models.linear.probe import RIDGE, quieted, stretches
from ssrl_pipeline.scoring.cameras import Cameras
from ssrl_pipeline.scoring.onnx import export_onnx
from ssrl_pipeline.scoring.stored import score_stored
from ssrl_pipeline.settings import MemorySettings
from tests.helpers.commands import run_main
from tests.helpers.stores import made_up_meta, with_motion

CPU = torch.device("cpu")
VIEWS = {"clip": 1, "patch2x3": 6}
SIZE = 16
OFFSET = 3.0  # of all features of the camera "gate", in deviations
FOOTAGE = [f"gate/{i}" for i in range(6)]
FRESH = [f"gate/new{i}" for i in range(6)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Normal videos of two cameras, noise about zero and about OFFSET."""
    recipe = {
        **{"preset": "live", "backbone": "i3d", "weights_sha256": "random", "feature_size": SIZE},
        **{"views": VIEWS, "geometry": {name: "made up" for name in VIEWS}},
    }
    store, random = create_store(tmp_path_factory.mktemp("store"), recipe), np.random.default_rng(0)
    for video in [*FOOTAGE, *FRESH, *(f"yard/{i}" for i in range(6))]:
        with store.writer(video) as writer:
            centre = OFFSET if video.startswith("gate") else 0.0
            writer.append({n: centre + random.standard_normal((40, p, SIZE)) for n, p in VIEWS.items()})
            writer.meta = made_up_meta(40, fps=10.0)
    return store


def a_memory(store: FeatureStore) -> Detector:
    videos = [f"yard/{i}" for i in range(6)]
    return fit_memory(
        lambda view: np.concatenate([store.read(video)[view] for video in videos]),
        {"patch2x3": 6},
        np.repeat(np.arange(6), 40),
    )


def an_ssrl() -> SSRL:
    model = SSRL(SIZE, ("2x3",), 1, patches="max", evidence=True)
    for name in VIEWS:
        model.scaling.fit(name, [torch.randn(50, 2, SIZE)])
    return model.eval()


def a_detector(kind: str, store: FeatureStore) -> Detector:
    torch.manual_seed(0)
    if kind == "memory":
        return a_memory(store)
    if kind == "fused":
        return FusedDetector.of((an_ssrl(), a_memory(store)), {"ssrl": 0.5, "memory": 0.5})
    if kind == "actions":
        model = ActionDetector(SIZE, {"patch2x3": 6}, 5, [1])
        model.get_buffer("weight").normal_()
        return model
    if kind == "probe":
        probe = LinearProbe(SIZE, VIEWS)
        probe.fit_scaling([torch.randn(200, 2 * SIZE)])
        return probe.eval()
    return an_ssrl()


def a_checkpoint(kind: str, store: FeatureStore) -> Checkpoint:
    return Checkpoint.of(a_detector(kind, store), store.recipe, {}, {"train_videos": []})


def share_above(model: Detector, store: FeatureStore, videos: list[str]) -> float:
    return float(np.mean([score_stored(video, model, store, CPU) >= 0.5 for video in videos]))


@pytest.mark.parametrize("kind", ["ssrl", "probe", "memory", "fused", "actions"])
def test_every_kind_alarms_at_its_camera_as_often_as_asked(
    kind: str, store: FeatureStore, tmp_path: Path
) -> None:
    before = a_checkpoint(kind, store)
    found = adapt_checkpoint(before, store, "gate", FOOTAGE, 0.1, MemorySettings(), CPU)
    assert (found.videos, found.frames, found.parts) == (6, 6 * 40 * 16, 18)
    assert found.share <= 0.1 < found.most
    assert found.remembers == (kind in ("ssrl", "probe"))

    save_checkpoint(tmp_path / "best.pt", found.checkpoint)
    after = load_checkpoint(tmp_path / "best.pt")
    own = after.for_camera("gate")
    assert share_above(own.build(), store, FRESH) < 0.25  # of 240 new snippets, with a threshold of 240
    assert own.sha256 != before.sha256
    assert own.provenance["adapted_to"] == FOOTAGE
    assert after.sha256 == before.sha256 and after.for_camera("yard") is after
    assert all(torch.equal(after.weights[name], value) for name, value in before.weights.items())
    for video in ("yard/0", "gate/0"):
        expected = score_stored(video, before.build(), store, CPU)
        np.testing.assert_array_equal(score_stored(video, after.build(), store, CPU), expected)


def test_a_memory_of_what_the_checkpoint_does_not_extract_is_refused(
    store: FeatureStore, tmp_path: Path
) -> None:
    moving, of = with_motion(store, tmp_path / "motion"), MemorySettings(views=("clip", "motion"))
    checkpoint = Checkpoint.of(a_detector("probe", store), moving.recipe, {}, {"train_videos": []})
    with pytest.raises(PipelineError, match="have no view 'motion'.*choose of clip, patch2x3"):
        adapt_checkpoint(checkpoint, moving, "gate", FOOTAGE, 0.1, of, CPU)


def test_scaling_is_that_of_the_camera(store: FeatureStore) -> None:
    found = adapt_checkpoint(a_checkpoint("ssrl", store), store, "gate", FOOTAGE, 0.1, MemorySettings(), CPU)
    own = found.checkpoint.for_camera("gate")
    shown = np.concatenate([store.read(video)["clip"] for video in FOOTAGE]).reshape(-1, SIZE)
    mean = own.weights["ssrl.scaling.clip_mean"].numpy()
    np.testing.assert_allclose(mean, shown.mean(axis=0), atol=1e-5)
    spread = shown.std(axis=0)
    deviation = own.weights["ssrl.scaling.clip_deviation"].numpy()
    np.testing.assert_allclose(deviation, spread + 0.1 * spread.mean(), rtol=1e-4)


def test_a_probe_is_divided_by_the_covariance_of_what_is_normal() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 8, generator=random, dtype=torch.float64) * torch.arange(1.0, 9.0)
    weight = torch.randn(1, 8, generator=random, dtype=torch.float64)
    scatter = rows.T @ rows
    ridge = RIDGE * torch.linalg.svdvals(rows).square().mean()
    expected = ridge * torch.linalg.solve(scatter + ridge * torch.eye(8, dtype=torch.float64), weight[0])
    torch.testing.assert_close(quieted(weight, rows)[0], expected)
    torch.testing.assert_close(quieted(weight, torch.zeros_like(rows)), weight)


def test_stretches_do_not_cross_parts() -> None:
    rows = torch.arange(12.0)[:, None]
    means = stretches(rows, np.array([3] * 9 + [5] * 3))
    assert means.flatten().tolist() == [3.5, 8.0, 10.0]


def test_what_adjoins_held_out_time_is_not_learned_from() -> None:
    parts = cut({"long": 80, "short": 3, "other": 16})
    assert parts[:2] == [Part("long", 0, 8), Part("long", 8, 16)]
    assert parts[-3:] == [Part("short", 0, 3), Part("other", 0, 8), Part("other", 8, 16)]
    blocks = list(folds(parts))
    assert [number for held, _ in blocks for number in held] == list(range(13))
    held, learned = blocks[1]
    assert held == [3, 4, 5] and learned == [0, 1, 7, 8, 9, 10, 11, 12]
    held, learned = blocks[3]
    assert held == [9, 10] and learned == [*range(8), 11, 12]
    with pytest.raises(PipelineError, match="39 snippets of 1 normal videos are too few"):
        cut({"v": 39})


def test_snippets_are_read_with_the_part_that_they_are_of(store: FeatureStore) -> None:
    parts = cut({"gate/0": 40, "gate/1": 40})
    seen = footage(store, parts, [1, 6], 100, 0)
    assert seen.parts.tolist() == [1] * 8 + [6] * 8
    expected = np.concatenate([store.read("gate/0")["clip"][8:16], store.read("gate/1")["clip"][8:16]])
    np.testing.assert_array_equal(seen.read("clip").numpy(), expected.astype(np.float32))


def test_an_adapted_cameras_words_are_against_what_it_shows(store: FeatureStore, tmp_path: Path) -> None:
    common, own = ({"mean": m, "deviation": torch.ones(6, 400)} for m in torch.randn(2, 6, 400))
    checkpoint = dataclasses.replace(a_checkpoint("probe", store), words=common)
    for words, expected in ((own, own), (None, common)):  # adapted by a version before, it knows none
        adapted = adapt_checkpoint(checkpoint, store, "gate", FOOTAGE, 0.1, MemorySettings(), CPU, 0, words)
        save_checkpoint(tmp_path / "best.pt", adapted.checkpoint)
        cameras = Cameras(load_checkpoint(tmp_path / "best.pt"), CPU)
        assert torch.equal(cameras.of("gate").usual.mean, expected["mean"])
        assert torch.equal(cameras.of("yard").usual.mean, common["mean"])


def test_a_damaged_camera_is_refused(store: FeatureStore) -> None:
    common = a_checkpoint("probe", store)
    damaged = Checkpoint(**{**vars(common), "cameras": {"gate": {"weights": {}, "model": {}}}})
    with pytest.raises(CheckpointError, match="detector for camera 'gate' is damaged"):
        damaged.for_camera("gate")


def test_the_command_adapts_each_group_and_later_ones_take_it(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = run_main(*arguments)
        return code, *capsys.readouterr()

    path = tmp_path / "best.pt"
    save_checkpoint(path, a_checkpoint("probe", store))
    rows = [f"{video},normal,val,gate" for video in FOOTAGE] + [
        f"{video},normal,test,gate" for video in FRESH
    ]
    rows += ["yard/0,abnormal,val,yard", "yard/1,abnormal,test,yard"]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split,group", *rows]))
    options = ("--features", store.root, "--labels", tmp_path / "labels.csv", "--device", "cpu")
    code, out, told = run("adapt", path, *options, "-o", "train.false_alarms=0.1", "--json")
    assert code == 0, told
    assert [camera["group"] for camera in json.loads(out)["cameras"]] == ["gate"]
    assert "since they are labelled abnormal: 2 videos" in told and "of split test: 6 videos" in told
    assert "camera 'yard' keeps the common detector: 0 snippets" in told
    cameras = Cameras(load_checkpoint(path), CPU)
    assert cameras.of("gate").sha256 != cameras.of("yard").sha256 == cameras.of(None).sha256
    lines = cameras.told(["gate", "gate", None, "yard"])
    assert lines[0].startswith("camera 'gate', 2 videos: its own detector, score of 0.5 or more")
    assert "0.1 false alarms per frame on held-out footage of camera 'gate'" in lines[0]
    assert lines[1] == "2 videos (of 'yard'): the common detector and threshold"

    intervals = tmp_path / "intervals.csv"
    intervals.write_text("video,start,end\nyard/1,0,10\n")
    code, out, told = run("evaluate", "--checkpoint", path, *options, "--intervals", intervals, "--json")
    assert code == 0, told
    own = cameras.of("gate").model
    expected = share_above(own, store, FRESH)
    assert json.loads(out)["groups"]["gate"]["false_alarm_rate"] == pytest.approx(expected, abs=1e-6)

    code, _, told = run("adapt", path, *options, "--group", "door")
    assert code == 2 and "no videos of camera 'door'; the labels name 'gate', 'yard'" in told


def test_footage_is_extracted_as_the_settings_say(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, object]] = []

    def scorer(*arguments: object, **options: object) -> None:
        asked.append(options)
        raise PipelineError("enough")

    monkeypatch.setattr("ssrl_pipeline.scoring.scorer.Scorer", scorer)
    save_checkpoint(tmp_path / "best.pt", a_checkpoint("probe", store))
    how = ("--precision", "int8", "--calibration", "clips", "-o", "extract.unchanged=describe")
    assert run_main("adapt", tmp_path / "best.pt", "--videos", tmp_path, *how) == 1
    assert "enough" in capsys.readouterr().err
    expected = {"precision": "int8", "calibration": "clips", "unchanged": "describe"}
    assert {name: asked[0].get(name) for name in expected} == expected


def test_calibrating_reaches_adapted_cameras(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, memory = tmp_path / "best.pt", MemorySettings()
    adapted = adapt_checkpoint(a_checkpoint("probe", store), store, "gate", FOOTAGE, 0.1, memory, CPU)
    yard = [f"yard/{i}" for i in range(6)]
    both = adapt_checkpoint(adapted.checkpoint, store, "yard", yard, 0.1, memory, CPU)
    save_checkpoint(path, both.checkpoint)
    rows = [f"{video},normal,val,{video.split('/')[0]}" for video in store.videos()]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split,group", *rows]))
    options = ("--features", store.root, "--labels", tmp_path / "labels.csv", "--device", "cpu")
    assert run_main("calibrate", "--checkpoint", path, *options, "--false-alarms", 0.05) == 0
    out, told = capsys.readouterr()
    assert "has not looked at: camera 'yard'\n" in told and "the common threshold stays" not in told
    assert "0.5 (of adapt)" in next(line for line in out.splitlines() if "camera 'yard'" in line)

    cameras = Cameras(load_checkpoint(path), CPU)
    gate, kept = cameras.rule("gate"), cameras.rule("yard")
    scores = np.sort(np.concatenate([score_stored(v, cameras.of("gate").model, store, CPU) for v in FRESH]))
    assert scores[-193] < gate.rule.threshold <= scores[-192]  # 5 % of the 3840 frames that it never saw
    assert gate.origin.endswith("0.05 false alarms per frame on val of camera 'gate'")
    assert kept.rule.threshold == 0.5 and "0.1 false alarms per frame on held-out footage" in kept.origin

    old = load_checkpoint(path)  # as the version before wrote it
    for cell in old.provenance["threshold"]["by"]:
        del cell["asked"], cell["unit"], cell["split"]
    assert Cameras(old, CPU).rule("gate").rule == gate.rule
    assert "0.1 false alarms per frame" in Cameras(old, CPU).rule("gate").origin


def test_an_exported_graph_names_its_camera(store: FeatureStore, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "best.pt"
    found = adapt_checkpoint(a_checkpoint("probe", store), store, "gate", FOOTAGE, 0.1, MemorySettings(), CPU)
    save_checkpoint(path, found.checkpoint)
    export_onnx(path, tmp_path / "gate.onnx", "gate")
    said = {prop.key: prop.value for prop in onnx.load(tmp_path / "gate.onnx").metadata_props}
    assert said["group"] == "gate" and json.loads(said["model"])["kind"] == "blend"
    with pytest.raises(CheckpointError, match="was not adapted to camera 'door'; it was to: 'gate'"):
        export_onnx(path, tmp_path / "door.onnx", "door")


def test_two_commands_do_not_amend_a_checkpoint_at_once(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(path, a_checkpoint("probe", store))
    written = path.read_bytes()
    with amending(path):
        for command in (("adapt", path), ("calibrate", "--checkpoint", path, "--false-alarms", 0.05)):
            assert run_main(*command, "--features", store.root, "--device", "cpu") == 1
            told = capsys.readouterr().err
            assert f"best.pt: process {os.getpid()}" in told and "run the same command again" in told
    assert path.read_bytes() == written and list(tmp_path.iterdir()) == [path]
