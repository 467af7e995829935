"""Runs side by side: what is found of each, what differs, groups of seeds, and damage."""

import json
import math
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from click.testing import CliRunner

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.config import to_yaml
from ssrl_pipeline.disk.files import write_json, write_text
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.evaluate import evaluation_folder, identity
from ssrl_pipeline.evaluation.metrics import FIGURES
from ssrl_pipeline.evaluation.runs import Run, differing, find_runs, group_spreads
from ssrl_pipeline.training.run_folder import named_run

Make = Callable[..., Path]
ONES = {"w": torch.ones(3)}
OWN = {"threshold": {"value": 0.5}}  # of a camera


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make("name", lr=1e-3, seed=1, auc=0.8) -> the folder of a run below runs/."""

    def run(
        name: str,
        lr: float = 1e-3,
        seed: int = 0,
        val_loss: float | None = 0.5,
        step: int | None = 40,
        auc: float | None = None,
        finished: bool = True,
        **model: Any,
    ) -> Path:
        folder = tmp_path / "runs" / name
        settings = {"model": {"dropout": 0.5}, "train": {"seed": seed, "optimiser": {"lr": lr}}}
        write_text(folder / "config.yaml", to_yaml(settings))
        lines = [
            {"stage": 1, "step": 10, "loss": 2.0, "val_loss": 0.1, "best": True},
            {"stage": 2, "step": step, "loss": 1.0, "val_loss": val_loss, "best": True},
            {"stage": 2, "step": (step or 0) + 10, "loss": 1.0, "val_loss": 0.9, "best": False},
        ]
        write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        (folder / "last.pt").write_bytes(b"state")
        judged = {"stage": 2, "step": step, "val_loss": val_loss}
        if finished:
            provenance = {**judged, "train_videos": ["a"]}
            checkpoint = Checkpoint({"w": torch.zeros(3)}, {"crops": 1, **model}, {}, settings, provenance)
            save_checkpoint(folder / "best.pt", checkpoint)
        if auc is not None:
            figures = dict.fromkeys(FIGURES, 0.5) | {"auc": auc, "abnormal_auc": None}
            write_json(folder / "evaluation-test" / "metrics.json", {"judged": judged, **figures})
        return folder

    return run


def only(runs: list[Run], name: str) -> Run:
    (run,) = [run for run in runs if run.name == name]
    return run


def test_what_is_known_of_each_run(make: Make, tmp_path: Path) -> None:
    make("done", auc=0.75, val_loss=0.25, seed=7)
    make("memory", kind="memory", val_loss=None)
    make("stopped", finished=False, step=30, seed=2)
    (tmp_path / "runs" / ".first.part").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "readme.txt").write_text("mine")
    runs = find_runs(tmp_path / "runs")
    assert [run.name for run in runs] == ["done", "memory", "stopped"]
    done, memory, stopped = runs
    assert (done.state, done.kind, done.stage, done.step, done.val_loss) == ("finished", "ssrl", 2, 40, 0.25)
    assert (done.seed, done.group, done.notes) == (7, None, ())
    assert done.evaluations["test"]["auc"] == 0.75
    assert "abnormal_auc" not in done.evaluations["test"]  # not defined there
    assert (memory.kind, memory.val_loss, memory.evaluations) == ("memory", None, {})
    # The best of the last stage, though stage 1 had a lower loss.
    assert (stopped.state, stopped.stage, stopped.step, stopped.val_loss) == ("unfinished", 2, 30, 0.5)
    assert (stopped.seed, stopped.settings["train.optimiser.lr"]) == (2, 1e-3)


def test_a_run_that_was_stopped_before_its_first_evaluation(make: Make, tmp_path: Path) -> None:
    folder = make("new", finished=False)
    (folder / "metrics.jsonl").unlink()
    (folder / "last.pt").unlink()
    (run,) = find_runs(tmp_path / "runs")
    assert (run.state, run.kind, run.stage, run.step, run.val_loss) == (
        "unfinished",
        "ssrl",
        None,
        None,
        None,
    )


def test_only_settings_that_differ(make: Make, tmp_path: Path) -> None:
    make("a", lr=1e-3, seed=0)
    make("b", lr=1e-4, seed=1)
    broken = make("c")
    (broken / "best.pt").write_bytes(b"")
    runs = find_runs(tmp_path / "runs")
    assert differing(runs) == ["train.optimiser.lr"]  # the seed has a column of its own
    assert differing(runs[:1]) == []


def test_a_setting_that_an_older_run_lacks_counts_as_its_default(make: Make, tmp_path: Path) -> None:
    old, new = make("old", finished=False), make("new", finished=False)
    text = (old / "config.yaml").read_text()
    write_text(new / "config.yaml", text.replace("dropout: 0.5", "dropout: 0.5\n  standardise: true"))
    assert differing(find_runs(tmp_path / "runs")) == []
    write_text(new / "config.yaml", text.replace("dropout: 0.5", "dropout: 0.5\n  standardise: false"))
    assert differing(find_runs(tmp_path / "runs")) == ["model.standardise"]


def test_groups_have_mean_and_deviation_over_finished_runs(make: Make, tmp_path: Path) -> None:
    for seed, auc in ((0, 0.8), (2, 0.7), (10, 0.9)):
        make(f"many/seed{seed}", seed=seed, val_loss=auc / 2, auc=auc)
    make("many/seed11", finished=False, val_loss=100.0)
    make("single/seed0", auc=0.6)
    runs = find_runs(tmp_path / "runs")
    names = [run.name for run in runs]
    assert names == ["many/seed0", "many/seed2", "many/seed10", "many/seed11", "single/seed0"]
    spreads = group_spreads(runs)
    assert spreads["many"]["test.auc"] == pytest.approx((0.8, 0.1, 3))  # divided by n - 1
    assert spreads["many"]["val_loss"] == pytest.approx((0.4, 0.05, 3))
    assert spreads["single"]["test.auc"].mean == 0.6
    assert math.isnan(spreads["single"]["test.auc"].deviation)


@pytest.mark.parametrize(
    ("file", "content", "mentions"),
    [
        ("best.pt", b"no checkpoint", "best.pt: damaged"),
        ("best.pt", b"", "best.pt: damaged"),
        ("config.yaml", b"train: [", "config.yaml: damaged"),
        ("config.yaml", b"- a\n- list", "config.yaml: damaged"),
        ("config.yaml", b"train: 5", "config.yaml: damaged"),
        ("config.yaml", None, "config.yaml: missing"),
        ("metrics.jsonl", b'{"stage": 1, "st', "metrics.jsonl: damaged"),
        ("metrics.jsonl", b"5\n", "metrics.jsonl: damaged"),
        ("metrics.jsonl", b"\xff\xfe", "metrics.jsonl: damaged"),
    ],
)
def test_a_damaged_run_is_listed_with_the_reason(
    make: Make, tmp_path: Path, file: str, content: bytes | None, mentions: str
) -> None:
    make("good")
    folder = make("bad", finished=file == "best.pt")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    runs = find_runs(tmp_path / "runs")
    bad = only(runs, "bad")
    assert bad.state == "damaged"
    assert str(folder) in bad.notes[0]
    assert mentions in bad.notes[0]
    assert only(runs, "good").state == "finished"


@pytest.mark.parametrize("part", ["model", "settings", "provenance"])
def test_a_checkpoint_of_odd_content_is_damaged(make: Make, tmp_path: Path, part: str) -> None:
    parts = {"weights": {}, "model": {}, "recipe": {}, "settings": {}, "provenance": {}} | {part: ["odd"]}
    save_checkpoint(make("a") / "best.pt", Checkpoint(**parts))
    (run,) = find_runs(tmp_path / "runs")
    assert run.state == "damaged"
    assert "best.pt: damaged" in run.notes[0]


def test_an_evaluation_of_before_a_figure_was_there_is_read(make: Make, tmp_path: Path) -> None:
    path = make("a", auc=0.8) / "evaluation-test" / "metrics.json"
    content = json.loads(path.read_text())
    del content[FIGURES[1]]
    write_json(path, content)
    (run,) = find_runs(tmp_path / "runs")
    assert run.notes == () and run.evaluations["test"]["auc"] == 0.8
    assert FIGURES[1] not in run.evaluations["test"]


def test_damaged_and_outdated_evaluations_are_said(make: Make, tmp_path: Path) -> None:
    folder = make("a", auc=0.8)
    write_text(folder / "evaluation-val" / "metrics.json", "{")
    write_json(folder / "evaluation-train" / "metrics.json", {"auc": 0.5})
    (run,) = find_runs(tmp_path / "runs")
    assert (run.state, list(run.evaluations)) == ("finished", ["test"])
    assert [note.split(": ")[1].split()[0] for note in run.notes] == ["damaged", "damaged"]
    evaluation = (folder / "evaluation-test" / "metrics.json").read_text()
    shutil.rmtree(folder)
    make("a", step=60)
    write_text(folder / "evaluation-test" / "metrics.json", evaluation)
    (run,) = find_runs(tmp_path / "runs")
    assert run.evaluations == {}
    assert "of another checkpoint" in run.notes[0]


def test_an_evaluation_of_other_weights_is_outdated_whatever_the_kind(make: Make, tmp_path: Path) -> None:
    folder = make("a", auc=0.8, kind="memory", step=None, val_loss=None)
    path = folder / "evaluation-test" / "metrics.json"
    content = json.loads(path.read_text())
    assert find_runs(tmp_path / "runs")[0].evaluations  # as versions before judged it
    checkpoint = load_checkpoint(folder / "best.pt")
    write_json(path, {**content, "judged": identity(checkpoint)})
    assert find_runs(tmp_path / "runs")[0].evaluations
    for changed in (
        replace(checkpoint, weights=ONES),
        checkpoint.with_camera("gate", replace(checkpoint, weights=ONES, provenance=OWN)),
    ):
        save_checkpoint(folder / "best.pt", changed)
        (run,) = find_runs(tmp_path / "runs")
        assert run.evaluations == {} and "of another checkpoint" in run.notes[0]


def test_false_alarms_of_another_threshold_are_left_out(make: Make, tmp_path: Path) -> None:
    folder = make("a", auc=0.8)
    path, common = folder / "evaluation-test" / "metrics.json", load_checkpoint(folder / "best.pt")

    def at(threshold: float, of_gate: float | None = None) -> Checkpoint:
        own = {**common.provenance, "threshold": {"value": threshold}}
        one = replace(common, provenance=own)
        return one if of_gate is None else one.with_camera("gate", replace(at(of_gate), weights=ONES))

    for judged, now in ((common, at(0.7)), (at(0.5), at(0.7)), (at(0.5, 0.6), at(0.5, 0.7))):
        write_json(path, {**json.loads(path.read_text()), "judged": identity(judged)})
        save_checkpoint(folder / "best.pt", judged)
        (run,) = find_runs(tmp_path / "runs")
        assert run.evaluations["test"]["false_alarm_rate"] == 0.5 and run.notes == ()
        save_checkpoint(folder / "best.pt", now)
        (run,) = find_runs(tmp_path / "runs")
        assert run.evaluations["test"]["auc"] == 0.8 and "false_alarm_rate" not in run.evaluations["test"]
        assert "its false alarms are of a threshold before" in run.notes[0]


def test_folders_without_runs(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="nowhere: no such folder"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(PipelineError, match="holds no runs; train one"):
        find_runs(tmp_path)


def test_where_an_evaluation_belongs(make: Make, tmp_path: Path) -> None:
    folder = make("group/seed1")
    assert evaluation_folder(folder / "best.pt", "val") == folder / "evaluation-val"
    assert evaluation_folder(folder / "stage1.pt", "val") is None
    assert evaluation_folder(tmp_path / "best.pt", "val") is None


def test_the_table(make: Make, tmp_path: Path) -> None:
    make("plain", lr=0.25, val_loss=None)
    make("seeds/seed0", auc=0.8, val_loss=0.2)
    make("seeds/seed1", auc=0.6, val_loss=0.4, seed=1)
    (make("worse") / "best.pt").write_bytes(b"")
    done = CliRunner().invoke(cli, ["runs", str(tmp_path / "runs")], catch_exceptions=False)
    header, _, plain, seed0, seed1, mean, worse, note = done.stdout.splitlines()
    assert header.split("  ")[0] == "run"
    assert "train.optimiser.lr" in header and "model.dropout" not in header
    assert plain.split() == ["plain", "ssrl", "finished", "2", "40", "0", "0.25", "-", "-", "-", "-"]
    assert seed0.split()[-4:] == ["0.2000", "0.8000", "0.5000", "-"]
    assert seed1.split()[:6] == ["seeds/seed1", "ssrl", "finished", "2", "40", "1"]
    assert mean.startswith("seeds: mean ± deviation ")
    assert "0.3000 ± 0.1414" in mean and "0.7000 ± 0.1414" in mean and "0.5000 ± 0.0000" in mean
    assert worse.split()[:3] == ["worse", "-", "damaged"]
    assert note.startswith("worse: ") and "best.pt: damaged" in note


def test_json(make: Make, tmp_path: Path) -> None:
    make("seeds/seed0", auc=0.75)
    make("other", lr=0.25)
    done = CliRunner().invoke(cli, ["runs", str(tmp_path / "runs"), "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert [run["name"] for run in said["runs"]] == ["other", "seeds/seed0"]
    assert said["runs"][1]["evaluations"]["test"]["auc"] == 0.75
    assert said["differing"] == ["train.optimiser.lr"]
    assert said["groups"]["seeds"]["test.auc"] == {"mean": 0.75, "deviation": None, "runs": 1}


def test_runs_of_one_moment_have_names_of_their_own(tmp_path: Path) -> None:
    """Many at once, each of which looks at the same clock."""
    together = threading.Barrier(8)

    def begin(number: int) -> str:
        together.wait()
        with named_run(tmp_path / "runs", None) as name:
            (tmp_path / "runs" / name / "best.pt").write_text(str(number))
            return name

    with (
        mock.patch("ssrl_pipeline.training.run_folder.time.strftime", return_value="20260102-030405"),
        ThreadPoolExecutor(8) as pool,
    ):
        names = list(pool.map(begin, range(8)))
    assert sorted(names) == ["20260102-030405", *(f"20260102-030405-{number}" for number in range(2, 9))]
    for number, name in enumerate(names):
        assert (tmp_path / "runs" / name / "best.pt").read_text() == str(number)


def test_a_run_that_leaves_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PipelineError), named_run(tmp_path, None) as name:
        assert (tmp_path / name).is_dir() and re.fullmatch(r"\d{8}-\d{6}", name)
        raise PipelineError
    assert list(tmp_path.iterdir()) == []
    with named_run(tmp_path, "mine") as name:
        assert name == "mine" and list(tmp_path.iterdir()) == []
