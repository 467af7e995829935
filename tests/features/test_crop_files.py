"""Features with a file for each crop, as XD-Violence's authors and UR-DMU released them."""

from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.opening import open_features
from ssrl_pipeline.features.released import ReleasedFeatures

SIZE = 8


def write(folder: Path, video: str, crops: int, snippets: int) -> np.ndarray:
    """A file for each crop; what they hold, [T, P, F]."""
    folder.mkdir(parents=True, exist_ok=True)
    features = np.random.default_rng(len(video)).standard_normal((snippets, crops, SIZE)).astype("float32")
    for crop in range(crops):
        np.save(folder / f"{video}__{crop}.npy", features[:, crop])
    return features


def refusal(folder: Path, video: str = "a") -> str:
    with pytest.raises(StoreError) as error:
        ReleasedFeatures(folder).read(video)
    return str(error.value)


@pytest.mark.parametrize("crops", [1, 5, 10])
def test_crops_are_gathered_in_their_order(tmp_path: Path, crops: int) -> None:
    expected = {
        "v=abc__#1_label_A": write(tmp_path / "RGB", "v=abc__#1_label_A", crops, 7),
        "Salt.2010__#01-06_label_G-0-0": write(
            tmp_path / "RGBTest", "Salt.2010__#01-06_label_G-0-0", crops, 32
        ),
    }
    features = ReleasedFeatures(tmp_path)
    assert features.videos() == sorted(expected)
    assert features.recipe["views"] == {"clip": crops}
    assert features.recipe["feature_size"] == SIZE
    for video, array in expected.items():
        np.testing.assert_array_equal(features.read(video)["clip"], array)
        assert (features.meta(video).snippets, features.meta(video).frames) == (len(array), 16 * len(array))
        assert not features.is_segmented(video)


def test_optical_flow_beside_the_frames_is_left_out(tmp_path: Path) -> None:
    rgb = write(tmp_path / "RGBTest", "a", 5, 4)
    flow = write(tmp_path / "FlowTest", "a", 5, 6)
    np.testing.assert_array_equal(ReleasedFeatures(tmp_path).read("a")["clip"], rgb)
    np.testing.assert_array_equal(ReleasedFeatures(tmp_path / "FlowTest").read("a")["clip"], flow)


def test_what_does_not_make_a_video_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", 5, 4)
    write(tmp_path, "b", 5, 4)
    (tmp_path / "a__3.npy").unlink()
    assert "a__3.npy: no such file" in refusal(tmp_path)
    assert len(ReleasedFeatures(tmp_path).read("b")["clip"]) == 4
    np.save(tmp_path / "a__3.npy", np.zeros((5, SIZE), np.float32))
    assert "a__3.npy: [5, 8] where [4, 8]" in refusal(tmp_path)
    np.save(tmp_path / "a__3.npy", np.zeros((4, 2, SIZE), np.float32))
    assert "a__3.npy" in refusal(tmp_path)
    write(tmp_path / "other", "b", 5, 4)
    assert "one name for two files" in refusal(tmp_path)


def test_one_video_in_two_layouts_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", 10, 4)
    np.save(tmp_path / "a_i3d.npy", np.zeros((4, 10, SIZE), np.float32))
    assert "two layouts" in refusal(tmp_path)


def test_released_files_taken_for_a_store_are_named(tmp_path: Path) -> None:
    write(tmp_path / "RGB", "a", 5, 4)
    with pytest.raises(StoreError, match=r"a__0.npy.*data.layout=released"):
        open_features(tmp_path, "store")
