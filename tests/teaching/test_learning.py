"""What detectors learn from verdicts, and that undoing one takes all of it back."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Result
from helpers.stores import RECIPE, made_up_meta

from ssrl_pipeline.alarms import folder_name
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data import Label
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL, Blend, Detector, LinearProbe, PatchMemory, fit_memory, memory
from ssrl_pipeline.models.actions import ActionDetector
from ssrl_pipeline.models.lessons import expanded
from ssrl_pipeline.teaching import level
from ssrl_pipeline.teaching.lessons import cells_of, moments, placed
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict, add_verdict, undo
from ssrl_pipeline.training import calibrated, raw_scores

F, T = 8, 12  # feature size, snippets
VIEWS = {"clip": 1, "patch2x3": 6}
THE_RECIPE = {**RECIPE, "feature_size": F, "views": VIEWS}
NORMAL, ABNORMAL = ("n0.mp4", "n1.mp4", "n2.mp4"), ("a0.mp4", "a1.mp4")


def video(name: str) -> dict[str, np.ndarray]:
    """Noise; snippets 4 to 6 of n2 show something new in patch 4, 8 to 10 of a0 and a1 a fight."""
    draw = np.random.default_rng(sum(map(ord, name)))
    views = {view: draw.normal(size=(T, count, F)).astype(np.float32) for view, count in VIEWS.items()}
    if name == "n2.mp4":
        views["patch2x3"][4:7, 4, 0] += 30
        views["clip"][4:7, :, 0] += 3
    if name in ABNORMAL:
        views["patch2x3"][8:11, 1, 1] += 3
        views["clip"][8:11, :, 1] += 3
    return views


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.chdir(tmp_path)
    made = create_store(tmp_path / "features", THE_RECIPE, "float32")
    for name in (*NORMAL, *ABNORMAL):
        with made.writer(name) as writer:
            writer.append(video(name))
            writer.meta = made_up_meta(T, 16.0)  # a snippet lasts a second
    rows = [f"{name},normal" for name in NORMAL] + [f"{name},abnormal" for name in ABNORMAL]
    Path("labels.csv").write_text("video,label\n" + "\n".join(rows) + "\n")
    return made


def remembering() -> PatchMemory:
    """n0 and n1, the patches."""
    rows = np.concatenate([video(name)["patch2x3"] for name in NORMAL[:2]])
    return fit_memory(lambda view: rows, {"patch2x3": 6}, np.repeat([0, 1], T))


def untrained(kind: str) -> Detector:
    torch.manual_seed(3)
    if kind == "memory":
        return remembering()
    if kind == "probe":
        return LinearProbe(F, VIEWS).eval()
    ssrl = SSRL(F, ["2x3"], crops=1, patches="max", evidence=kind == "evident").eval()
    if kind == "evident":
        ssrl.head.add_nothing()
        return ssrl
    return ssrl if kind == "ssrl" else Blend.of([ssrl, remembering()], {"ssrl": 0.5, "memory": 0.5})


def raw(model: Detector, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model.raw({view: torch.from_numpy(rows)[None] for view, rows in video(name).items()})[0]


def said(name: str, snippet: int, word: str, patch: Patch | None = None) -> Verdict:
    return Verdict(Moment(name, 16 * snippet + 5, None, patch), word)


def write_checkpoint(kind: str = "memory") -> tuple[Path, Checkpoint]:
    provenance = {"train_videos": [*NORMAL[:2], ABNORMAL[0]], "val_videos": []}
    checkpoint = Checkpoint.of(untrained(kind), THE_RECIPE, {}, provenance)
    save_checkpoint(Path("best.pt"), checkpoint)
    return Path("best.pt"), checkpoint


def write_adapted(*cameras: str) -> tuple[Path, Checkpoint]:
    """Adapted to cameras, or to gate and yard."""
    path, common = write_checkpoint()
    record = {"value": 0.5, "asked": 0.01, "unit": "frame", "split": "held-out footage"}
    record |= {"videos": 1, "share": 0.0}
    whole = common
    for camera in cameras or ("gate", "yard"):
        own = dataclasses.replace(common.at_level(0.1), provenance={**common.provenance, "threshold": record})
        footage = {**own.provenance, "adapted_to": [NORMAL[1]]}
        whole = whole.with_camera(camera, dataclasses.replace(own, provenance=footage))
    save_checkpoint(path, whole)
    return path, whole


def store_copy(store: FeatureStore, name: str, of: str = "n2.mp4") -> None:
    with store.writer(name) as writer:
        writer.append(video(of))
        writer.meta = made_up_meta(T, 16.0)


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


def test_of_an_ssrl_with_evidence_the_probe_learns(store: FeatureStore) -> None:
    before, model = untrained("evident"), untrained("evident")
    model.learn(moments(store, VIEWS, placed(store, [said("n2.mp4", 5, "normal")], print)))
    changed = {n for n, w in model.state_dict().items() if not torch.equal(w, before.state_dict()[n])}
    assert changed == {"probe.linear.weight"}
    learned = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learned == {name for name, weight in before.named_parameters() if weight.requires_grad}


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


def test_a_kind_without_anything_to_learn_says_so() -> None:
    assert ActionDetector.learn is Detector.learn
