"""The published way in: four scripts, a stage each, on a tiny made-up set."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import META, RECIPE

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.ssrl import train_ssrl

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
VIEWS = {"clip": 2, "patch2x3": 6, "patch3x5": 15, "patch4x7": 28}
F, T = 8, 4
LABELS = {f"{split}{i}.mp4": Label(bool(i % 2), split) for split in ("train", "val") for i in range(8)}
SHORT = ("train.steps=3", "train.evaluate_every=1", "train.segments=4")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Labels]:
    """Features of four views, and labels.csv beside them."""
    folder, rng = tmp_path_factory.mktemp("set"), np.random.default_rng(0)
    recipe = {**RECIPE, "feature_size": F, "views": VIEWS, "geometry": dict.fromkeys(VIEWS, "made up")}
    store = create_store(folder / "features", recipe, "float32")
    for video, label in LABELS.items():
        with store.writer(video) as writer:
            writer.append({v: rng.random((T, n, F)) + label.abnormal for v, n in VIEWS.items()})
            writer.meta = dataclasses.replace(META, frames=16 * T, snippets=T)
    rows = [f"{v},{'abnormal' if label.abnormal else 'normal'},{label.split}" for v, label in LABELS.items()]
    (folder / "labels.csv").write_text("\n".join(["video,label,split", *rows]))
    return store, LABELS


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / f"{name}.pt").weights


def is_within(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether all of the first is in the second, to the last bit."""
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "scripts"), [(1, (1, 3)), (2, (4,))])
def test_each_stage_goes_on_from_the_best_of_the_one_before(
    processes: int, scripts: tuple[int, ...], made_up: tuple[FeatureStore, Labels], tmp_path: Path
) -> None:
    """One that is missing is trained first."""
    root = made_up[0].root
    options = ["--features", str(root), "--labels", str(root.with_name("labels.csv")), "--device", "cpu"]
    options += [word for setting in SHORT for word in ("-o", setting)]
    own = {"PROCESSES": str(processes), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    run = tmp_path / "runs" / "ssrl"
    for stage in scripts:
        command = ["sh", str(SCRIPTS / f"train_ssrl_stage{stage}.sh"), *options]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert sorted(path.stem for path in run.glob("stage*.pt")) == [
            f"stage{n}" for n in range(1, stage + 1)
        ]
        assert len((run / "metrics.jsonl").read_text().splitlines()) == 3 * stage  # none was trained twice
        best = weights(run, "best")
        assert is_within(weights(run, f"stage{stage}"), best)
        if stage > 1:
            before = weights(run, f"stage{stage - 1}")
            assert is_within(before, best) and len(before) < len(best)
    trained = load_checkpoint(run / "best.pt")
    assert trained.model["scales"] == ["2x3", "3x5", "4x7"][: stage - 1]
    assert trained.settings["train"]["batch_size"] == 4 * processes  # as published, of either kind
    reference = load_config(Settings, "reference", (), {}).train
    assert trained.settings["train"]["optimiser"]["lr"] == reference.optimiser.lr
    assert trained.settings["train"]["freeze"] == "stage"


def test_the_scripts_differ_by_their_stage_alone() -> None:
    for stage in (1, 2, 3, 4):
        *_, last = (SCRIPTS / f"train_ssrl_stage{stage}.sh").read_text().splitlines()
        assert last == f'exec sh "$(dirname "$0")/train_ssrl.sh" {stage} "$@"'


def trained(made_up: tuple[FeatureStore, Labels], run: Path, last_stage: int | None) -> None:
    settings = load_config(Settings, "reference", SHORT, {"train.last_stage": last_stage})
    train_ssrl(*made_up, run, settings.model, settings.train, Group(torch.device("cpu")))


def test_stage_by_stage_ends_as_all_in_one(made_up: tuple[FeatureStore, Labels], tmp_path: Path) -> None:
    for last_stage in (1, 1, 3, 2, 4):  # a stage again, and one that is long done, change nothing
        trained(made_up, tmp_path / "one by one", last_stage)
    trained(made_up, tmp_path / "whole", None)
    for name in ("stage1", "stage2", "stage3", "stage4", "best"):
        a, b = (weights(tmp_path / run, name) for run in ("one by one", "whole"))
        assert a.keys() == b.keys() and is_within(a, b)
    for name in ("config.yaml", "metrics.jsonl"):
        a, b = ((tmp_path / run / name).read_text() for run in ("one by one", "whole"))
        assert a == b


def test_a_stage_that_does_not_exist_is_refused(made_up: tuple[FeatureStore, Labels], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no stage 5; with 2x3 and 3x5 and 4x7 patches the last one is 4"
    ):
        trained(made_up, tmp_path / "run", 5)
    with pytest.raises(ConfigError, match=r"last_stage is 1 or more, not 0"):
        trained(made_up, tmp_path / "run", 0)


def test_a_last_stage_asks_for_stages() -> None:
    with pytest.raises(ConfigError, match=r"last_stage is for schedule=staged"):
        load_config(Settings, None, ("train.last_stage=2",), {})
