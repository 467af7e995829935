"""A disk without room: one line says where and what to do, the next run with room ends as any other."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.distributed import Group
from ssrl_pipeline.errors import DiskError
from ssrl_pipeline.evaluate import evaluate
from ssrl_pipeline.export import export_released
from ssrl_pipeline.files import whole_file
from ssrl_pipeline.labels import Label
from ssrl_pipeline.npy import NpyWriter
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.store import FeatureStore
from ssrl_pipeline.train import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")


@contextmanager
def full(size: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes; what writes more meets an error of the system's."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(path: Path, size: int, write: Callable[[], object]) -> None:
    with pytest.raises(DiskError) as caught, full(size):
        write()
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written") and "make room" in message
    assert "\n" not in message and ".part" not in message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_to_have_no_room(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskError, match=f"{tmp_path}/x: cannot be written"), whole_file(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert contents(tmp_path) == {}


def test_other_errors_are_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_file(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_rows_that_do_not_fit_leave_no_open_file(tmp_path: Path) -> None:
    writer = NpyWriter(tmp_path / "x.npy", (100,), "float32")
    with pytest.raises(OSError), full(1000):
        writer.append(np.zeros((50, 100)))
        writer.close()
    with pytest.raises(OSError), full(0):
        writer.close()
    assert writer._file.closed


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    return tiny_store({f"{kind}{i}": 4 for kind in "na" for i in range(4)}, {f"a{i}": (1,) for i in range(4)})


LABELS = {f"{kind}{i}": Label(kind == "a", "test" if i == 3 else "train") for kind in "na" for i in range(4)}


def test_train_and_evaluate(store: FeatureStore, tmp_path: Path) -> None:
    settings = TrainSettings(segments=4, steps=4, evaluate_every=2, batch_size=2, schedule="staged")

    def fit(run: Path) -> Path:
        model = ModelSettings(scales=("2x3",))
        return train(store, LABELS, run, model, settings, Group(torch.device("cpu"))).best

    clean = fit(tmp_path / "runs" / "clean")
    stage = (tmp_path / "runs" / "clean" / "stage1.pt").stat().st_size
    run = tmp_path / "runs" / "full"
    refused(run / "last.pt", stage, lambda: fit(run))  # which is larger than stage1.pt
    assert sorted(contents(run)) == ["config.yaml", "metrics.jsonl", "stage1.pt"]
    first, second = load_checkpoint(clean), load_checkpoint(fit(run))
    assert first.weights.keys() == second.weights.keys()
    assert all(torch.equal(second.weights[name], value) for name, value in first.weights.items())

    judged = evaluate(first, store, LABELS, {"a3": [(16, 32)]}, "test", torch.device("cpu"))
    out = tmp_path / "evaluation"
    judged.save(out, clean)
    before = contents(out)
    refused(out, 3000, lambda: judged.save(out, clean))
    assert contents(out) == before
    assert not list(tmp_path.glob(".*"))


def test_export(store: FeatureStore, tmp_path: Path) -> None:
    export_released(store, LABELS, tmp_path / "clean")
    out = tmp_path / "released"
    refused(out / "train" / "a0_patch23_i3d.npy", 1000, lambda: export_released(store, LABELS, out))
    assert not [name for name in contents(out) if "/." in f"/{name}"] and not list(out.glob("*.list"))
    export_released(store, LABELS, out)
    assert contents(out) == contents(tmp_path / "clean")


@pytest.mark.parametrize("count", [1, 200])
def test_a_checkpoint_whose_writer_hides_the_reason(tmp_path: Path, count: int) -> None:
    weights = {str(i): torch.zeros(40_000 // count) for i in range(count)}
    path = tmp_path / "x.pt"
    refused(path, 50_000, lambda: save_checkpoint(path, Checkpoint(weights, {}, {}, {}, {})))
    assert contents(tmp_path) == {}
