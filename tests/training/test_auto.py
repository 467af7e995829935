"""Auto: what it compares, what it takes, and that its checkpoint scores as what it compared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import with_motion
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.settings import ModelSettings, Settings, TrainSettings
from ssrl_pipeline.training.auto import choose, fitting, mix, summary, try_all
from ssrl_pipeline.training.group import join
from ssrl_pipeline.training.task import Task
from ssrl_pipeline.training.train import train_detector

VIDEOS = {f"{kind}{i}": 8 for kind in "na" for i in range(6)}
PLANTED = {video: [2, 3] for video in VIDEOS if video.startswith("a")}
QUICK = TrainSettings(steps=4, evaluate_every=2, batch_size=2, segments=4)


def random_scores(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {video: rng.uniform(0.01, 0.99, 8).astype(np.float32) for video in VIDEOS}


def test_every_kind_and_every_blend_is_tried_by_what_it_says_of_videos() -> None:
    scores = {"probe": random_scores(1), "ssrl": random_scores(2), "memory": random_scores(3)}
    truth = {video: video.startswith("a") for video in VIDEOS}
    trials = {trial.kinds: trial for trial in try_all(scores, truth)}
    assert len(trials) == 7
    one = [np.sort(scores["ssrl"][video])[-3:].mean() for video in VIDEOS]  # a tenth of 8 is less than three
    assert trials["ssrl",].auc == pytest.approx(roc_auc_score(list(truth.values()), one))

    kinds = ("probe", "memory")
    units = [logit(np.concatenate([scores[kind][v] for v in VIDEOS if not truth[v]])).std() for kind in kinds]
    odds = {
        v: sum(logit(scores[k][v]) / unit / 2 for k, unit in zip(kinds, units, strict=True)) for v in VIDEOS
    }
    both = [np.sort(expit(odds[video]))[-3:].mean() for video in VIDEOS]
    assert trials[kinds].auc == pytest.approx(roc_auc_score(list(truth.values()), both))
    np.testing.assert_allclose(mix(trials[kinds], scores, "a1"), expit(odds["a1"]), atol=1e-5)


def told(apart: float, videos: int, seed: int) -> dict[str, np.ndarray]:
    """Scores by which abnormal videos are so far apart, in deviations of their log odds."""
    rng = np.random.default_rng(seed)
    return {
        f"{kind}{i}": expit(rng.normal(apart * (kind == "a"), 1, 1) * np.ones(4)).astype(np.float32)
        for kind in "na"
        for i in range(videos)
    }


@pytest.mark.parametrize(("videos", "taken"), [(100, ("motion",)), (5, ("ssrl", "memory"))])
def test_the_usual_blend_is_left_only_for_what_is_better_by_more_than_chance(
    videos: int, taken: tuple[str, ...]
) -> None:
    scores = {kind: told(0.5, videos, seed) for seed, kind in enumerate(("probe", "ssrl", "memory"))}
    scores["motion"] = told(1.3 if videos == 5 else 6.0, videos, 3)
    truth = {video: video.startswith("a") for video in scores["probe"]}
    trials = try_all(scores, truth)
    chosen = choose(trials, scores, truth)
    assert ("motion" in chosen.kinds) == ("motion" in taken)
    usual = next(trial for trial in trials if trial.kinds == ("ssrl", "memory"))
    probe = next(trial for trial in trials if trial.kinds == ("probe",))
    assert chosen.auc >= probe.auc
    assert chosen.auc > usual.auc if "motion" in taken else chosen.auc >= usual.auc


@pytest.mark.parametrize(("apart", "first"), [(2.0, "ssrl"), (0.0, "probe")])
def test_the_memory_is_blended_with_ssrl_or_with_the_probe_where_that_fits_better(
    apart: float, first: str
) -> None:
    scores = {"probe": told(2.0, 40, 10), "ssrl": told(apart, 40, 11), "memory": told(2.0, 40, 12)}
    truth = {video: video.startswith("a") for video in scores["probe"]}
    assert choose(try_all(scores, truth), scores, truth).kinds == (first, "memory")


def test_it_never_ends_below_the_probe() -> None:
    scores = {"probe": told(2.0, 30, 0), "ssrl": told(0.0, 30, 1), "memory": told(0.0, 30, 2)}
    truth = {video: video.startswith("a") for video in scores["probe"]}
    trials = try_all(scores, truth)
    assert choose(trials, scores, truth).kinds == ("probe",)


def test_normal_videos_alone_make_a_memory(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({f"n{i}": 6 for i in range(4)})
    labels = {f"n{i}": Label(False, None) for i in range(4)}
    settings = Settings(model=ModelSettings(kind="auto"), train=QUICK)
    with join("cpu") as group:
        task = Task(settings, tmp_path / "auto", store, labels, group)
        checkpoint = load_checkpoint(train_detector(task))
        assert checkpoint.kind == "memory" and checkpoint.provenance["chosen"] == ["memory"]
        assert checkpoint.provenance["threshold"]["split"] == "out of fold"
        again = load_checkpoint(train_detector(task))  # the same command again changes nothing
    assert again.sha256 == checkpoint.sha256
    assert summary(checkpoint) == "nothing to compare by: memory"


def test_a_kind_that_a_fold_leaves_too_little_for_is_not_tried(tiny_store, tmp_path: Path) -> None:
    lengths = {"n0": 6, "n1": 6, **{f"a{i}": 6 for i in range(4)}}
    store = tiny_store(lengths, {v: [2] for v in lengths if v.startswith("a")})
    labels = {video: Label(video.startswith("a"), None) for video in lengths}
    settings = Settings(model=ModelSettings(kind="auto"), train=dataclasses.replace(QUICK, batch_size=1))
    with join("cpu") as group:
        checkpoint = load_checkpoint(train_detector(Task(settings, tmp_path / "auto", store, labels, group)))
    assert {kind for trial in checkpoint.provenance["tried"] for kind in trial["kinds"]} == {"probe", "ssrl"}


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Path]:
    store = tiny_store(VIDEOS, PLANTED)
    labels = {video: Label(video.startswith("a"), None) for video in VIDEOS}
    settings = Settings(model=ModelSettings(kind="auto"), train=QUICK)
    with join("cpu") as group:
        task = Task(settings, tmp_path_factory.mktemp("runs") / "auto", store, labels, group)
        return task, train_detector(task)


def test_the_best_is_kept_and_all_that_was_tried_is_told(trained: tuple[Task, Path]) -> None:
    checkpoint = load_checkpoint(trained[1])
    tried = checkpoint.provenance["tried"]
    chosen = [trial for trial in tried if trial["kinds"] == checkpoint.provenance["chosen"]]
    best = chosen[0]["auc"]
    assert len(tried) == 7
    assert best >= next(trial["auc"] for trial in tried if trial["kinds"] == ["probe"])
    lines = summary(checkpoint).splitlines()
    assert len(lines) == 8
    assert [line for line in lines if line.startswith("*")] == [
        f"* {best:.4f}  {' + '.join(chosen[0]['kinds'])}"
    ]
    assert checkpoint.videos("train") == sorted(VIDEOS)


def test_its_scores_are_the_parts_weighted_odds_at_the_calibrated_level(trained: tuple[Task, Path]) -> None:
    task, best = trained
    checkpoint = load_checkpoint(best)
    assert checkpoint.kind == "blend"
    views = {name: torch.from_numpy(np.array(rows))[None] for name, rows in task.store.read("a1").items()}
    odds = torch.zeros(1, 8)
    for kind, weight in checkpoint.model["weights"].items():
        part = load_checkpoint(task.run / kind / "best.pt").build()
        odds += weight * torch.logit(part(views).scores.detach(), 1e-6)
    found = checkpoint.build()(views).scores.detach()
    torch.testing.assert_close(found, (odds - checkpoint.level).sigmoid(), atol=1e-4, rtol=0)
    threshold = checkpoint.provenance["threshold"]
    assert threshold["value"] == 0.5 and threshold["share"] <= 0.01
    assert threshold["videos"] == 6 and threshold["split"] == "out of fold"


def test_with_too_few_videos_to_compare_all_count_alike(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({"n1": 6, "n2": 6, "a1": 6}, {"a1": [2]})
    labels = {video: Label(video == "a1", None) for video in ("n1", "n2", "a1")}
    settings = Settings(model=ModelSettings(kind="auto"), train=dataclasses.replace(QUICK, batch_size=1))
    with join("cpu") as group:
        best = train_detector(Task(settings, tmp_path / "auto", store, labels, group))
    checkpoint = load_checkpoint(best)
    assert checkpoint.provenance["chosen"] == ["probe", "memory"]
    assert set(checkpoint.model["weights"].values()) == {1 / 2}
    assert summary(checkpoint) == "nothing to compare by: probe + memory, which count alike"


def test_motion_is_tried_where_the_store_has_it(tiny_store, tmp_path: Path) -> None:
    plain = tiny_store({"n1": 6, "n2": 6, "a1": 6}, {"a1": [2]})
    both = with_motion(plain, tmp_path / "both")
    labels = {video: Label(video == "a1", None) for video in ("n1", "n2", "a1")}
    settings = Settings(model=ModelSettings(kind="auto"), train=dataclasses.replace(QUICK, batch_size=1))
    with join("cpu") as group:
        task = Task(settings, tmp_path / "auto", both, labels, group)
        assert fitting(task) == ("probe", "ssrl", "memory", "motion")
        assert fitting(dataclasses.replace(task, store=plain)) == ("probe", "ssrl", "memory")
