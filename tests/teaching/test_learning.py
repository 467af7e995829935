"""The command `learn`: what it refuses, whom it teaches, and that undoing a verdict takes all of it back."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Result
from helpers.stores import made_up_meta
from helpers.taught import (
    ABNORMAL,
    NORMAL,
    THE_RECIPE,
    T,
    raw,
    said,
    store_copy,
    video,
    write_adapted,
    write_checkpoint,
)

from ssrl_pipeline.alarms import folder_name
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data import Label
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.teaching import level
from ssrl_pipeline.teaching.lessons import placed
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict, add_verdict, undo
from ssrl_pipeline.training import calibrated, raw_scores


@pytest.mark.parametrize("kind", ["memory", "probe", "ssrl", "evident", "blend"])
def test_undo_restores_scores_to_the_last_bit(
    store: FeatureStore, run: Callable[..., Result], kind: str
) -> None:
    path, original = write_checkpoint(kind)
    feedback = Path("feedback.csv")
    add_verdict(feedback, said("n2.mp4", 5, "normal"))
    assert run("learn", path, "--out", "one.pt", "--force").code == 0
    one = load_checkpoint(Path("one.pt"))
    record = one.provenance["learnt"]
    assert (record["verdicts"], record["normal"], record["sha256"]) == (1, 1, original.sha256)
    assert one.sha256 != original.sha256
    add_verdict(feedback, said("a0.mp4", 9, "normal"))
    assert run("learn", "one.pt", "--out", "two.pt", "--force").code == 0  # from best.pt, not from one.pt
    undo(feedback, None, None, "", print)
    assert run("learn", "two.pt", "--out", "again.pt", "--force").code == 0
    assert load_checkpoint(Path("again.pt")).sha256 == one.sha256
    undo(feedback, None, None, "", print)
    assert run("learn", "two.pt", "--out", "none.pt").code == 0
    none = load_checkpoint(Path("none.pt"))
    assert none.sha256 == original.sha256 and none.provenance["learnt"]["verdicts"] == 0
    assert torch.equal(raw(none.build(), "n2.mp4"), raw(original.build(), "n2.mp4"))


def test_what_gets_more_verdicts_wrong_is_refused(store: FeatureStore, run: Callable[..., Result]) -> None:
    """What was called normal looks like what was called abnormal before and after it."""
    path, _ = write_checkpoint()
    for snippet, word in ((4, "abnormal"), (6, "abnormal"), (5, "normal")):
        add_verdict(Path("feedback.csv"), said("n2.mp4", snippet, word))
    refused = run("learn", path, "--out", "new.pt")
    assert refused.code == 1 and "1 of 3 verdicts right, not 2" in refused.err
    assert not Path("new.pt").exists()
    add_verdict(Path("feedback.csv"), Verdict(Moment("elsewhere.mp4", 3, None), "normal"))
    told = run("learn", path, "--out", "new.pt", "--force")
    assert told.code == 0 and "holds no such video" in told.err
    assert "verdicts right: 2 before, 1 now" in told.out and Path("new.pt").exists()


def test_what_is_worse_than_what_it_replaces_is_refused(
    store: FeatureStore, run: Callable[..., Result]
) -> None:
    path, original = write_checkpoint()
    add_verdict(Path("feedback.csv"), said("n2.mp4", 5, "normal", Patch("2x3", 0)))  # it is in another patch
    better, record = original.at_level(9.0), {"from": str(path), "sha256": original.sha256, "verdicts": 1}
    for learnt, code in ((record, 1), ({**record, "sha256": "another"}, 0)):
        save_checkpoint(
            Path("new.pt"), dataclasses.replace(better, provenance={**better.provenance, "learnt": learnt})
        )
        done = run("learn", path, "--out", "new.pt")
        assert done.code == code, done.err
        assert ("worse than new.pt: 0 of 1 verdicts right, not 1" in done.err) == bool(code)


def test_verdicts_whose_videos_are_not_stored_cost_nothing_that_was_learnt(
    store: FeatureStore, run: Callable[..., Result]
) -> None:
    path, original = write_checkpoint()
    for name in ("n2.mp4", "n1.mp4"):
        add_verdict(Path("feedback.csv"), said(name, 5, "normal"))
    assert run("learn", path, "--out", "new.pt").code == 0
    taught = Path("new.pt").read_bytes()
    other = create_store(Path("elsewhere"), THE_RECIPE, "float32")
    store_copy(other, "n9.mp4")
    none = run("learn", path, "--out", "new.pt", "--features", "elsewhere")
    assert none.code == 1 and "feedback.csv: nothing can be learnt from its 2 verdicts" in none.err
    store_copy(other, "n2.mp4")
    fewer = run("learn", path, "--out", "new.pt", "--features", "elsewhere")
    assert fewer.code == 1 and "has learnt from 2 verdicts" in fewer.err and "only 1 of the 2" in fewer.err
    assert Path("new.pt").read_bytes() == taught
    forced = run("learn", path, "--out", "new.pt", "--features", "elsewhere", "--force")
    assert forced.code == 0 and "written all the same" in forced.err
    for _ in range(2):
        undo(Path("feedback.csv"), None, None, "", print)
    assert run("learn", path, "--out", "new.pt", "--features", "elsewhere").code == 0
    assert load_checkpoint(Path("new.pt")).sha256 == original.sha256


@pytest.mark.parametrize("kind", ["memory", "probe", "ssrl"])
def test_weights_do_not_learn_from_verdicts_alone(
    store: FeatureStore, run: Callable[..., Result], kind: str
) -> None:
    path, original = write_checkpoint(kind)
    clips = create_store(Path("clips"), THE_RECIPE, "float32")
    word, name = ("normal", "n2.mp4") if kind == "memory" else ("abnormal", "a1.mp4")
    store_copy(clips, name, name)
    add_verdict(Path("feedback.csv"), said(name, 9, word))
    done = run("learn", path, "--out", "new.pt", "--features", "clips")
    assert done.code == (kind != "memory")
    if kind == "memory":
        return
    assert "none of the videos that it learned from" in done.err and not Path("new.pt").exists()
    assert run("learn", path, "--out", "new.pt", "--features", "clips", "--force").code == 0

    def alarms(checkpoint: Checkpoint) -> int:
        model = checkpoint.build()
        scores = torch.cat([model.calibrated(raw(model, name)) for name in NORMAL])
        return int((scores >= 0.5).sum())

    new = load_checkpoint(Path("new.pt"))
    assert alarms(new) < alarms(new.at_level(original.level))

    add_verdict(Path("feedback.csv"), said("n0.mp4", 5, "normal"))  # the only normal one that is stored
    for known in ("n0.mp4", "a0.mp4"):
        store_copy(clips, known, known)
    told = run("learn", path, "--out", "new.pt", "--features", "clips", "--force")
    assert told.code == 0 and "for no other normal video is there" in told.err


@pytest.mark.parametrize("kind", ["probe", "ssrl", "blend"])
def test_the_level_is_found_again_by_normal_validation_videos(
    store: FeatureStore, run: Callable[..., Result], kind: str
) -> None:
    """As after training: a quarter of their frames may alarm, whatever the verdicts have moved."""
    path, trained = write_checkpoint(kind)
    for name in ("n3.mp4", "n4.mp4"):
        with store.writer(name) as writer:
            writer.append(video(name))
            writer.meta = made_up_meta(T, 16.0)
    kept = {name: Label(False, "val") for name in ("n3.mp4", "n4.mp4")}
    scores = raw_scores(trained, store, kept, torch.device("cpu"))
    original = calibrated(trained, scores, store, kept, 0.25, "validation videos")
    save_checkpoint(path, original)
    rows = [f"{name},val" for name in ("n3.mp4,normal", "n4.mp4,normal")]
    rows += [f"{name},normal,train" for name in NORMAL] + [f"{name},abnormal,train" for name in ABNORMAL]
    Path("labels.csv").write_text("video,label,split\n" + "\n".join(rows) + "\n")
    add_verdict(Path("feedback.csv"), said("a0.mp4", 9, "abnormal"))
    add_verdict(Path("feedback.csv"), said("n2.mp4", 5, "normal"))
    assert run("learn", path, "--out", "new.pt", "--force").code == 0
    new = load_checkpoint(Path("new.pt"))
    assert new.level != original.level
    assert new.provenance["threshold"]["share"] == original.provenance["threshold"]["share"] == 0.25
    model = new.build()
    alarms = torch.cat([model.calibrated(raw(model, name)) >= 0.5 for name in kept])
    assert alarms.float().mean() == 0.25


def test_what_has_learnt_is_not_changed_but_its_original(
    store: FeatureStore, run: Callable[..., Result]
) -> None:
    path, _ = write_checkpoint()
    add_verdict(Path("feedback.csv"), said("n2.mp4", 5, "normal"))
    assert run("learn", path, "--out", "new.pt").code == 0
    taught = Path("new.pt").read_bytes()
    changes = (("calibrate", "--checkpoint", "new.pt"), ("adapt", "new.pt", "--group", "gate"))
    for change in changes:
        refused = run(*change)
        assert refused.code == 1 and f"change {path.absolute()}, which it learns from" in refused.err
    assert Path("new.pt").read_bytes() == taught
    path.unlink()  # where `learn` can do nothing any more
    for change in changes:
        assert "learns from" not in run(*change).err


def test_what_tells_validation_videos_apart_less_well_is_refused(
    store: FeatureStore, run: Callable[..., Result]
) -> None:
    """An abnormal one shows what was called normal elsewhere."""
    path, _ = write_checkpoint()
    rows = [f"{name},normal,train" for name in NORMAL[:2]] + ["n2.mp4,abnormal,val", "odd.mp4,normal,val"]
    Path("labels.csv").write_text("video,label,split\n" + "\n".join(rows) + "\n")
    odd = video("n0.mp4")
    odd["patch2x3"][2, 0, 2] += 10
    for name, features in (("n3.mp4", video("n2.mp4")), ("odd.mp4", odd)):
        with store.writer(name) as writer:
            writer.append(features)
            writer.meta = made_up_meta(T, 16.0)
    add_verdict(Path("feedback.csv"), said("n3.mp4", 5, "normal"))
    refused = run("learn", path, "--out", "new.pt")
    assert refused.code == 1 and "AUC of the validation videos 0.0000, not 1.0000" in refused.err
    assert "verdicts right" not in refused.err and not Path("new.pt").exists()


def test_a_cameras_detector_learns_by_itself_and_the_others_stay(
    store: FeatureStore, run: Callable[..., Result]
) -> None:
    path, whole = write_adapted()
    groups = {"n2.mp4": "gate", "a0.mp4": "yard"}
    rows = [
        f"{name},{'ab' * (name in ABNORMAL)}normal,{groups.get(name, '')}" for name in (*NORMAL, *ABNORMAL)
    ]
    Path("labels.csv").write_text("video,label,group\n" + "\n".join(rows) + "\n")
    feedback = Path("feedback.csv")

    def learnt() -> Checkpoint:
        done = run("learn", path, "--out", "new.pt", "--force")
        assert done.code == 0, done.err
        return load_checkpoint(Path("new.pt"))

    def shas(checkpoint: Checkpoint) -> dict[str | None, str]:
        return {camera: checkpoint.for_camera(camera).sha256 for camera in (None, "gate", "yard")}

    before = shas(whole)
    add_verdict(feedback, said("n2.mp4", 5, "normal"))
    after = shas(learnt())
    assert {camera for camera, sha in after.items() if sha != before[camera]} == {"gate"}
    model = learnt().for_camera("gate").build()
    assert (raw(model, "n2.mp4")[4:7] < 0.5).all()

    add_verdict(feedback, said("a1.mp4", 9, "normal"))  # of no camera
    add_verdict(feedback, said("a0.mp4", 9, "abnormal"))
    told = run("learn", path, "--out", "new.pt", "--force")
    assert "camera 'yard'" in told.err and "nothing to learn" in told.err
    assert "nothing says that a1.mp4 is of a camera" in told.err
    both = shas(load_checkpoint(Path("new.pt")))
    assert both["gate"] == after["gate"] and both["yard"] == before["yard"]
    assert both[None] != before[None]

    for _ in range(3):
        undo(feedback, None, None, "", print)
    assert shas(learnt()) == before


@pytest.mark.parametrize("camera", ["gate", "the gate", "test"])
@pytest.mark.parametrize("options", [(), ("-o", "data.group=folder")])
def test_a_verdict_on_a_clip_reaches_the_camera_that_recorded_it(
    store: FeatureStore, run: Callable[..., Result], camera: str, options: tuple[str, ...]
) -> None:
    path, whole = write_adapted(camera, "yard")
    clip = f"{folder_name(camera)}/2026-03-02/20260302-071209-3fa9c1.mp4"
    for name in (clip, "office/2026-03-02/20260302-071209-3fa9c2.mp4"):
        store_copy(store, name)
    add_verdict(Path("feedback.csv"), said(clip, 5, "normal"))
    done = run("learn", path, "--out", "new.pt", *options)
    assert done.code == 0 and "common detector" not in done.err
    new = load_checkpoint(Path("new.pt"))
    changed = [
        one for one in (None, camera, "yard") if new.for_camera(one).sha256 != whole.for_camera(one).sha256
    ]
    assert changed == [camera]
    replayed = run("replay", "--now-checkpoint", path, "--checkpoint", "new.pt", "--json", *options)
    assert [one["video"] for one in json.loads(replayed.out)["gone"]] == [clip]
    add_verdict(Path("feedback.csv"), said("office/2026-03-02/20260302-071209-3fa9c2.mp4", 5, "normal"))
    told = run("learn", path, "--out", "new.pt", *options)
    assert told.code == 0 and "nothing says that office/" in told.err


def test_mistakes_are_told(store: FeatureStore, run: Callable[..., Result]) -> None:
    path, checkpoint = write_checkpoint()
    assert run("learn", path, "--out", "new.pt").code == 1  # there is no feedback.csv
    add_verdict(Path("feedback.csv"), said("a0.mp4", 9, "abnormal"))
    nothing = run("learn", path, "--out", "new.pt")
    assert nothing.code == 1 and "a memory learns from normal ones alone" in nothing.err
    same = run("learn", path, "--out", path)
    assert same.code == 1 and "is the original" in same.err
    add_verdict(Path("feedback.csv"), said("n2.mp4", 5, "normal"))
    assert run("learn", path, "--out", "new.pt").code == 0
    other = dataclasses.replace(checkpoint, model={**checkpoint.model, "level": 1.0})
    save_checkpoint(path, other)
    changed = run("learn", "new.pt", "--out", "newer.pt")
    assert changed.code == 1 and "another checkpoint by now" in changed.err
    path.unlink()
    assert "its original is needed" in run("learn", "new.pt", "--out", "newer.pt").err


@pytest.mark.parametrize(
    ("abnormal", "normal", "rise"),
    [
        ((3.0, 4.0, 5.0), (1.0, 1.5, 2.0), 1.5),  # half of the false alarms are gone
        ((1.25, 4.0, 5.0), (1.0, 1.5, 2.0), 1.24),  # every event still alarms
        ((-1.0, 4.0, 5.0), (1.0, 1.5, 2.0), 0.0),  # as it is: one did not alarm before
        ((3.0, 4.0), (1.0, 1.5, 2.0), 0.0),  # too few to say how high events score
        ((3.0, 4.0, 5.0), (-2.0, -1.0), 0.0),  # no false alarm
    ],
)
def test_the_level_rises_by_verdicts_of_both_kinds(
    store: FeatureStore,
    monkeypatch: pytest.MonkeyPatch,
    abnormal: tuple[float, ...],
    normal: tuple[float, ...],
    rise: float,
) -> None:
    words = ["abnormal"] * len(abnormal) + ["normal"] * len(normal)
    verdicts = placed(store, [said("n2.mp4", t, word) for t, word in enumerate(words)], print)
    odds = np.array([*abnormal, *normal, *[0.0] * (T - len(words))]) + 0.25
    monkeypatch.setattr(level, "raw_scores", lambda *given: {"n2.mp4": 1 / (1 + np.exp(-odds))})
    known = write_checkpoint()[1].at_level(0.25)
    found = level.raised(known, known, store, verdicts, 0.5, torch.device("cpu"))
    assert found.level == pytest.approx(0.25 + rise)
