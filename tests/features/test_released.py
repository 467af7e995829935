"""Released features read where they lie, and a store exported to them and read back."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.data.export import export_released
from ssrl_pipeline.data.labels import Label
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.opening import open_features
from ssrl_pipeline.features.released import ReleasedFeatures, released_name
from ssrl_pipeline.features.segments import segment_means
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.training.bags import load_bags

SIZE = 8
LABELS = {
    "n/a.mp4": Label(False, "train"),
    "x/b.mp4": Label(True, "train"),
    "n/c.mp4": Label(False, "test"),
    "x/d.mp4": Label(True, "test"),
    "n/e.mp4": Label(False, None),
}
SNIPPETS = {"n/a.mp4": 40, "x/b.mp4": 3, "n/c.mp4": 5, "x/d.mp4": 6, "n/e.mp4": 4}


def write(path: Path, *shape: int, dtype: str = "float32") -> np.ndarray:
    """A file of made-up features [*shape, SIZE]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = np.random.default_rng(len(path.name)).standard_normal((*shape, SIZE)).astype(dtype)
    np.save(path, features)
    return features


def write_video(root: Path, name: str, snippets: int) -> dict[str, np.ndarray]:
    return {
        "clip": write(root / f"{name}_i3d.npy", snippets, 10),
        "patch2x3": write(root / f"{name}_patch23_i3d.npy", snippets, 6),
        "patch4x7": write(root / f"{name}_patch47_i3d.npy", snippets, 28),
    }


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as error:
        call()
    return str(error.value)


@pytest.fixture
def store(tiny_store: Callable[..., FeatureStore]) -> FeatureStore:
    return tiny_store(SNIPPETS)


def test_released_files_are_found_in_any_folders(tmp_path: Path) -> None:
    expected = write_video(tmp_path / "SH_Train_i3d", "01_0014_x264", 5)
    other = write_video(tmp_path / "SH_Test_i3d" / "deeper", "01_0015_x264", 32)
    write_video(tmp_path / ".hidden", "01_0016_x264", 5)
    (tmp_path / "SH_Train_i3d" / "readme.txt").write_text("not features")
    features = ReleasedFeatures(tmp_path)
    assert features.videos() == ["01_0014_x264", "01_0015_x264"]
    assert features.recipe["views"] == {"clip": 10, "patch2x3": 6, "patch4x7": 28}
    assert features.recipe["feature_size"] == SIZE
    for video, arrays in (("01_0014_x264", expected), ("01_0015_x264", other)):
        read = features.read(video)
        assert list(read) == ["clip", "patch2x3", "patch4x7"]
        for view, array in arrays.items():
            np.testing.assert_array_equal(read[view], array)
        assert not features.is_segmented(video)
    assert (features.meta("01_0014_x264").snippets, features.meta("01_0014_x264").frames) == (5, 80)


def test_training_files_with_the_segments_second_are_turned(tmp_path: Path) -> None:
    clip = write(tmp_path / "Abuse001_x264_i3d.npy", 10, 32)
    patch = write(tmp_path / "Abuse001_x264_patch35_i3d.npy", 15, 32)
    snippets = write(tmp_path / "Abuse028_x264_i3d.npy", 32, 10)  # a test video that has 32 snippets
    write(tmp_path / "Abuse028_x264_patch35_i3d.npy", 32, 15)
    features = ReleasedFeatures(tmp_path)
    read = features.read("Abuse001_x264")
    assert read["clip"].shape == (32, 10, SIZE)
    np.testing.assert_array_equal(read["clip"][3, 7], clip[7, 3])
    np.testing.assert_array_equal(read["patch3x5"][31, 14], patch[14, 31])
    np.testing.assert_array_equal(features.read("Abuse028_x264")["clip"], snippets)
    assert [features.is_segmented(video) for video in features.videos()] == [True, False]


@pytest.mark.parametrize(("snippets", "rows"), [(3, [0, 1, 2, 2]), (6, [0, 1, 2, 3])])
def test_patches_follow_the_number_of_the_crops_snippets(
    tmp_path: Path, snippets: int, rows: list[int]
) -> None:
    write(tmp_path / "a_i3d.npy", 4, 10)
    patches = write(tmp_path / "a_patch23_i3d.npy", snippets, 6)
    np.testing.assert_array_equal(ReleasedFeatures(tmp_path).read("a")["patch2x3"], patches[rows])


@pytest.mark.parametrize(
    ("shape", "mentions"),
    [
        ((7, 32), ["[7, 32, 8]", "[snippets, 10, 8]", "[10, 32, 8]"]),
        ((5, 9), ["[5, 9, 8]"]),
        ((10, 31), ["[10, 31, 8]"]),
    ],
)
def test_shapes_that_fit_no_layout_are_refused(
    tmp_path: Path, shape: tuple[int, int], mentions: list[str]
) -> None:
    write(tmp_path / "a_i3d.npy", 4, 10)
    write(tmp_path / "b_i3d.npy", *shape)
    message = refusal(lambda: ReleasedFeatures(tmp_path).read("b"))
    assert [word for word in ["b_i3d.npy", *mentions] if word not in message] == []


def test_a_shape_that_fits_both_layouts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a_i3d.npy", 32, 32)
    assert "32 crops" in refusal(lambda: ReleasedFeatures(tmp_path))
    write(tmp_path / "a_i3d.npy", 7, 10)
    write(tmp_path / "a_patch48_i3d.npy", 32, 32)
    message = refusal(lambda: ReleasedFeatures(tmp_path).read("a"))
    assert "a_patch48_i3d.npy" in message
    assert "both fit" in message


def test_what_is_no_released_feature_is_refused(tmp_path: Path) -> None:
    assert "X_i3d.npy" in refusal(lambda: ReleasedFeatures(tmp_path))
    write_video(tmp_path, "a", 4)
    assert "b_i3d.npy" in refusal(lambda: ReleasedFeatures(tmp_path).read("b"))
    np.save(tmp_path / "b_i3d.npy", np.array([{}]), allow_pickle=True)
    assert "b_i3d.npy" in refusal(lambda: ReleasedFeatures(tmp_path).meta("b"))
    np.save(tmp_path / "b_i3d.npy", np.zeros((4, 10), np.float32))
    assert "three axes" in refusal(lambda: ReleasedFeatures(tmp_path).meta("b"))
    np.save(tmp_path / "b_i3d.npy", np.zeros((4, 10, SIZE + 1), np.float32))
    assert "[4, 10, 9]" in refusal(lambda: ReleasedFeatures(tmp_path).read("b"))
    write(tmp_path / "b_i3d.npy", 4, 10)
    assert "b_patch23_i3d.npy" in refusal(lambda: ReleasedFeatures(tmp_path).read("b"))
    write(tmp_path / "b_patch23_i3d.npy", 6, 32)
    write(tmp_path / "b_patch47_i3d.npy", 4, 28)
    assert "segments" in refusal(lambda: ReleasedFeatures(tmp_path).read("b"))
    write(tmp_path / "elsewhere" / "a_i3d.npy", 4, 10)
    message = refusal(lambda: ReleasedFeatures(tmp_path))
    assert str(tmp_path / "a_i3d.npy") in message
    assert str(tmp_path / "elsewhere" / "a_i3d.npy") in message


def test_layout_chooses_how_features_are_opened(tmp_path: Path, store: FeatureStore) -> None:
    write_video(tmp_path, "a", 4)
    assert isinstance(open_features(tmp_path, "released"), ReleasedFeatures)
    assert isinstance(open_features(store.root, "store"), FeatureStore)
    with pytest.raises(StoreError):
        open_features(tmp_path, "store")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_export_read_in_place_gives_the_same_arrays(
    tmp_path: Path, tiny_store: Callable[..., FeatureStore], dtype: str
) -> None:
    store = tiny_store(SNIPPETS, dtype=dtype)
    lists = export_released(store, LABELS, tmp_path / "out")
    assert [(found.split, found.videos, found.abnormal) for found in lists] == [
        ("train", 3, 1),
        ("test", 2, 1),
    ]
    assert (tmp_path / "out" / "train.list").read_text() == "b_i3d.npy\na_i3d.npy\ne_i3d.npy\n"
    assert (tmp_path / "out" / "test.list").read_text() == "d_i3d.npy\nc_i3d.npy\n"
    released = ReleasedFeatures(tmp_path / "out")
    assert released.videos() == ["a", "b", "c", "d", "e"]
    assert released.recipe == store.recipe
    for video in LABELS:
        read, original = released.read(Path(video).stem), store.read(video)
        assert list(read) == list(original)
        for view, array in original.items():
            assert read[view].dtype == array.dtype
            np.testing.assert_array_equal(read[view], array)


def test_exported_files_are_named_and_shaped_as_the_released_ones(
    tmp_path: Path, store: FeatureStore
) -> None:
    export_released(store, LABELS, tmp_path, segments=32)
    shapes = {
        path.relative_to(tmp_path).as_posix(): np.load(path).shape for path in sorted(tmp_path.rglob("*.npy"))
    }
    assert shapes["train/a_i3d.npy"] == (1, 32, 16)
    assert shapes["train/a_patch23_i3d.npy"] == (6, 32, 16)
    assert shapes["test/d_i3d.npy"] == (6, 1, 16)
    assert shapes["test/d_patch23_i3d.npy"] == (6, 6, 16)
    assert len(shapes) == 2 * len(LABELS)


@pytest.mark.parametrize("segments", [4, 32])
def test_exported_segments_are_the_training_bags(tmp_path: Path, store: FeatureStore, segments: int) -> None:
    export_released(store, LABELS, tmp_path, segments)
    released = ReleasedFeatures(tmp_path)
    for video in ("n/a.mp4", "x/b.mp4"):
        for view, array in store.read(video).items():
            bag = segment_means(array, segments)
            np.testing.assert_array_equal(released.read(Path(video).stem)[view], bag)
            np.testing.assert_array_equal(segment_means(released.read(Path(video).stem)[view], segments), bag)
    np.testing.assert_array_equal(released.read("d")["patch2x3"], store.read("x/d.mp4")["patch2x3"])


@pytest.mark.parametrize("segments", [None, 32])
def test_training_bags_of_an_export_are_those_of_the_store(
    tmp_path: Path, store: FeatureStore, segments: int | None
) -> None:
    export_released(store, LABELS, tmp_path / "out", segments)
    released = open_features(tmp_path / "out", "released")
    train = {"n/a.mp4": False, "x/b.mp4": True, "n/e.mp4": False}
    bare = {Path(video).stem: abnormal for video, abnormal in train.items()}
    views = ["clip", "patch2x3"]
    ours = load_bags(store, train, views, 32, tmp_path)
    theirs = load_bags(released, bare, views, 32, tmp_path)
    assert ours.abnormal.tolist() == theirs.abnormal.tolist()
    for view in views:
        np.testing.assert_array_equal(np.asarray(ours.views[view]), np.asarray(theirs.views[view]))


def test_without_its_notes_an_export_is_read_by_its_shapes(tmp_path: Path, store: FeatureStore) -> None:
    export_released(store, LABELS, tmp_path, segments=32)
    noted = ReleasedFeatures(tmp_path)
    (tmp_path / "released.json").unlink()
    bare = ReleasedFeatures(tmp_path)
    assert bare.recipe["views"] == store.recipe["views"]
    assert bare.recipe["preset"] == "released"
    for video in noted.videos():
        for view, array in noted.read(video).items():
            np.testing.assert_array_equal(bare.read(video)[view], array)


def test_an_export_goes_on_in_its_own_folder_and_in_no_other(tmp_path: Path, store: FeatureStore) -> None:
    export_released(store, {"n/a.mp4": LABELS["n/a.mp4"]}, tmp_path)
    export_released(store, LABELS, tmp_path)
    assert len(ReleasedFeatures(tmp_path).videos()) == len(LABELS)
    assert str(tmp_path) in refusal(lambda: export_released(store, LABELS, tmp_path, segments=32))
    (tmp_path / "released.json").write_text("{")
    assert "released.json" in refusal(lambda: export_released(store, LABELS, tmp_path))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "holiday.jpg").touch()
    assert str(tmp_path) in refusal(lambda: export_released(store, LABELS, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    tmp_path: Path, store: FeatureStore, tiny_store: Callable[..., FeatureStore]
) -> None:
    out = tmp_path / "out"
    missing = LABELS | {"n/z.mp4": Label(False, "train")}
    assert "n/z.mp4" in refusal(lambda: export_released(store, missing, out))
    assert "patch2x3" in refusal(lambda: export_released(store, LABELS, out, segments=6))
    twice = tiny_store({"one/a.mp4": 2, "two/a.avi": 2})
    labels = {"one/a.mp4": Label(False, None), "two/a.avi": Label(True, None)}
    message = refusal(lambda: export_released(twice, labels, out))
    assert "one/a.mp4" in message
    assert "two/a.avi" in message
    assert not out.exists()


def test_only_views_that_have_a_released_name_get_one() -> None:
    assert released_name("a_x264", "clip") == "a_x264_i3d.npy"
    assert released_name("a_x264", "patch3x5") == "a_x264_patch35_i3d.npy"
    assert "patch10x2" in refusal(lambda: released_name("a", "patch10x2"))
