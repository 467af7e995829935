"""What detectors learn from lessons, and what lessons are made of."""

import numpy as np
import pytest
import torch
from helpers.taught import VIEWS, F, raw, remembering, said, store_copy, untrained, video

from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import Detector, memory
from ssrl_pipeline.models.actions import ActionDetector
from ssrl_pipeline.models.lessons import expanded
from ssrl_pipeline.teaching.lessons import cells_of, moments, placed
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict


@pytest.mark.parametrize(
    ("view", "patch", "cells"),
    [
        ("patch2x3", Patch("2x3", 4), [4]),
        ("patch4x6", Patch("2x3", 4), [14, 15, 20, 21]),  # its lower middle, cut in four
        ("patch1x2", Patch("2x3", 4), [0, 1]),  # both halves have a share of it
        ("patch3x1", Patch("2x3", 0), [0, 1]),
        ("clip", Patch("2x3", 4), []),
        ("patch2x3", None, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_patches_of_other_grids_are_those_that_overlap(
    view: str, patch: Patch | None, cells: list[int]
) -> None:
    rows, columns = view.removeprefix("patch").split("x") if view != "clip" else "11"
    assert np.flatnonzero(cells_of(view, int(rows) * int(columns), patch)).tolist() == cells


def test_a_click_expands_to_what_is_like_it() -> None:
    unsaid, near = float("nan"), float(np.exp(-0.5))
    scores = torch.tensor([0.9, 0.1, 0.5, 0.6, 0.55, 0.1, 0.9, 0.9])
    wanted = torch.tensor([unsaid, unsaid, unsaid, 1.0, unsaid, unsaid, unsaid, 0.0])
    expected = torch.tensor([unsaid, unsaid, near, 1.0, 1.0, near, unsaid, 0.0])
    torch.testing.assert_close(expanded(wanted, scores), expected, equal_nan=True)
    wanted[4] = 0  # what was called normal stays so
    expected[4:6] = torch.tensor([0.0, unsaid])
    torch.testing.assert_close(expanded(wanted, scores), expected, equal_nan=True)


def test_a_memory_admits_what_was_called_normal_where_it_was_seen(store: FeatureStore) -> None:
    before, after = remembering(), remembering()
    verdicts = placed(store, [said("n2.mp4", 5, "normal", Patch("2x3", 4))], print)
    assert after.learn(moments(store, VIEWS, verdicts))
    changed = (raw(before, "n2.mp4") != raw(after, "n2.mp4")).nonzero().flatten().tolist()
    assert changed == [4, 5, 6]  # and its surroundings
    assert (raw(before, "n2.mp4")[4:7] > 0.8).all() and (raw(after, "n2.mp4")[4:7] < 0.5).all()
    learnt = after.memories["patch2x3"].get_buffer("learnt")
    assert learnt.shape == (6, 3, F)
    torch.testing.assert_close(raw(before, "a0.mp4"), raw(after, "a0.mp4"))


def test_a_memory_learns_no_more_than_it_may(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_LEARNT", 2)
    model = remembering()
    model.learn(moments(store, VIEWS, placed(store, [said("n2.mp4", 5, "normal")], print)))
    learnt = model.memories["patch2x3"].get_buffer("learnt")
    scaled = model.memories["patch2x3"].scaling(
        "patch2x3", torch.from_numpy(video("n2.mp4")["patch2x3"][5:7])
    )
    torch.testing.assert_close(learnt, scaled.transpose(0, 1))


def test_the_latest_verdict_on_a_snippet_counts(store: FeatureStore) -> None:
    verdicts = [said("n2.mp4", 5, "normal"), said("n2.mp4", 6, "abnormal"), said("n2.mp4", 2, "abnormal")]
    verdicts.append(Verdict(Moment("n2.mp4", 16 * 2 + 9, None), "normal"))
    (lesson,) = moments(store, VIEWS, placed(store, verdicts, print))
    unsaid = float("nan")
    np.testing.assert_equal(lesson.wanted.numpy(), [unsaid, 0, 0, 0, 0, 0, 1, *[unsaid] * 5])
    assert lesson.normal["clip"][:, 0].tolist() == [0, 4, 4, 4, 1, 1, *[0] * 6]  # verdicts by their numbers


def test_a_memory_forgets_the_oldest_verdicts(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_LEARNT", 4)
    given = [said("n2.mp4", 10, "normal"), said("n0.mp4", 5, "normal"), said("n2.mp4", 1, "normal")]
    model = remembering()
    model.learn(moments(store, VIEWS, placed(store, given, print)))
    rows = [video(name)["patch2x3"] for name in ("n0.mp4", "n2.mp4")]
    latest = torch.from_numpy(np.concatenate([rows[0][6:7], rows[1][0:3]]))
    scaled = model.memories["patch2x3"].scaling("patch2x3", latest)
    torch.testing.assert_close(model.memories["patch2x3"].get_buffer("learnt"), scaled.transpose(0, 1))


def test_a_verdict_finds_its_video_in_whatever_folder(store: FeatureStore) -> None:
    told: list[str] = []
    given = [said("gate/n2.mp4", 5, "normal"), said("gate/n9.mp4", 5, "normal")]
    (found,) = placed(store, given, told.append)
    assert (found.video, found.snippet) == ("n2.mp4", 5) and "gate/n9.mp4" in told[0]


def test_a_verdict_does_not_go_to_a_video_of_the_same_name_in_another_folder(store: FeatureStore) -> None:
    store_copy(store, "gate/n5.mp4")
    told: list[str] = []
    given = [said(f"{name}n5.mp4", 5, "normal") for name in ("yard/", "events/gate/", "")]
    found = placed(store, given, told.append)
    assert [one.video for one in found] == ["gate/n5.mp4"] * 2 and "yard/n5.mp4" in told[0]


@pytest.mark.parametrize("kind", ["probe", "ssrl", "evident", "blend"])
def test_weights_learn_from_clicks_and_the_same_gives_the_same(store: FeatureStore, kind: str) -> None:
    verdicts = [said("a0.mp4", 9, "abnormal"), said("n2.mp4", 5, "normal")]
    before, *models = (untrained(kind) for _ in range(3))
    for model in models:
        assert model.learn(moments(store, VIEWS, placed(store, verdicts, print)))
        assert not model.training
    first, second = models
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    gained = (raw(first, "a0.mp4")[9] - raw(first, "n2.mp4")[5]) - (
        raw(before, "a0.mp4")[9] - raw(before, "n2.mp4")[5]
    )
    assert gained > 0.02
    assert raw(first, "a1.mp4")[8:11].mean() - raw(first, "a1.mp4")[:8].mean() > (
        raw(before, "a1.mp4")[8:11].mean() - raw(before, "a1.mp4")[:8].mean()
    )  # of a video that nobody clicked


@pytest.mark.parametrize(("kind", "part"), [("evident", "probe.linear.weight"), ("ssrl", "head.6.weight")])
def test_of_an_ssrl_the_probe_learns_or_else_the_end_of_its_head(
    store: FeatureStore, kind: str, part: str
) -> None:
    before, model = untrained(kind), untrained(kind)
    model.learn(moments(store, VIEWS, placed(store, [said("n2.mp4", 5, "normal")], print)))
    changed = {n for n, w in model.state_dict().items() if not torch.equal(w, before.state_dict()[n])}
    assert changed == {part}
    learned = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learned == {name for name, weight in before.named_parameters() if weight.requires_grad}


def test_a_kind_without_anything_to_learn_says_so() -> None:
    assert ActionDetector.learn is Detector.learn
