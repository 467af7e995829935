"""A checkpoint against ground truth: the figures, what is written, and the command."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from sklearn.metrics import average_precision_score, roc_auc_score

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.disk.files import write_text
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.evaluate import FILES, EvaluationResult, evaluate_checkpoint, identity
from ssrl_pipeline.evaluation.metrics import FIGURES
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL

SNIPPETS = {"a0": 4, "a1": 6, "a2": 5, "n0": 3, "n1": 7, "train": 2}
LABELS = {video: Label(video[0] == "a", "train" if video == "train" else "test") for video in SNIPPETS}
INTERVALS = {"a0": [(16, 40)], "a1": [(0, 5), (50, 96)], "a2": [(0, 80)]}  # a2: throughout
CLASSES = {"a0": "Arson", "a1": "Fighting", "a2": "Fighting", "n0": "Normal"}


@pytest.fixture(scope="module")
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    return tiny_store(SNIPPETS)


@pytest.fixture(scope="module")
def checkpoint(store: FeatureStore) -> Checkpoint:
    """Untrained."""
    model = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.0}
    torch.manual_seed(0)
    weights = SSRL(**model).state_dict()
    return Checkpoint(weights, model, store.recipe, {}, {"stage": 2, "step": 50, "val_loss": 0.25})


@pytest.fixture(scope="module")
def result(checkpoint: Checkpoint, store: FeatureStore) -> EvaluationResult:
    device = torch.device("cpu")
    return evaluate_checkpoint(
        *(checkpoint, store, LABELS, INTERVALS, "test", device), classes=CLASSES, bootstrap=100, seed=3
    )


def test_figures_are_those_of_the_models_scores(
    result: EvaluationResult, checkpoint: Checkpoint, store: FeatureStore
) -> None:
    model = checkpoint.build()
    scores, truth = [], []
    for video in ("a0", "a1", "a2", "n0", "n1"):
        views = {name: torch.from_numpy(np.array(value))[None] for name, value in store.read(video).items()}
        with torch.no_grad():
            scores.append(model(views).scores[0].repeat_interleave(16).numpy())
        frames = np.arange(16 * SNIPPETS[video])
        truth.append(sum((s <= frames) & (frames < e) for s, e in INTERVALS.get(video, [(0, 0)])))
        np.testing.assert_allclose(result.scores[video], scores[-1], atol=1e-6)
        np.testing.assert_array_equal(result.truth[video], truth[-1])
    y, s = np.concatenate(truth), np.concatenate(scores)
    assert result.metrics.auc == pytest.approx(roc_auc_score(y, s))
    assert result.metrics.ap == pytest.approx(average_precision_score(y, s))
    fighting = [1, 2, 3, 4]
    y, s = (np.concatenate([values[i] for i in fighting]) for values in (truth, scores))
    assert result.classes["Fighting"].auc == pytest.approx(roc_auc_score(y, s))
    assert set(result.intervals) == set(FIGURES)
    assert np.isnan(result.class_intervals["Arson"].low)  # a single video
    assert result.class_intervals["Fighting"].low <= result.classes["Fighting"].auc


def test_false_alarms_are_counted_at_the_threshold_that_scoring_takes(
    checkpoint: Checkpoint, store: FeatureStore
) -> None:
    asked = {"asked": 0.01, "unit": "frame", "split": "validation videos"}
    gate = {"group": "gate", "hour": None, "value": 0.9, "enough": True}
    record = {"value": 0.3, **asked, "by": [gate]}
    calibrated = dataclasses.replace(checkpoint, provenance={"threshold": record})
    labels = {
        video: label._replace(group="gate" if video == "n0" else None) for video, label in LABELS.items()
    }

    def rate(threshold: float | None) -> float:
        arguments = (calibrated, store, labels, INTERVALS, "test", torch.device("cpu"))
        found = evaluate_checkpoint(*arguments, threshold=threshold)
        own = {"n0": threshold or 0.9, "n1": threshold or 0.3}
        alarming = [found.scores[video] >= value for video, value in own.items()]
        assert found.metrics.false_alarm_rate == pytest.approx(np.concatenate(alarming).mean())
        return found.metrics.threshold

    assert np.isnan(rate(None)) and rate(0.45) == 0.45


def test_what_is_not_asked_for_is_not_there(checkpoint: Checkpoint, store: FeatureStore) -> None:
    plain = evaluate_checkpoint(checkpoint, store, LABELS, INTERVALS, "test", torch.device("cpu"))
    assert (plain.classes, plain.intervals, plain.class_intervals, plain.resamples) == ({}, {}, {}, 0)
    assert plain.metrics.threshold == 0.5


def test_the_folder_has_everything(result: EvaluationResult, checkpoint: Checkpoint, tmp_path: Path) -> None:
    result.save(tmp_path / "out", Path("runs/a/best.pt"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["checkpoint"] == "runs/a/best.pt"
    progress = {"stage": 2, "step": 50, "val_loss": 0.25}
    judged = {**progress, "sha256": checkpoint.sha256, "cameras": {}}
    assert content["judged"] == {**judged, "thresholds": identity(checkpoint)["thresholds"]}
    for name in FIGURES:
        assert content[name] == getattr(result.metrics, name)
        assert content["intervals"][name] == list(result.intervals[name])
    assert content["classes"]["Arson"]["interval"] == [None, None]  # JSON knows no nan
    assert content["classes"]["Fighting"]["videos"] == 2
    saved = np.load(tmp_path / "out" / "scores.npz", allow_pickle=False)
    for key, values in (("scores", result.scores), ("truth", result.truth)):
        apart = np.split(saved[key], np.cumsum(saved["frames"])[:-1])
        for video, array in zip(saved["videos"].tolist(), apart, strict=True):
            np.testing.assert_array_equal(array, values[video])
            assert array.dtype == values[video].dtype


def test_a_folder_with_something_else_is_left_alone(result: EvaluationResult, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    result.save(folder, Path("best.pt"))
    result.save(folder, Path("best.pt"))  # an evaluation replaces an evaluation
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(PipelineError, match=r"mine: holds 'thesis.tex', which .* choose another --out"):
        result.save(folder, Path("best.pt"))
    assert len(list(folder.iterdir())) == len(FILES) + 1


@pytest.fixture
def command(
    checkpoint: Checkpoint, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """command("--json") -> Result of `evaluate`, in a folder with the run runs/first."""
    save_checkpoint(tmp_path / "runs" / "first" / "best.pt", checkpoint)
    write_text(tmp_path / "runs" / "first" / "metrics.jsonl", "")
    rows = [f"{v},{'abnormal' if label.abnormal else 'normal'},{label.split}" for v, label in LABELS.items()]
    write_text(tmp_path / "labels.csv", "\n".join(["video,label,split", *rows]))
    rows = [f"{video},{start},{end}" for video, pairs in INTERVALS.items() for start, end in pairs]
    write_text(tmp_path / "intervals.csv", "\n".join(["video,start,end", *rows]))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        common = ["evaluate", "--features", str(store.root), "--device", "cpu"]
        return CliRunner().invoke(cli, [*common, *arguments], catch_exceptions=False)

    return call


def test_the_command_shows_a_table_and_leaves_the_evaluation_in_the_run(
    command: Callable[..., Result], result: EvaluationResult
) -> None:
    done = command("--bootstrap", "50")
    first, header, _, *rows = done.stdout.splitlines()
    assert first == "runs/first/best.pt, test: 5 videos, 400 frames, 155 anomalous"
    assert header.split() == ["figure", "value", "95", "%", "interval"]
    assert len(rows) == len(FIGURES) + 1
    assert rows[-1].startswith("alarms a day, on ")
    auc = next(row for row in rows if row.startswith("ROC AUC, frames of all videos"))
    assert f"{result.metrics.auc:.4f}" in auc
    assert " to " in auc
    assert {path.name for path in Path("runs/first/evaluation-test").iterdir()} == set(FILES)
    assert "runs/first/evaluation-test" in done.stderr


def test_without_bootstrap_there_are_no_intervals(command: Callable[..., Result]) -> None:
    done = command("--bootstrap", "0", "--threshold", "0.25")
    assert "interval" not in done.stdout
    assert "score 0.25 or more" in done.stdout


def test_classes_of_a_known_dataset_have_rows(
    tiny_store: Callable[..., FeatureStore],
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fighting (B1) and riot (B4); the first video shows both.
    fight, riot, normal = "v1_label_B1-B4-0", "v2_label_B4-0-0", "v3_label_A"
    store = tiny_store({f"{video}.mp4": 3 for video in (fight, riot, normal)})
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    write_text(tmp_path / "annotations" / "annotations.txt", f"{fight} 3 20\n{riot} 5 48\n")
    write_text(tmp_path / "annotations" / "rgb.list", "v0_label_A.npy\n")
    write_text(tmp_path / "annotations" / "rgb_test.list", f"{fight}.npy\n{riot}.npy\n{normal}.npy\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--features", str(store.root), "--checkpoint", "best.pt", "--device", "cpu"]
    done = CliRunner().invoke(cli, ["evaluate", *arguments, "-o", "data.dataset=xd_violence"])
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if "against all normal videos" in line]
    assert [row.split()[2:4] for row in rows] == [["B1", "(1)"], ["B4", "(2)"]]


def test_features_of_another_length_than_the_annotations_are_named(
    tiny_store: Callable[..., FeatureStore],
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    abuse, normal = "Abuse028_x264.mp4", "Normal_Videos_003_x264.mp4"
    store = tiny_store({abuse: 5, normal: 3})
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    lines = f"{abuse} 48 Abuse 10 20 -1 -1\n{normal} 48 Normal -1 -1 -1 -1\n"
    write_text(tmp_path / "annotations" / "UCF_Annotation.txt", lines)
    write_text(tmp_path / "annotations" / "Anomaly_Train.txt", "Abuse/Abuse001_x264.mp4\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--features", str(store.root), "--checkpoint", "best.pt", "--device", "cpu"]
    done = CliRunner().invoke(cli, ["evaluate", *arguments, "-o", "data.dataset=ucf_crime"])
    assert done.exit_code == 0, done.output
    assert f"{abuse}: 5 snippets where 48 annotated frames make 3" in done.stderr
    assert "differ in length for 1 of 2 videos" in done.stderr
    assert normal not in done.stderr


def test_json_says_the_same_as_the_file(command: Callable[..., Result]) -> None:
    said = json.loads(command("--json", "--bootstrap", "20", "--out", "here").stdout)
    assert said == json.loads(Path("here/metrics.json").read_text())
    assert (said["videos"], said["anomalous_frames"], said["resamples"]) == (5, 155, 20)
    assert not Path("runs/first/evaluation-test").exists()


def test_a_checkpoint_outside_a_run_leaves_nothing(command: Callable[..., Result], tmp_path: Path) -> None:
    lone, stage = tmp_path / "best.pt", tmp_path / "runs" / "first" / "stage2.pt"
    for path in (lone, stage):
        path.write_bytes((tmp_path / "runs" / "first" / "best.pt").read_bytes())
        before = set(tmp_path.rglob("*"))
        assert command("--checkpoint", str(path), "--bootstrap", "0").exit_code == 0
        assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [("--threshold", "1.5"), ("--bootstrap", "-1"), ("--bootstrap", "many")]
)
def test_wrong_usage(command: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    assert command(*arguments).exit_code == 2
