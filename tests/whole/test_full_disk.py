"""A disk without room: one line says where and what to do, the next run with room ends as any other."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.disks import full, refused
from helpers.folders import contents
from torch import Tensor

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.export import export_released
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.disk.files import whole_file
from ssrl_pipeline.disk.npy import NpyWriter
from ssrl_pipeline.errors import DiskError
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding.shared_frames import SharedMemory
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.scoring.score import score_many
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.settings import ModelSettings, TrainSettings
from ssrl_pipeline.training.bags import Bags, load_bags
from ssrl_pipeline.training.group import Group
from ssrl_pipeline.training.kinds.ssrl import train_ssrl

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")


@pytest.fixture(autouse=True)
def frames_are_on_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts the memory that two processes share as a file; a full disk does not."""
    import resource

    grow, most = SharedMemory.grow, resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    def grow_all_the_same(memory: SharedMemory, size: int) -> None:
        with full(most):
            grow(memory, size)

    monkeypatch.setattr(SharedMemory, "grow", grow_all_the_same)


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


def means(clips: Tensor) -> Tensor:
    """A network that is quick: uint8 [B, 3, t, h, w] -> float32 [B, 1024]."""
    return torch.nn.functional.adaptive_avg_pool2d(clips.float().mean((1, 2)), (32, 32)).flatten(1)


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    extractor = FeatureExtractor("i3d", "live", "cpu", "random")
    for one in extractor.passes:
        extractor.networks.engines[one.network] = means  # type: ignore[assignment]
    return extractor


def test_extract(tmp_path: Path, make_video: Callable[..., Path], extractor: FeatureExtractor) -> None:
    store = tmp_path / "features"
    make_video(tmp_path / "videos" / "a.mp4", frames=17)
    extract(tmp_path / "videos", store, extractor)
    make_video(tmp_path / "videos" / "b.mp4", frames=160)
    make_video(tmp_path / "videos" / "c.mp4", frames=20)
    extract(tmp_path / "videos", tmp_path / "clean", extractor)
    most = max(path.stat().st_size for path in (tmp_path / "clean" / "a.mp4").iterdir())
    refused(store / "b.mp4", most, lambda: extract(tmp_path / "videos", store, extractor))
    assert open_store(store).videos() == ["a.mp4"]  # c.mp4 was not even tried
    assert not [name for name in contents(store) if "/." in f"/{name}"]
    outcomes = extract(tmp_path / "videos", store, extractor)[1]
    assert [outcome.status for outcome in outcomes] == ["skipped", "done", "done"]
    assert contents(store) == contents(tmp_path / "clean")


def test_score(tmp_path: Path, make_video: Callable[..., Path], extractor: FeatureExtractor) -> None:
    model = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "x.pt", Checkpoint(SSRL(**model).state_dict(), model, extractor.recipe, {}, {})
    )
    scorer = Scorer(tmp_path / "x.pt", "cpu")
    scorer.extractor = extractor
    lengths = {"a": 20, "b": 2000, "c": 20}
    videos = {name: make_video(tmp_path / f"{name}.mp4", frames=frames) for name, frames in lengths.items()}
    clean, out = tmp_path / "clean", tmp_path / "scores"
    score_many(scorer, videos, clean)
    most = max(path.stat().st_size for path in (clean / "a").iterdir())
    refused(out / "b", most, lambda: score_many(scorer, videos, out))
    assert contents(out / "a") == contents(clean / "a") and sorted(path.name for path in out.iterdir()) == [
        "a"
    ]
    assert [one.status for one in score_many(scorer, videos, out)] == ["skipped", "extracted", "extracted"]
    assert contents(out) == contents(clean)
    shutil.rmtree(out)
    refused(out / "report.html", 1 << 20, lambda: score_many(scorer, videos, out))
    assert [one.status for one in score_many(scorer, videos, out)] == ["skipped"] * 3
    assert contents(out) == contents(clean)


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    return tiny_store({f"{kind}{i}": 4 for kind in "na" for i in range(4)}, {f"a{i}": (1,) for i in range(4)})


LABELS = {f"{kind}{i}": Label(kind == "a", "test" if i == 3 else "train") for kind in "na" for i in range(4)}


def test_train_and_evaluate(store: FeatureStore, tmp_path: Path) -> None:
    settings = TrainSettings(segments=4, steps=4, evaluate_every=2, batch_size=2, schedule="staged")

    def fit(run: Path) -> Path:
        model = ModelSettings(scales=("2x3",))
        return train_ssrl(store, LABELS, run, model, settings, Group(torch.device("cpu")))

    clean = fit(tmp_path / "runs" / "clean")
    stage = (tmp_path / "runs" / "clean" / "stage1.pt").stat().st_size
    run = tmp_path / "runs" / "full"
    refused(run / "last.pt", stage, lambda: fit(run))  # which is larger than stage1.pt
    assert sorted(contents(run)) == ["config.yaml", "metrics.jsonl", "stage1.pt"]
    first, second = load_checkpoint(clean), load_checkpoint(fit(run))
    assert first.weights.keys() == second.weights.keys()
    assert all(torch.equal(second.weights[name], value) for name, value in first.weights.items())

    judged = evaluate_checkpoint(first, store, LABELS, {"a3": [(16, 32)]}, "test", torch.device("cpu"))
    out = tmp_path / "evaluation"
    judged.save(out, clean)
    before = contents(out)
    refused(out, 3000, lambda: judged.save(out, clean))
    assert contents(out) == before
    assert not list(tmp_path.glob(".*"))
    judged.save(out, clean)
    assert contents(out) == before


def test_packs(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssrl_pipeline.training.bags.MOST_IN_MEMORY", 0)
    abnormal = {video: label.abnormal for video, label in LABELS.items()}

    def pack(folder: Path) -> Bags:
        return load_bags(store, abnormal, ("clip", "patch2x3"), 4, folder)

    expected = pack(tmp_path / "clean")
    (name,) = (path.name for path in (tmp_path / "clean").iterdir())
    packs = tmp_path / "packs"
    refused(packs / name, 3000, lambda: pack(packs))
    assert contents(packs) == {}
    np.testing.assert_array_equal(pack(packs).views["patch2x3"], expected.views["patch2x3"])
    assert contents(packs) == contents(tmp_path / "clean")


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
