"""The view `motion`, which has a size of its own, in stores; who does not know it goes without."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import META, RECIPE, add_motion, features, with_motion

from ssrl_pipeline import Scorer
from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.data.export import export_released
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extraction.stage import ExtractorOptions, snippet_bytes
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features.opening import create_store, open_store
from ssrl_pipeline.models import Blend, LinearProbe, MotionDetector
from ssrl_pipeline.scales import backbone_views, recipe_of, view_size
from ssrl_pipeline.scoring.stored import require_scorable
from ssrl_pipeline.training.bags import load_bags

BOTH = add_motion(RECIPE)


def test_a_view_of_its_own_size_comes_back_from_the_disk(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).random((3, 48, 12)).astype(np.float32)
    store = create_store(tmp_path / "features", BOTH)
    with store.writer("a.mp4") as writer:
        writer.append({**features(), "motion": cells})
        writer.meta = META
    again = open_store(tmp_path / "features")
    np.testing.assert_array_equal(again.read("a.mp4")["motion"], cells, strict=True)
    assert list(again.read("a.mp4", ["motion"])) == ["motion"]
    assert again.meta("a.mp4").crc32.keys() == {"clip", "patch2x3", "motion"}
    np.save(tmp_path / "features" / "a.mp4" / "motion.npy", cells[..., :4])
    with pytest.raises(StoreError, match="motion.npy"):
        again.read("a.mp4")
    assert again.read("a.mp4", ["clip"])["clip"].shape == (3, 1, 4)


def test_sizes_and_bytes_are_those_of_each_view() -> None:
    assert (view_size(BOTH, "clip"), view_size(BOTH, "motion"), view_size(RECIPE, "clip")) == (4, 12, 4)
    assert backbone_views(BOTH) == backbone_views(RECIPE) == {"clip": 1, "patch2x3": 6}
    assert snippet_bytes(RECIPE, "float32") == 7 * 4 * 4
    assert snippet_bytes(BOTH, "float16") == (7 * 4 + 48 * 12) * 2
    assert recipe_of(BOTH, ["clip"]) == RECIPE and recipe_of(BOTH, ["clip", "motion"]) == BOTH
    assert recipe_of({}, ["clip"]) == {}


def test_who_does_not_look_at_it_scores_with_and_without_it() -> None:
    require_scorable(RECIPE, BOTH, "the checkpoint", "the store")
    require_scorable(BOTH, BOTH, "the checkpoint", "the store")
    with pytest.raises(StoreError, match="recipes differ in views, geometry, sizes"):
        require_scorable(BOTH, RECIPE, "the checkpoint", "the store")


def test_a_checkpoint_names_only_what_it_looks_at() -> None:
    probe, motion = LinearProbe(4, backbone_views(BOTH)), MotionDetector()
    assert Checkpoint.of(probe, BOTH, {}, {}).recipe == RECIPE
    assert Checkpoint.of(motion, BOTH, {}, {}).recipe == BOTH
    blend = Blend.of([probe, motion], {"probe": 1.0, "motion": 1.0})
    assert Checkpoint.of(blend, BOTH, {}, {}).recipe == BOTH


def test_bags_have_the_sizes_of_their_views(tiny_store, tmp_path: Path) -> None:
    store = with_motion(tiny_store({"a": 5, "b": 3}), tmp_path / "both")
    bags = load_bags(store, {"a": False, "b": True}, ["clip", "motion"], 4, tmp_path)
    assert bags.views["clip"].shape == (2, 4, 1, 16) and bags.views["motion"].shape == (2, 4, 48, 12)


def test_released_files_are_written_without_it(tiny_store, tmp_path: Path) -> None:
    plain = tiny_store({"a.mp4": 5, "b.mp4": 3})
    both = with_motion(plain, tmp_path / "both")
    labels = {"a.mp4": Label(False, "train"), "b.mp4": Label(True, "test")}
    for store, out in ((plain, tmp_path / "x"), (both, tmp_path / "y")):
        export_released(store, labels, out)
    of_plain, of_both = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "x", tmp_path / "y")
    )
    assert of_plain == of_both


def test_extract_makes_it_as_the_store_has_it(tmp_path: Path) -> None:
    """A store of before is gone on with as it was made; new ones of presets fast and live have it."""
    create_store(tmp_path / "old", RECIPE)
    create_store(tmp_path / "both", BOTH)

    def settled(store: str, preset: str, motion: bool | None = None) -> bool | None:
        options = ExtractorOptions(preset=preset, precision="float32", motion=motion)
        return options.settled(tmp_path / store, ["cpu"]).motion

    assert settled("new", "fast") is settled("new", "live") is True
    assert settled("new", "paper") is settled("new", "gowtham") is settled("new", "fast", False) is False
    assert settled("old", "fast") is False and settled("both", "fast") is True
    assert settled("new", "paper", True) is settled("old", "fast", True) is True


@pytest.mark.usefixtures("quick_network")
def test_a_detector_of_motion_scores_videos(make_video: Callable[..., Path], tmp_path: Path) -> None:
    extractor = FeatureExtractor("i3d", "live", "cpu", "random", motion=True)
    torch.manual_seed(0)
    model = MotionDetector()
    save_checkpoint(tmp_path / "best.pt", Checkpoint.of(model, extractor.recipe, {"train": {}}, {}))
    video = make_video(tmp_path / "v.mp4", frames=48)
    cells = torch.from_numpy(extractor.from_video(video)["motion"])
    expected = model({"motion": cells[None]}).scores[0].detach().numpy()
    scorer = Scorer(tmp_path / "best.pt", device="cpu")
    np.testing.assert_allclose(scorer.score(video).snippet_scores, expected, atol=1e-6)
    assert load_checkpoint(tmp_path / "best.pt").recipe == extractor.recipe
