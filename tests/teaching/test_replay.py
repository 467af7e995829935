"""What would have alarmed: from stored features and from results, and the page that shows it."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Result
from helpers.stores import RECIPE, made_up_meta
from PIL import Image

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.events import ChosenRule, EventRule
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.models import fit_memory
from ssrl_pipeline.results.video_scores import VideoScores
from ssrl_pipeline.scoring.stored import score_snippets
from ssrl_pipeline.teaching.masks import hidden_by, masked
from ssrl_pipeline.teaching.replay import parse_since
from ssrl_pipeline.teaching.verdicts import Moment, Patch, Verdict, add_verdict

F, T = 4, 24


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(T, 6, F)).astype(np.float32)


@pytest.fixture
def checkpoint() -> Path:
    """A memory of noise, and a store of two days: something strange in patch 2, then stranger in patch 5."""
    rows = np.concatenate([noise(0), noise(1)])
    model = fit_memory(lambda view: rows, {"patch2x3": 6}, np.repeat([0, 1], T))
    recipe = {**RECIPE, "views": {"patch2x3": 6}}
    save_checkpoint(Path("best.pt"), Checkpoint.of(model, recipe, {}, {}))
    store = create_store("features", recipe, "float32")
    for name, modified in (("old.mp4", 0), ("new.mp4", time.time_ns())):
        features = noise(2)
        features[4:7, 2] += 4
        features[14:18, 5] += 40
        with store.writer(name) as writer:
            writer.append({"patch2x3": features})
            meta = made_up_meta(T, 16.0)
            writer.meta = type(meta)(**{**vars(meta), "source_mtime_ns": modified})
    return Path("best.pt")


def played(result: Result) -> dict[str, object]:
    assert result.code == 0, result.err
    summary: dict[str, object] = json.loads(result.out)
    return summary


def test_a_higher_threshold_on_stored_features(checkpoint: Path, run: Callable[..., Result]) -> None:
    add_verdict(Path("feedback.csv"), Verdict(Moment("new.mp4", 16 * 5, None), "normal"))
    add_verdict(Path("feedback.csv"), Verdict(Moment("new.mp4", None, 15.0), "abnormal"))
    add_verdict(Path("feedback.csv"), Verdict(Moment("gate/old.mp4", 16 * 5, None), "abnormal"))
    options = ("--now-checkpoint", checkpoint, "--now-threshold", 0.5, "--json")
    found = played(run("replay", *options, "--threshold", 0.99))
    assert found["alarms"] == [4, 2]
    assert [(one["video"], one["start"], one["end"]) for one in found["gone"]] == [  # type: ignore[attr-defined]
        ("new.mp4", 64, 112),
        ("old.mp4", 64, 112),
    ]
    assert found["come"] == []
    assert found["verdicts"] == {"kept": 1, "lost": 1, "won": 1, "wrong": 0}
    shown = run("replay", *options[:-1], "--threshold", 0.99).out
    assert re.search(r"right, of 3 verdicts +2 +2 \(1 lost, 1 won\)", shown)
    back = played(
        run("replay", "--now-checkpoint", checkpoint, "--now-threshold", 0.99, "--threshold", 0.5, "--json")
    )
    assert (len(back["gone"]), len(back["come"])) == (0, 2)  # type: ignore[arg-type]
    recent = played(run("replay", *options, "--threshold", 0.99, "--since", "1h"))
    assert (recent["videos"], recent["alarms"]) == (1, [2, 1])


def test_a_masked_patch_does_not_count(checkpoint: Path, run: Callable[..., Result]) -> None:
    """Scores are those of features in which nothing ever happened there, as `watch` has them."""
    options = ("--now-checkpoint", checkpoint, "--since", "1h", "--json")
    found = played(run("replay", *options, "--mask", "2x3:5"))
    assert found["alarms"] == [2, 1]
    assert [one["start"] for one in found["gone"]] == [14 * 16]  # type: ignore[attr-defined]
    assert played(run("replay", *options, "--mask", "2x3:0"))["alarms"] == [2, 2]
    halves = ("--mask", "4x3:8", "--mask", "4x3:11")
    finer = played(run("replay", *options, *halves))
    assert finer["gone"] == found["gone"]
    model = load_checkpoint(checkpoint).build()
    strange, quiet = noise(2), noise(2)
    strange[:, 5] = 40 * noise(3)[:, 5]
    hidden, device = hidden_by([Patch("2x3", 5)], model.views), torch.device("cpu")
    scores = [score_snippets("", model, {"patch2x3": rows}, device, hidden) for rows in (strange, quiet)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("masks", "mentions"),
    [
        (["8x12:0"], "covers half of no patch that the detector looks at (patch2x3)"),
        (["1x2:0", "1x2:1"], "leaves nothing of patch2x3"),
    ],
)
def test_masks_that_cannot_be_meant(
    checkpoint: Path, run: Callable[..., Result], masks: list[str], mentions: str
) -> None:
    refused = run("replay", "--now-checkpoint", checkpoint, *(f"--mask={mask}" for mask in masks))
    assert refused.code == 2 and mentions in refused.err


def test_masking_by_heat() -> None:
    scores = np.array([0.9, 0.9, 0.2], np.float32)
    odds = float(np.log(9.0))
    heat = {"2x3": np.zeros((3, 6), np.float32), "1x1": np.full((3, 1), 0.0, np.float32)}
    heat["2x3"][0, 4], heat["2x3"][1, 0] = odds, 5.0
    np.testing.assert_allclose(masked(scores, heat, [Patch("2x3", 4)]), [0.5, 0.9, 0.2], rtol=1e-6)


def scored(name: str, scores: list[float], threshold: float = 0.5, fps: float = 16.0) -> None:
    rule = ChosenRule(EventRule(threshold=threshold, shortest=0.0, gap=0.0), "a test")
    values = np.array(scores, np.float32)
    made = VideoScores(
        **{"video": Path(name), "scores": values.repeat(16), "snippet_scores": values, "fps": fps},
        **{"width": 64, "height": 48, "decoder": "none", "checkpoint": Path("best.pt"), "recipe": {}},
        chosen=rule,
    )
    made.save(Path("scores", name), contact_sheet=False)


def test_results_of_score_and_the_page(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    scored("<b>.mp4", [0.1, 0.6, 0.1, 0.1, 0.9, 0.1])
    scored("b.mp4", [0.1, 0.4, 0.1])
    Path("videos").mkdir()
    Path("videos", "<b>.mp4").touch()
    monkeypatch.setattr(
        "ssrl_pipeline.teaching.replay_page.read_pictures",
        lambda path, frames, fps: {frame: Image.new("RGB", (8, 6)) for frame in frames},
    )
    options = ("--scores", "scores", "-o", "events.gap=0", "-o", "events.shortest=0")
    done = run("replay", *options, "--threshold", 0.7, "--page", "page.html")
    assert done.code == 0, done.err
    assert "alarms that go: 1" in done.out and "0:00:01" in done.out
    page = Path("page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;.mp4" in page and "<b>.mp4" not in page
    assert page.count("data:image/jpeg;base64,") == 1
    lower = run("replay", *options, "--threshold", 0.3, "--json")
    assert [one["video"] for one in played(lower)["come"]] == ["b.mp4"]  # type: ignore[attr-defined]


def test_what_alarms_now_is_what_the_results_say(run: Callable[..., Result]) -> None:
    """Each by the rule that made it, of which only what is said is changed."""
    scored("a.mp4", [0.1, 0.95, 0.1, 0.95, 0.1, 0.65, 0.1], threshold=0.9)
    options = ("--scores", "scores", "--threshold", 0.6)
    found = played(run("replay", *options, "--json"))
    assert (found["thresholds"], found["threshold_ranges"]) == ([0.9, 0.6], [[0.9, 0.9], [0.6, 0.6]])
    assert found["alarms"] == [2, 3]
    assert played(run("replay", *options, "-o", "events.gap=2.0", "--json"))["alarms"] == [1, 1]
    scored("b.mp4", [0.1, 0.55, 0.1], threshold=0.5)
    found = played(run("replay", *options, "--json"))
    assert (found["thresholds"], found["threshold_ranges"]) == ([None, 0.6], [[0.5, 0.9], [0.6, 0.6]])
    assert found["alarms"] == [3, 3]
    done = run("replay", *options, "--page", "page.html")
    assert ["threshold", "0.5", "to", "0.9", "0.6"] in [line.split() for line in done.out.splitlines()]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<td>threshold</td><td>0.5 to 0.9</td><td>0.6</td>" in page


def test_the_thresholds_of_cameras_are_told(checkpoint: Path, run: Callable[..., Result]) -> None:
    made = load_checkpoint(checkpoint)
    gate = {"group": "gate", "hour": None, "enough": True, "value": 0.99}
    record = {"value": 0.5, "asked": 0.01, "unit": "frame", "split": "val", "by": [gate]}
    save_checkpoint(Path("best.pt"), Checkpoint.of(made.build(), made.recipe, {}, {"threshold": record}))
    Path("labels.csv").write_text("video,label,group\nnew.mp4,normal,gate\nold.mp4,normal,\n")
    found = played(run("replay", "--now-checkpoint", "best.pt", "--threshold", 0.99, "--json"))
    assert (found["thresholds"], found["threshold_ranges"]) == ([None, 0.99], [[0.5, 0.99], [0.99, 0.99]])
    assert found["alarms"] == [3, 2]


def test_of_a_verdict_at_a_time_nothing_is_said_where_times_are_unknown(run: Callable[..., Result]) -> None:
    scored("a.mp4", [0.1, 0.95, 0.1], fps=0.0)
    add_verdict(Path("feedback.csv"), Verdict(Moment("a.mp4", None, 1.5), "abnormal"))
    add_verdict(Path("feedback.csv"), Verdict(Moment("a.mp4", 20, None), "abnormal"))
    found = played(run("replay", "--scores", "scores", "--threshold", 0.99, "--json"))
    assert found["verdicts"] == {"kept": 0, "lost": 1, "won": 0, "wrong": 0}


def test_a_damaged_result_is_told_and_the_others_are_played(run: Callable[..., Result]) -> None:
    scored("a.mp4", [0.1, 0.95, 0.1])
    scored("b.mp4", [0.1, 0.95, 0.1])
    Path("scores/a.mp4/scores.npz").write_bytes(b"torn")
    done = run("replay", "--scores", "scores", "--threshold", 0.99, "--json")
    assert done.code == 1 and "no whole result of `score`" in done.err and "1 of 2 videos failed" in done.err
    found = json.loads(done.out)
    assert (found["videos"], found["failed"], found["alarms"]) == (1, ["a.mp4"], [1, 0])
    nowhere = run("replay", "--scores", "nowhere", "--threshold", 0.9)
    assert nowhere.code == 1 and "nowhere: no folder of results" in nowhere.err


def test_verdicts_on_another_cameras_video_do_not_count(run: Callable[..., Result]) -> None:
    scored("gate/b.mp4", [0.1, 0.6, 0.1])
    for name in ("yard/b.mp4", "events/gate/b.mp4"):
        add_verdict(Path("feedback.csv"), Verdict(Moment(name, 20, None), "normal"))
    found = played(run("replay", "--scores", "scores", "--threshold", 0.7, "--json"))
    assert found["verdicts"] == {"kept": 0, "lost": 0, "won": 1, "wrong": 0}


def test_events_go_out_as_predictions(run: Callable[..., Result]) -> None:
    scored("gate/b.mp4", [0.1, 0.6, 0.1, 0.1, 0.9, 0.1])
    done = run("labels", "export", "--to", "label-studio", "--events", "scores", "--out", "tasks.json")
    assert done.code == 0, done.err
    (task,) = json.loads(Path("tasks.json").read_text())
    assert task["data"] == {"video": "gate/b.mp4", "fps": 16.0} and task["annotations"] == []
    (guess,) = task["predictions"]
    assert [one["value"]["ranges"] for one in guess["result"]] == [
        [{"start": 17, "end": 32}],
        [{"start": 65, "end": 80}],
    ]
    assert [round(one["score"], 6) for one in guess["result"]] == [0.6, 0.9]


@pytest.mark.parametrize(
    ("arguments", "code", "mentions"),
    [
        (("--now-checkpoint", "best.pt"), 2, "nothing is changed"),
        (("--now-checkpoint", "best.pt", "--threshold", "0.9", "--since", "soon"), 2, "say 24h"),
        (("--scores", "scores", "--checkpoint", "best.pt"), 2, "leave --checkpoint out"),
        (
            ("--now-checkpoint", "best.pt", "--threshold", "0.9", "--since", "2999-01-01"),
            1,
            "no videos to replay",
        ),
        (("--now-checkpoint", "no.pt", "--threshold", "0.9"), 1, "no.pt"),
    ],
)
def test_mistakes_are_told(
    checkpoint: Path, run: Callable[..., Result], arguments: tuple[str, ...], code: int, mentions: str
) -> None:
    done = run("replay", *arguments)
    assert (done.code, mentions in done.err) == (code, True), done.err


def test_since_as_people_say_it() -> None:
    assert parse_since("24h", 100_000.0) == 13_600.0
    assert parse_since("30 min", 2000.0) == 200.0
    assert parse_since("1970-01-02T00:00+00:00") == 86_400.0
    with pytest.raises(ConfigError, match="24h"):
        parse_since("yesterday")
