"""Many videos: what is reused, skipped and drawn anew, and that nothing done is lost."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.errors import PipelineError, StoreError
from ssrl_pipeline.events.rule import EventSettings
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor, UnchangedRule
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.scoring import score as stage
from ssrl_pipeline.scoring.cameras import Cameras
from ssrl_pipeline.scoring.reuse import ContentIndex, open_index
from ssrl_pipeline.scoring.score import score_many
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions


@pytest.fixture(scope="module")
def videos(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("videos")
    return {f"{n}/v.mp4": make_video(root / f"{n}/v.mp4", frames=n, fps=8) for n in (20, 36)}


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "best.pt"
    save_checkpoint(path, Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    scorer = Scorer(path, "cpu", events=EventSettings(threshold=0.01))
    for one in scorer.extractor.passes:
        scorer.extractor.networks.engines[one.network] = Means()
    return scorer


class Means:
    """An engine of no network: features that are quick, and of the pixels."""

    name = "means"

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, 1024]."""
        return torch.nn.functional.adaptive_avg_pool2d(clips.float().mean((1, 2)), 32).flatten(1) / 255


def with_rule(scorer: Scorer, monkeypatch: pytest.MonkeyPatch, threshold: float) -> None:
    rule = type(scorer.chosen.rule)(threshold)
    cameras = Cameras(scorer.checkpoint, scorer.device, rule)
    monkeypatch.setattr(scorer, "cameras", cameras)


def statuses(outcomes: list) -> list[str]:
    return [outcome.status for outcome in outcomes]


@pytest.fixture(scope="module")
def finished(scorer: Scorer, videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert statuses(score_many(scorer, videos, out)) == ["extracted", "extracted"]
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished run, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def no_extraction(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer.extractor, "write_video", lambda *a, **k: pytest.fail("extracted"))


def test_a_second_run_skips_and_still_tells_all(
    scorer: Scorer, videos: dict[str, Path], out: Path, no_extraction: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (out / "20/v.mp4/scores.npz").stat().st_mtime_ns
    score_many(scorer, videos, out)
    report = (out / "report.html").read_bytes()
    read: list[Path] = []
    load = stage.load_result
    monkeypatch.setattr(stage, "load_result", lambda folder: read.append(folder) or load(folder))
    outcomes = score_many(scorer, videos, out, contact_sheet=False)
    assert statuses(outcomes) == ["skipped", "skipped"]
    assert read == [out / "20/v.mp4", out / "36/v.mp4"]  # each once
    assert [o.summary["frames"] for o in outcomes] == [20, 36]
    assert (out / "20/v.mp4/scores.npz").stat().st_mtime_ns == before
    assert (out / "report.html").read_bytes() == report


def test_another_rule_or_truth_draws_anew_without_extraction(
    scorer: Scorer, videos: dict[str, Path], out: Path, no_extraction: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.load(out / "36/v.mp4/scores.npz")["scores"]
    truth = {"36/v.mp4": [(3, 9)]}
    assert statuses(score_many(scorer, videos, out, intervals=truth)) == ["skipped", "events updated"]
    assert json.loads((out / "36/v.mp4/scores.json").read_text())["drawn"]["truth"] == [[3, 9]]
    with_rule(scorer, monkeypatch, 0.999)
    outcomes = score_many(scorer, videos, out, intervals=truth)
    assert statuses(outcomes) == ["events updated", "events updated"]
    assert [o.summary["events"] for o in outcomes] == [0, 0]
    assert not (out / "36/v.mp4/contact_sheet.png").exists()
    np.testing.assert_array_equal(np.load(out / "36/v.mp4/scores.npz")["scores"], scores)
    assert statuses(score_many(scorer, videos, out, intervals=truth)) == ["skipped", "skipped"]


@pytest.mark.parametrize("damage", ["scores.npz", "scores.json", "timeline.png", "source", "checkpoint"])
def test_what_is_damaged_or_changed_is_redone(
    scorer: Scorer, videos: dict[str, Path], out: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = out / "20/v.mp4" / damage
    expected = "extracted"
    if damage == "timeline.png":
        file.unlink()
        expected = "events updated"
    elif damage == "source":
        said = json.loads((file.parent / "scores.json").read_text())
        said["source"] |= {"mtime_ns": 1, "sha256": "other"}
        (file.parent / "scores.json").write_text(json.dumps(said))
    elif damage == "checkpoint":
        own = scorer.cameras.of(None)._replace(sha256="other")
        monkeypatch.setattr(scorer.cameras, "of", lambda group: own)
    else:
        file.write_bytes(file.read_bytes()[:200])
    one = {"20/v.mp4": videos["20/v.mp4"]}
    assert statuses(score_many(scorer, one, out)) == [expected]
    assert statuses(score_many(scorer, one, out)) == ["skipped"]


def test_what_is_of_another_precision_than_asked_for_is_redone(
    scorer: Scorer, videos: dict[str, Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, _), notes, seen = videos, [], scorer.path
    monkeypatch.setattr(scorer.extractor, "precision", "bfloat16")
    assert statuses(score_many(scorer, videos, out)) == ["skipped"] * 2, "nobody asked for it"
    asked = ScorerOptions(seen, precision="bfloat16").asked
    planner = ScorerOptions(seen, precision="bfloat16", unchanged="repeat").planner()
    assert all(planner.extractor.recipe[key] for key in ("precision", "unchanged"))
    again = {first: videos[first]}
    assert statuses(score_many(scorer, again, out, asked=asked, note=notes.append)) == ["extracted"]
    assert [first in said and "another precision or rule" in said for said in notes] == [True]
    both = score_many(scorer, videos, out, asked=asked, note=notes.append)
    assert statuses(both) == ["skipped", "extracted"] and len(notes) == 2
    repeat = ScorerOptions(seen, unchanged="repeat").asked
    assert statuses(score_many(scorer, videos, out, asked=repeat)) == ["skipped"] * 2, "as scored"
    monkeypatch.setattr(scorer.extractor, "_rule", UnchangedRule())
    assert statuses(score_many(scorer, again, out, asked=repeat)) == ["extracted"]


def test_a_result_of_the_store_that_is_reused_stays(
    scorer: Scorer, videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = extract(next(iter(videos.values())).parent, tmp_path / "features", scorer.extractor)
    index, (first, *_) = ContentIndex(store), videos
    one = {first: videos[first]}
    assert statuses(score_many(scorer, one, tmp_path / "out", index=index)) == ["stored"]
    monkeypatch.setattr(scorer.extractor, "precision", "bfloat16")
    asked, notes = ("precision", "calibration"), list[str]()
    for named in ((), asked):
        open_index(store.root, scorer, True, notes.append, named)
    assert ["that is asked for" in said for said in notes] == [False, True]
    assert statuses(score_many(scorer, one, tmp_path / "out", index=index, asked=asked)) == ["skipped"]
    assert statuses(score_many(scorer, one, tmp_path / "out", asked=asked)) == ["extracted"]


def test_a_touched_file_is_the_same_and_overwrite_does_all_again(
    scorer: Scorer, videos: dict[str, Path], out: Path
) -> None:
    one = {"20/v.mp4": videos["20/v.mp4"]}
    os.utime(one["20/v.mp4"])
    assert statuses(score_many(scorer, one, out)) == ["skipped"]
    assert statuses(score_many(scorer, one, out, overwrite=True)) == ["extracted"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_stored_features_give_the_same_scores_under_any_name(
    scorer: Scorer,
    videos: dict[str, Path],
    finished: Path,
    tmp_path: Path,
    dtype: str,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = videos["20/v.mp4"].parents[1]
    extract(root, tmp_path / "features", scorer.extractor, dtype)
    index = open_index(tmp_path / "features", scorer, True, print)
    monkeypatch.setattr(scorer.extractor, "write_video", lambda *a, **k: pytest.fail("extracted"))
    renamed = {"x.mp4": Path(shutil.copy(videos["36/v.mp4"], tmp_path / "x.mp4"))}
    assert statuses(score_many(scorer, renamed, tmp_path / "out", index=index)) == ["stored"]
    got, expected = VideoScores.load(tmp_path / "out/x.mp4"), VideoScores.load(finished / "36/v.mp4")
    assert got.stored and not expected.stored
    np.testing.assert_allclose(got.scores, expected.scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.heat["2x3"], expected.heat["2x3"], rtol=0, atol=10 * tolerance)
    assert (got.fps, got.width, got.height, got.decoder) == (8, 64, 48, expected.decoder)


def test_a_store_of_another_recipe(scorer: Scorer, tiny_store: Callable, tmp_path: Path) -> None:
    store, notes = tiny_store({"a": 2}), []
    with pytest.raises(StoreError, match="recipes differ"):
        open_index(store.root, scorer, True, notes.append)
    assert open_index(store.root, scorer, False, notes.append) is None and len(notes) == 1
    assert open_index(tmp_path / "none", scorer, False, notes.append) is None and len(notes) == 1
    with pytest.raises(StoreError, match="none: no feature store"):
        open_index(tmp_path / "none", scorer, True, notes.append)


def test_a_stored_video_is_known_by_content_and_hashed_only_where_need_be(
    tiny_store: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_store({"one/a.mp4": 1, "two/b.mp4": 1})
    hashed: list[str] = []
    monkeypatch.setattr(
        "ssrl_pipeline.disk.identity.file_sha256", lambda path: hashed.append(path.name) or "b-content"
    )
    for name, sha in (("one/a.mp4", "a-content"), ("two/b.mp4", "b-content")):
        path = store.root / name / "meta.json"
        said = {"source_bytes": 7, "source_mtime_ns": 5_000_000_000, "source_sha256": sha}
        path.write_text(json.dumps(json.loads(path.read_text()) | said))
    index = ContentIndex(store)

    def find(name: str, content: bytes, seconds: int) -> str | None:
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (seconds, seconds))
        return index.find(SourceFile(tmp_path / name))

    assert (find("a.mp4", b"12345678", 5), hashed) == (None, [])  # another size
    assert (find("a.mp4", b"1234567", 5), hashed) == ("one/a.mp4", [])  # its name, size and time
    assert (find("x.mp4", b"1234567", 5), hashed) == ("two/b.mp4", ["x.mp4"])  # the same time tells nothing
    assert (find("a.mp4", b"1234567", 6), hashed) == ("two/b.mp4", ["x.mp4", "a.mp4"])


def test_what_fails_or_is_interrupted_leaves_the_rest(
    scorer: Scorer, videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gap = {"none.mp4": tmp_path / "none.mp4", **videos}
    score = scorer.score

    def interrupted(video: Path, on_snippet: Callable[[], None], group: str | None) -> VideoScores:
        if "36" in video.parts:
            raise KeyboardInterrupt
        return score(video, on_snippet, group)

    monkeypatch.setattr(scorer, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_many(scorer, with_gap, tmp_path / "out")
    assert (tmp_path / "out/report.html").is_file() and not (tmp_path / "out/36").exists()
    monkeypatch.setattr(scorer, "score", score)
    outcomes = score_many(scorer, with_gap, tmp_path / "out")
    assert statuses(outcomes) == ["failed", "skipped", "extracted"]
    assert "none.mp4: no such file" in outcomes[0].reason
    assert VideoScores.load(tmp_path / "out/36/v.mp4").scores.shape == (36,)


def test_a_result_loads_as_it_was_saved(scorer: Scorer, videos: dict[str, Path], tmp_path: Path) -> None:
    result = scorer.score(videos["36/v.mp4"])
    result.save(tmp_path / "r")
    loaded = VideoScores.load(tmp_path / "r")
    assert loaded.summary() == result.summary() and loaded.events == result.events
    np.testing.assert_array_equal(loaded.heat["2x3"], result.heat["2x3"])
    np.save(tmp_path / "half.npy", result.scores[:5])
    np.savez(
        tmp_path / "r" / "scores.npz", scores=result.scores[:5], snippet_scores=loaded.snippet_scores, fps=8
    )
    with pytest.raises(
        PipelineError, match=r"r: no whole result .*scores is float32 \[5\], not float32 \[36\]"
    ):
        VideoScores.load(tmp_path / "r")
