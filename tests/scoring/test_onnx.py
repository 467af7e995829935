"""ONNX files: the same scores as PyTorch at every length, and nothing written where they are not."""

import builtins
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.disks import refused
from helpers.folders import contents
from torch import nn

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.errors import CheckpointError, PipelineError
from ssrl_pipeline.models import build_model
from ssrl_pipeline.scoring import onnx as onnx_export
from ssrl_pipeline.scoring.onnx import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RECIPE = {"preset": "live", "feature_size": 16, "views": {"clip": 2, "patch2x3": 6}}
VIEWS = {"ssrl": {"clip": [2, 16]}, "fused": {"clip": [2, 16], "patch2x3": [6, 16]}}
CROPS = {"feature_size": 16, "scales": [], "crops": 2, "dropout": 0.7}
PATCHES = {**CROPS, "scales": ["2x3"]}
MEMORY = {"feature_size": 16, "views": {"patch2x3": 6}, "size": 9}
KINDS = {"ssrl": CROPS, "fused": {"kind": "fused", "ssrl": PATCHES, "memory": MEMORY, "weight": 0.6}}
Exported = tuple[str, Path, Path]


def save_model(path: Path, arguments: dict) -> Path:
    """A checkpoint with random statistics in all batch norms and scalings, and a non-local block at work."""
    torch.manual_seed(0)
    model = build_model(**arguments)
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_var", "norm.weight", "_deviation")):
            tensor.uniform_(0.5, 3)
        elif name.endswith(("running_mean", "norm.bias", "_mean")):
            tensor.normal_(std=0.5)
        elif name.endswith(("normal", "head.6.weight")):
            tensor.normal_()
    save_checkpoint(path, Checkpoint(model.state_dict(), arguments, RECIPE, {}, {}))
    return path


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Each kind, with its checkpoint and ONNX file; both together hold the memory, too."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = save_model(folder / "best.pt", KINDS[request.param])
    assert export_onnx(checkpoint, folder / "model.onnx").difference < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.pt",
        "model.onnx",
    ]  # no second file of weights
    return request.param, checkpoint, folder / "model.onnx"


def test_scores_are_those_of_the_model_at_lengths_that_were_not_checked(exported: Exported) -> None:
    """Around 2, the non-local block's inner channels, where its order of products changes, and far beyond."""
    kind, checkpoint, file = exported
    model = onnx_export.load_checkpoint(checkpoint).build()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert {entry.name: entry.shape[2:] for entry in session.get_inputs()} == VIEWS[kind]
    for videos, snippets in ((1, 2), (1, 3), (2, 1), (4, 12), (1, 501)):
        torch.manual_seed(snippets)
        views = {name: torch.randn(videos, snippets, count, 16) for name, count in model.views.items()}
        (scores,) = session.run(["scores"], {name: view.numpy() for name, view in views.items()})
        with torch.no_grad():
            expected = model(views).scores.numpy()
        assert scores.shape == (videos, snippets) and expected.std() > 1e-3
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_the_file_tells_where_it_came_from(exported: Exported) -> None:
    kind, checkpoint, file = exported
    graph = onnx.load(file)
    onnx.checker.check_model(graph)
    notes = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(notes["recipe"]) == RECIPE
    assert json.loads(notes["model"]) == {"kind": kind, **KINDS[kind]}
    assert notes["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert notes["ssrl_pipeline"]
    assert b".py" not in file.read_bytes()  # no paths of the machine that wrote it


def test_a_graph_that_scores_otherwise_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, checkpoint, file = exported
    graph = onnx.load(file)
    bias = next(t for t in graph.graph.initializer if t.name.endswith("head.6.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 2e-3, bias.name))
    monkeypatch.setattr(onnx_export, "to_onnx", lambda model: graph)
    with pytest.raises(PipelineError, match=r"model.onnx: not written.*e-04 from PyTorch's .*at most 1e-04"):
        export_onnx(checkpoint, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_leaves_the_file_that_was_there(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, checkpoint, file = exported
    graph = onnx.load(file)
    monkeypatch.setattr(onnx_export, "to_onnx", lambda model: graph)
    (tmp_path / "model.onnx").write_bytes(b"before")
    refused(tmp_path / "model.onnx", 1000, lambda: export_onnx(checkpoint, tmp_path / "model.onnx"))
    assert contents(tmp_path) == {"model.onnx": b"before"}


def test_no_number_is_a_difference(exported: Exported) -> None:
    _, checkpoint, file = exported
    model = onnx_export.load_checkpoint(checkpoint).build()
    nn.init.constant_(next(p for n, p in model.named_parameters() if n.endswith("head.6.bias")), float("nan"))
    assert not onnx_export.greatest_difference(file.read_bytes(), model) <= onnx_export.TOLERANCE


def test_the_command_shows_inputs_and_metadata(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, checkpoint, file = exported
    graph = onnx.load(file)
    monkeypatch.setattr(onnx_export, "to_onnx", lambda model: graph)
    out = tmp_path / "new" / "model.onnx"
    done = CliRunner().invoke(cli, ["export", "--checkpoint", str(checkpoint), "--json", str(out)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["inputs"] == VIEWS[kind]
    assert result["file"] == str(out) and result["bytes"] == out.stat().st_size
    runs = tmp_path / "runs"
    (runs / "a").mkdir(parents=True)
    checkpoint_of_run = runs / "a" / "best.pt"
    checkpoint_of_run.write_bytes(checkpoint.read_bytes())
    done = CliRunner().invoke(cli, ["export", "--runs", str(runs), str(out)])
    assert done.exit_code == 0, done.output
    assert "[batch, snippets, 2, 16]" in done.stdout and str(checkpoint_of_run) in done.stderr


def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_model(tmp_path / "best.pt", CROPS)
    with pytest.raises(CheckpointError, match="none.pt: no such checkpoint"):
        export_onnx(tmp_path / "none.pt", tmp_path / "model.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(onnx_export, "MOST_BYTES", 1000)
        with pytest.raises(PipelineError, match=r"bytes of weights are too many .*most 1,000"):
            export_onnx(checkpoint, tmp_path / "model.onnx")
    real = builtins.__import__

    def without_script(name: str, *rest: object) -> object:
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_script)
    with pytest.raises(PipelineError, match=r"needs onnxscript, .* pip install 'ssrl-pipeline\[onnx\]'"):
        export_onnx(checkpoint, tmp_path / "model.onnx")
