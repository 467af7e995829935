"""Scores of every frame, what is written of them, and what is refused."""

import csv
import dataclasses
import json
import shutil
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ssrl_pipeline
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import CheckpointError, LabelError, PipelineError, StoreError, VideoError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.events.rule import EventSettings
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import VideoInfo
from ssrl_pipeline.extractors.reader import VideoFeatures
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.models.long_video import CHUNK
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.scoring.stored import frame_scores, score_snippets
from ssrl_pipeline.times import FrameTimes

pytestmark = pytest.mark.usefixtures("quick_network")

CPU = torch.device("cpu")
LIVE = {"clip": 1, "patch2x3": 6}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model for random I3D weights and the live preset."""
    path = tmp_path_factory.mktemp("runs") / "a" / "best.pt"
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    weights = SSRL(**arguments).state_dict()
    save_checkpoint(path, Checkpoint(weights, arguments, recipe, {}, {}))
    return path


@pytest.fixture(scope="module")
def scorer(checkpoint: Path) -> Scorer:
    return Scorer(checkpoint, device="cpu")


def test_features_are_made_as_those_it_was_trained_on(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    path = tmp_path / "dense.pt"
    save_checkpoint(path, dataclasses.replace(loaded, recipe={**loaded.recipe, "patches": "dense"}))
    scorer = Scorer(path, device="cpu")
    assert scorer.extractor.recipe == {**loaded.recipe, "patches": "dense"}
    assert [len(one.views) for one in scorer.extractor.passes] == [1, 1]
    assert scorer.extractor.passes[1].cut.count == 1  # the whole frame


def test_every_frame_has_a_score(scorer: Scorer, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=20, size=(64, 48), fps=8)
    result = scorer.score(path)
    assert result.scores.dtype == np.float32 and result.scores.shape == (20,)
    assert result.snippet_scores.shape == (2,)
    assert (result.scores[:16] == result.snippet_scores[0]).all()
    assert (result.scores[16:] == result.snippet_scores[1]).all()
    assert result.snippet_scores[0] != result.snippet_scores[1]

    result.save(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(20))
    assert [float(row["time_s"]) for row in rows] == pytest.approx(np.arange(20) / 8)
    np.testing.assert_allclose([float(row["score"]) for row in rows], result.scores, atol=1e-6)
    summary = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (summary["frames"], summary["fps"], summary["snippets"]) == (20, 8.0, 2)
    peak = summary["summary"]["peak_frame"]
    assert summary["summary"]["max"] == pytest.approx(result.scores.max()) == result.scores[peak]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "scores.npz")["scores"], result.scores)
    picture = cv2.imread(str(tmp_path / "out" / "timeline.png"))
    assert picture.shape[:2] == (360, 1200) and picture.std() > 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "v.mp4"]  # nothing left lying about


def test_events_are_written_beside_the_scores(checkpoint: Path, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=40, size=(64, 48), fps=8)
    scores = Scorer(checkpoint, device="cpu").score(path).snippet_scores  # of 16, 16 and 8 frames
    between = float(np.sort(scores)[1:].mean())  # only the highest snippet is above
    settings = EventSettings(threshold=between, hysteresis=1.0, shortest=0.5, gap=0.0)
    result = Scorer(checkpoint, device="cpu", events=settings).score(path)
    result.save(tmp_path / "out")
    start = 16 * int(scores.argmax())
    assert [(e.start, e.end) for e in result.events] == [(start, min(start + 16, 40))]
    names = {"scores.csv", "scores.json", "scores.npz", "timeline.png", "contact_sheet.png", "peaks.npz"}
    names |= {f"events.{kind}" for kind in ("json", "csv", "vtt", "srt")}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    said = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert said["events"] == 1 and said["rule"]["threshold"] == pytest.approx(between)
    assert said["rule"]["threshold_from"] == "the settings"
    (row,) = csv.DictReader((tmp_path / "out" / "events.csv").read_text().splitlines())
    assert (int(row["start_frame"]), int(row["end_frame"])) == (start, min(start + 16, 40))
    result.save(tmp_path / "lean", contact_sheet=False)
    assert {p.name for p in (tmp_path / "lean").iterdir()} == names - {"contact_sheet.png", "peaks.npz"}


def test_heat_and_overlay(checkpoint: Path, make_video, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = make_video(tmp_path / "v.mp4", frames=36, size=(64, 48), fps=8)
    scorer = Scorer(checkpoint, device="cpu", events=EventSettings(threshold=0.01, shortest=0.0))
    features = scorer.extractor.from_video(path)
    views = {name: torch.from_numpy(features[name])[None] for name in LIVE}
    scorer.model.scaling.fit("patch2x3", [views["patch2x3"]])  # a random backbone's features are tiny
    scorer.model.head[-2].weight.data *= 100  # and an untrained head hardly looks at them
    result = scorer.score(path)
    assert result.heat["2x3"].shape == (3, 6) and result.heat["2x3"].max() > 0.01
    with torch.no_grad():
        whole = scorer.model(views).scores.double().logit()
        for patch in range(6):
            without = {name: rows.clone() for name, rows in views.items()}
            without["patch2x3"][:, :, patch] = scorer.model.scaling.patch2x3_mean
            lost = (whole - scorer.model(without).scores.double().logit()).clamp(min=0)[0]
            np.testing.assert_allclose(result.heat["2x3"][:, patch], lost, atol=1e-4)
    result.save(tmp_path / "out", overlay=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "scores.npz")["heat_2x3"], result.heat["2x3"])
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert container.streams.video[0].frames == 36 and container.streams.video[0].average_rate == 8


def test_score_video_is_the_same(checkpoint: Path, scorer: Scorer, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=5, size=(64, 48))
    result = ssrl_pipeline.score_video(path, checkpoint=checkpoint, device="cpu")
    np.testing.assert_allclose(result.scores, scorer.score(path).scores, atol=1e-6)
    with pytest.raises(VideoError, match="no such file"):
        scorer.score(tmp_path / "none.mp4")


def write_made_up(snippets: int, alive: list[int]):
    """Like the extractor's write_video; notes how many features are kept."""

    def write_video(path: Path, write) -> VideoFeatures:
        kept: list[weakref.ref] = []
        for i in range(snippets):
            features = {name: np.full((1, n, 1024), i % 7, np.float32) for name, n in LIVE.items()}
            kept.append(weakref.ref(features["clip"]))
            write(features)
            del features
            alive.append(sum(ref() is not None for ref in kept))
        info = VideoInfo(10.0, 64, 48, snippets * 16)
        return VideoFeatures(info, "made up", snippets * 16, snippets, FrameTimes(10.0))

    return write_video


def test_features_of_a_long_video_come_and_go(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 snippets, more than pass the model at once."""
    alive: list[int] = []
    monkeypatch.setattr(scorer.extractor, "write_video", write_made_up(300, alive))
    result = scorer.score("long.mp4")
    assert result.scores.shape == (4800,) and max(alive) <= CHUNK
    views = {
        n: torch.arange(300).remainder(7).float().view(1, -1, 1, 1).expand(1, 300, p, 1024)
        for n, p in LIVE.items()
    }
    with torch.inference_mode():
        expected = scorer.model(views).scores[0]
    assert expected.std() > 1e-4
    np.testing.assert_allclose(result.snippet_scores, expected, atol=1e-6)


def test_a_video_too_short_for_a_snippet(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    info = VideoInfo(10.0, 64, 48, 9)
    nothing = VideoFeatures(info, "made up", 9, 0, FrameTimes(10.0))
    monkeypatch.setattr(scorer.extractor, "write_video", lambda path, write: nothing)
    with pytest.raises(VideoError, match=r"short.mp4: 9 frames are too few"):
        scorer.score("short.mp4")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_features_of_a_long_video(tiny_store, dtype: str) -> None:
    store = tiny_store({"a": 2 * CHUNK + 3}, {"a": [5, 2 * CHUNK]}, dtype=dtype)
    torch.manual_seed(0)
    model = SSRL(16, ["2x3"], crops=1).eval()
    torch.nn.init.ones_(model.relation.non_local.norm.weight)
    features = store.read("a")
    views = {name: torch.from_numpy(rows.astype(np.float32))[None] for name, rows in features.items()}
    with torch.inference_mode():
        expected = model(views).scores[0]
    assert expected.std() > 1e-4
    np.testing.assert_allclose(score_snippets("a", model, features, CPU), expected, atol=1e-6)
    damaged = {name: rows.copy() for name, rows in features.items()}
    damaged["patch2x3"][CHUNK + 1, 2, 3] = np.nan
    with pytest.raises(PipelineError, match="a: the scores are not finite"):
        score_snippets("a", model, damaged, CPU)


@pytest.mark.parametrize(
    ("frames", "expected"), [(1, [3.0]), (20, [3.0] * 16 + [5.0] * 4), (40, [3.0] * 16 + [5.0] * 24)]
)
def test_frames_behind_the_last_snippet_get_its_score(frames: int, expected: list[float]) -> None:
    assert frame_scores(np.array([3.0, 5.0], np.float32), frames).tolist() == expected


def test_another_recipe_is_refused_with_both_named(checkpoint: Path, tmp_path: Path, tiny_store) -> None:
    loaded = load_checkpoint(checkpoint)
    changed = Checkpoint(loaded.weights, loaded.model, {**loaded.recipe, "weights_sha256": "f00"}, {}, {})
    path = tmp_path / "best.pt"
    save_checkpoint(path, changed)
    with pytest.raises(StoreError, match=r"differ in weights_sha256: .*weights f00.*weights random"):
        Scorer(path, device="cpu", weights="random")
    store = tiny_store({"a": 2})
    with pytest.raises(StoreError, match=r"recipes differ in .*\[live, i3d, .*1024 features.*16 features"):
        evaluate_checkpoint(loaded, store, {"a": Label(True, "test")}, {"a": [(0, 1)]}, "test", CPU)


def test_evaluate_refuses_what_contradicts_itself(tiny_store) -> None:
    store = tiny_store({"a": 3, "n": 3})
    arguments = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.0}
    loaded = Checkpoint(SSRL(**arguments).state_dict(), arguments, store.recipe, {}, {})
    labels = {"a": Label(True, "test"), "n": Label(False, "test")}
    frames = store.meta("a").frames
    assert (
        evaluate_checkpoint(loaded, store, labels, {"a": [(1, frames)]}, "test", CPU).metrics.anomalous_frames
        == frames - 1
    )
    for intervals, message in (
        ({}, "'a' is abnormal, but has no intervals"),
        ({"a": [(0, 1)], "n": [(0, 1)]}, "'n' is labelled normal, but has"),
        ({"a": [(0, frames + 1)]}, f"has {frames} frames, but an anomalous interval ends at {frames + 1}"),
        ({"a": [(0, 1)], "x": [(0, 1)]}, "name 'x', which the labels do not know"),
    ):
        with pytest.raises(LabelError, match=message):
            evaluate_checkpoint(loaded, store, labels, intervals, "test", CPU)
    with pytest.raises(LabelError, match="no video is labelled as of split 'val'"):
        evaluate_checkpoint(loaded, store, labels, {}, "val", CPU)


def test_checkpoints_that_are_none(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"garbage")
    (tmp_path / "half.pt").write_bytes(checkpoint.read_bytes()[:1000])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": 99}, tmp_path / "other.pt")
    torch.save({"format": 1, "weights": {}}, tmp_path / "part.pt")

    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"format": Evil()}, tmp_path / "evil.pt")
    for name in ("none", "garbage", "half", "list", "other", "part", "evil"):
        with pytest.raises(CheckpointError, match=f"{name}.pt"):
            load_checkpoint(tmp_path / f"{name}.pt")
    assert not (tmp_path / "touched").exists()
    loaded = load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="differ"):
        Checkpoint(loaded.weights, {**loaded.model, "scales": []}, {}, {}, {}).build()


def test_a_runs_folder_means_its_best(checkpoint: Path, tmp_path: Path) -> None:
    assert load_checkpoint(checkpoint.parent).sha256 == load_checkpoint(checkpoint).sha256
    assert Scorer(checkpoint.parent, "cpu", "random").path == checkpoint
    with pytest.raises(CheckpointError, match="a folder of runs; .* such as .*a$"):
        load_checkpoint(checkpoint.parent.parent)
    with pytest.raises(CheckpointError, match="without a best.pt"):
        load_checkpoint(tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(CheckpointError, match="not finished .*train --name"):
        load_checkpoint(tmp_path)


def test_what_is_given_for_a_checkpoint_is_told(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(2)}, tmp_path / "backbone.pth")
    torch.save({"model_state": {"layer.weight": torch.ones(2)}}, tmp_path / "published.pyth")
    torch.save({"stage": 1, "evaluations": [], "identity": {}}, tmp_path / "last.pt")
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")
    for name, reason in (
        ("backbone.pth", "bare weights.*--weights"),
        ("published.pyth", "bare weights.*--weights"),
        ("last.pt", "what training goes on from.*not finished"),
        ("lfs.pt", "a Git LFS pointer.*git lfs pull"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}: {reason}"):
            load_checkpoint(tmp_path / name)
    shutil.copy(checkpoint, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"what training goes on from.*; give .*best\.pt$"):
        load_checkpoint(tmp_path / "last.pt")
