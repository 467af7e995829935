"""One bit of stored features has changed: every stage names the file, and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.check import check_dataset
from ssrl_pipeline.data.datasets.annotations import Dataset
from ssrl_pipeline.data.export import export_released
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.evaluation.calibrate import calibrate_checkpoint
from ssrl_pipeline.evaluation.evaluate import evaluate_checkpoint
from ssrl_pipeline.events.rule import EventRule
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.scoring.reuse import open_index
from ssrl_pipeline.scoring.score import EXTRACTED, STORED, score_many
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.settings import MemorySettings
from ssrl_pipeline.training.bags import load_bags
from ssrl_pipeline.training.kinds.normal_memory import train_memory

pytestmark = pytest.mark.usefixtures("quick_network")

LABELS = {"n0": Label(False, "train"), "n1": Label(False, "train"), "a0": Label(True, "test")}
MODEL = {"feature_size": 16, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
CPU = torch.device("cpu")


def flip(path: Path) -> None:
    """Changes one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    store = tiny_store(dict.fromkeys(LABELS, 4), {"a0": [1]})
    for video in store.videos():
        flip(Path(store.root, video, "patch2x3.npy"))
    return store


@pytest.fixture
def checkpoint(store: FeatureStore, tmp_path: Path) -> Path:
    path = tmp_path / "x.pt"
    save_checkpoint(path, Checkpoint(SSRL(**MODEL).state_dict(), MODEL, store.recipe, {}, {}))
    return path


STAGES: dict[str, Callable[[FeatureStore, Path, Path], object]] = {
    "train": lambda store, pt, out: load_bags(store, {"n0": False, "a0": True}, ["patch2x3"], 4, out),
    "train --model memory": lambda store, pt, out: train_memory(store, LABELS, out, MemorySettings(), 0),
    "evaluate": lambda store, pt, out: evaluate_checkpoint(
        load_checkpoint(pt), store, LABELS, {"a0": [(16, 32)]}, "test", CPU
    ),
    "store export": lambda store, pt, out: export_released(store, LABELS, out),
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_names_the_file(
    stage: str, store: FeatureStore, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"patch2x3\.npy: .* checksum is another.* extract again$"):
        STAGES[stage](store, checkpoint, tmp_path / "out")


def test_dataset_check_lists_all(store: FeatureStore) -> None:
    dataset = Dataset(labels=LABELS, intervals={"a0": [(16, 32)]}, classes={}, frames={}, truth=None)
    problems = [one for one in check_dataset(dataset, store).problems if one.kind == "damaged features"]
    assert [(one.video, "checksum" in one.detail) for one in problems] == [(video, True) for video in LABELS]


def test_damaged_times_are_named_where_they_are_read(
    tiny_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = tiny_store({**dict.fromkeys(LABELS, 4), "v": 4})
    features, meta = store.read("v"), store.meta("v")
    with store.writer("v") as writer:
        writer.append(features)
        writer.meta, writer.stamps = meta, np.arange(meta.frames) / 10 + (np.arange(meta.frames) > 9)
    flip(Path(store.root, "v", "times.npy"))
    labels = {**LABELS, "v": Label(False, "val")}
    dataset = Dataset(labels=labels, intervals={"a0": [(16, 32)]}, classes={}, frames={}, truth=None)
    problems = [one for one in check_dataset(dataset, store).problems if one.kind == "damaged features"]
    assert [(one.video, "times.npy" in one.detail) for one in problems] == [("v", True)]
    checkpoint = Checkpoint(SSRL(**MODEL).state_dict(), MODEL, store.recipe, {}, {})
    with pytest.raises(StoreError, match=r"times\.npy: .* checksum is another.* extract again$"):
        calibrate_checkpoint(checkpoint, store, labels, 0.1, "frame", "val", EventRule(), CPU)


def test_a_memory_of_few_snippets_reads_no_whole_files(store: FeatureStore, tmp_path: Path) -> None:
    """Months of footage are not read through for some thousand snippets, so their damage may stay unknown."""
    settings = MemorySettings(limit=2, sample=5)  # of 8: no video is taken whole
    assert train_memory(store, LABELS, tmp_path / "run", settings, 0).is_file()


def test_score_does_without_it_and_what_is_deleted_is_extracted_again(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / "videos" / name, frames=17)
    extractor = ExtractorOptions("i3d", "live", "random", engine="eager").build("cpu")
    store, _ = extract(tmp_path / "videos", tmp_path / "features", extractor)
    path = Path(store.root, "b.mp4", "clip.npy")
    whole = path.read_bytes()
    flip(path)
    model = {**MODEL, "feature_size": 1024}
    save_checkpoint(
        tmp_path / "x.pt", Checkpoint(SSRL(**model).state_dict(), model, extractor.recipe, {}, {})
    )
    scorer, notes = Scorer(tmp_path / "x.pt", "cpu"), list[str]()
    scorer.extractor = extractor
    index = open_index(tmp_path / "features", scorer, True, lambda note: None)
    videos = {"a": tmp_path / "videos" / "a.mp4", "b": tmp_path / "videos" / "b.mp4"}
    scored = score_many(scorer, videos, tmp_path / "scores", index=index, note=notes.append)
    assert [one.status for one in scored] == [STORED, EXTRACTED]
    (note,) = notes
    assert "b.mp4: extracted, as its stored features cannot be read" in note and str(path) in note
    shutil.rmtree(path.parent)  # as the errors say
    _, outcomes = extract(tmp_path / "videos", tmp_path / "features", extractor)
    assert [outcome.status for outcome in outcomes] == ["skipped", "done"]
    assert path.read_bytes() == whole
