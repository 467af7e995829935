"""Training of the linear probe: what is fitted to what, and how strongly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import with_motion
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import LabelError, StoreError
from ssrl_pipeline.models import LinearProbe
from ssrl_pipeline.scoring.stored import score_snippets
from ssrl_pipeline.settings import TrainSettings
from ssrl_pipeline.training.kinds.linear import (
    OF_FEATURES,
    OF_MOTION,
    fit_rows,
    probe_summary,
    read_rows,
    train_motion,
    train_probe,
)

CPU = torch.device("cpu")
LENGTHS = {f"{kind}{i}": 6 + i for kind in "na" for i in range(6)}
PLANTED = {video: [2, 3] for video in LENGTHS if video.startswith("a")}
LABELS = {video: Label(video.startswith("a"), None) for video in LENGTHS}


def pooled(features: dict[str, np.ndarray]) -> np.ndarray:
    """[T, W], in NumPy."""
    parts = [features["clip"].mean(axis=1), features["patch2x3"].max(axis=1)]
    return np.concatenate(parts, axis=1).astype(float)


def test_it_is_logistic_regression_on_the_means_of_standardised_snippets(tiny_store) -> None:
    store = tiny_store(LENGTHS, PLANTED)
    videos = {video: label.abnormal for video, label in LABELS.items()}
    model = LinearProbe(16, store.recipe["views"])
    rows = read_rows(model, store, videos)
    fit_rows(model, rows, 1e-3)

    snippets = {video: pooled(store.read(video)) for video in LENGTHS}
    scaler = StandardScaler().fit(np.concatenate([snippets[v] for v in LENGTHS if not videos[v]]))
    scaler.scale_ += 0.01 * scaler.scale_.mean() + 1e-6
    bags = np.stack([scaler.transform(snippets[video]).mean(axis=0) for video in LENGTHS])
    np.testing.assert_allclose(rows.bags, bags, atol=1e-4)
    expected = LogisticRegression(C=1e-3, class_weight="balanced", tol=1e-8).fit(bags, list(videos.values()))
    np.testing.assert_allclose(model.linear.weight.detach()[0], expected.coef_[0], atol=1e-5)
    scores = score_snippets("a0", model, store.read("a0"), torch.device("cpu"))
    odds = expected.decision_function(scaler.transform(snippets["a0"]))
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-odds)), atol=1e-4)


def test_the_checkpoint_says_what_it_comes_from(tiny_store, tmp_path: Path) -> None:
    store = tiny_store(LENGTHS, PLANTED)
    checkpoint = load_checkpoint(train_probe(store, LABELS, tmp_path / "run", TrainSettings()))
    assert checkpoint.kind == "probe"
    assert checkpoint.videos("train") == list(LENGTHS) and checkpoint.videos("val") == []
    assert checkpoint.provenance["strength"] == OF_FEATURES
    assert probe_summary(checkpoint) == "a linear probe of 12 videos, C = 0.001"
    again = load_checkpoint(train_probe(store, LABELS, tmp_path / "again", TrainSettings()))
    assert again.sha256 == checkpoint.sha256


def test_motion_is_learned_by_itself(tiny_store, tmp_path: Path) -> None:
    plain = tiny_store(LENGTHS)
    store = with_motion(plain, tmp_path / "both", fast=list(PLANTED))
    best = train_motion(store, LABELS, tmp_path / "run", TrainSettings())
    checkpoint = load_checkpoint(best)
    assert checkpoint.kind == "motion" and checkpoint.recipe == store.recipe
    assert checkpoint.provenance["strength"] == OF_MOTION
    assert probe_summary(checkpoint).startswith("a detector of motion, of 12 videos, C = ")
    model = checkpoint.build()
    scores = {video: score_snippets(video, model, store.read(video), CPU).mean() for video in LENGTHS}
    assert min(scores[v] for v in PLANTED) > 0.5 > max(scores[v] for v in LENGTHS if v not in PLANTED)
    with pytest.raises(StoreError, match=r"no view 'motion'.*extract.motion=true"):
        train_motion(plain, LABELS, tmp_path / "none", TrainSettings())


def test_a_probe_does_not_look_at_motion(tiny_store, tmp_path: Path) -> None:
    plain = tiny_store(LENGTHS, PLANTED)
    both = with_motion(plain, tmp_path / "both", fast=["n0"])
    one, two = (
        load_checkpoint(train_probe(store, LABELS, tmp_path / name, TrainSettings()))
        for name, store in (("plain", plain), ("with", both))
    )
    assert one.sha256 == two.sha256 and two.recipe == plain.recipe


def test_validation_videos_are_not_learned_from(tiny_store, tmp_path: Path) -> None:
    store = tiny_store(LENGTHS, PLANTED)
    labels = {**LABELS, "n5": Label(False, "val"), "a5": Label(True, "val"), "a4": Label(True, "test")}
    checkpoint = load_checkpoint(train_probe(store, labels, tmp_path / "run", TrainSettings()))
    assert set(checkpoint.videos("val")) == {"n5", "a5"}
    assert set(checkpoint.videos("train")) == set(LENGTHS) - {"n5", "a5", "a4"}


def test_what_cannot_be_learned_from_is_named(tiny_store, tmp_path: Path) -> None:
    store = tiny_store({"n": 3, "a": 3})
    with pytest.raises(LabelError, match="no abnormal video"):
        train_probe(store, {"n": Label(False, None)}, tmp_path / "one", TrainSettings())
    labels = {"n": Label(False, None), "a": Label(True, None), "gone": Label(True, None)}
    with pytest.raises(StoreError, match="lacks 1 of 3 labelled videos: 'gone'"):
        train_probe(store, labels, tmp_path / "run", TrainSettings())
