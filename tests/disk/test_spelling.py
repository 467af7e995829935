"""Names of videos in either Unicode normal form: one name, and files are opened as the disk has them."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.data.labels import read_intervals, read_labels
from ssrl_pipeline.data.splits import ground_truth
from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.disk.spelling import by_name, on_disk, one_name
from ssrl_pipeline.errors import ConfigError, PipelineError, StoreError
from ssrl_pipeline.extraction.videos import find_videos
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.released import ReleasedFeatures
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.results.video_scores import Drawn
from ssrl_pipeline.scoring.inputs import find_inputs, match_names
from ssrl_pipeline.scoring.reuse import ContentIndex
from ssrl_pipeline.scoring.score import Job

NFC, NFD = "c\u00e1mara/rob\u00f3.mp4", "ca\u0301mara/robo\u0301.mp4"
MIXED = "ca\u0301mara/rob\u00f3.mp4"


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    """A folder of a file system that keeps the two forms apart; some, as Apple's, do not."""
    (tmp_path / "e\u0301").mkdir()
    if (tmp_path / "\u00e9").exists():
        pytest.skip("the file system takes both forms for one name")
    shutil.rmtree(tmp_path / "e\u0301")
    return tmp_path


def put(root: Path, name: str, content: bytes = b"x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_one_name() -> None:
    assert {one_name(name) for name in (NFC, NFD, MIXED)} == {NFC}
    assert one_name("\udcff.mp4") == "\udcff.mp4"  # a byte that is no text


def test_two_spellings_are_told_apart_in_the_message() -> None:
    assert by_name(["a", NFD], "here") == {"a": "a", NFC: NFD}
    with pytest.raises(StoreError) as error:
        by_name([NFC, NFD], "here", StoreError)
    assert r"c\xe1mara" in str(error.value)
    assert r"ca\u0301mara" in str(error.value)


@pytest.mark.parametrize("name", [NFC, NFD, MIXED])
@pytest.mark.parametrize("asked", [NFC, NFD, MIXED])
def test_a_path_is_found_in_whatever_form_it_has(strict: Path, name: str, asked: str) -> None:
    assert on_disk(strict / asked) == strict / asked  # nothing is there
    path = put(strict, name)
    assert on_disk(strict / asked) == path
    assert on_disk(strict / "new\u00e9" / "a.mp4") == strict / "new\u00e9" / "a.mp4"


def test_two_paths_that_differ_in_form_alone_are_told(strict: Path) -> None:
    first = put(strict, "e\u0301\u00e9")
    put(strict, "\u00e9e\u0301")
    assert on_disk(first) == first
    with pytest.raises(PipelineError, match="two are named"):
        on_disk(strict / "\u00e9\u00e9")


@pytest.mark.parametrize("name", [NFC, NFD, MIXED])
def test_videos_are_named_in_one_form_and_opened_by_their_own(strict: Path, name: str) -> None:
    path = put(strict / "videos", name)
    assert find_videos(strict / "videos") == {NFC: path}
    assert find_videos(path) == {"rob\u00f3.mp4": path}
    assert find_inputs([strict / "videos"], strict / "out") == {NFC: path}
    for form in ("NFC", "NFD"):
        asked = unicodedata.normalize(form, str(path))
        assert find_inputs([asked], strict / "out") == {"rob\u00f3.mp4": path}
    pattern = str(path.parent / "rob?*.mp4")
    assert find_inputs([pattern], strict / "out") == {"rob\u00f3.mp4": path}


def test_two_videos_that_differ_in_form_alone_are_told(strict: Path) -> None:
    first, second = put(strict, NFC), put(strict, NFD)
    with pytest.raises(PipelineError, match=r"two are named .*\\u0301.* and .*\\xe1.* rename"):
        find_videos(strict)
    with pytest.raises(ConfigError, match=r"two are named .*\\u0301.*: the results of both"):
        find_inputs([first, second], strict / "out")


@pytest.mark.parametrize("name", [NFC, NFD, MIXED])
def test_a_store_is_read_and_gone_on_with_in_whatever_form_it_has(
    strict: Path, tiny_store: Callable[..., FeatureStore], name: str
) -> None:
    made = tiny_store({"plain.mp4": 3}, root=strict / "features")
    (made.root / name).parent.mkdir()
    shutil.move(made.root / "plain.mp4", made.root / name)
    store = open_store(made.root)
    assert store.videos() == [NFC]
    for asked in (NFC, NFD):
        assert store.meta(asked).snippets == 3
        assert len(store.read(asked)["clip"]) == 3
    again = tiny_store({NFC: 5}, root=strict / "features")  # replaces it
    assert (again.videos(), again.meta(NFC).snippets) == ([NFC], 5)
    assert [path.parent for path in made.root.rglob("meta.json")] == [made.root / name]


def test_a_new_video_of_a_store_is_written_in_one_form(
    strict: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({NFD: 3}, root=strict / "features")
    assert (strict / "features" / NFC / "meta.json").is_file()
    assert store.videos() == [NFC]


def test_two_stored_videos_that_differ_in_form_alone_are_told(
    strict: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({NFC: 3}, root=strict / "features")
    shutil.copytree(store.root / "c\u00e1mara", store.root / "ca\u0301mara")
    with pytest.raises(StoreError, match=r"two are named .*\\u0301.* rename or remove one"):
        open_store(store.root).videos()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_tables_and_features_meet(tmp_path: Path, tiny_store: Callable[..., FeatureStore], form: str) -> None:
    def written(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(unicodedata.normalize(form, text), encoding="utf-8")
        return path

    labels = read_labels(written(f"video,label,split\n{NFC},abnormal,test\n"))
    intervals = read_intervals(written(f"video,start,end\n{NFC},3,7\n"))
    store = tiny_store({NFC: 1})
    assert ground_truth(store, labels, intervals, "test")[NFC].sum() == 4
    assert match_names(["other/rob\u00f3.mp4"], intervals) == {"other/rob\u00f3.mp4": [(3, 7)]}


def test_stored_features_of_a_file_in_the_other_form_are_found_by_name(
    strict: Path, tiny_store: Callable[..., FeatureStore]
) -> None:
    store = tiny_store({"a/rob\u00f3.mp4": 1, "b/rob\u00f3s.mp4": 1})  # of 0 bytes, with the time 0
    file = SourceFile(put(strict, "robo\u0301.mp4", b""))
    file.mtime_ns = 0
    assert ContentIndex(store).find(file) == "a/rob\u00f3.mp4"


def test_a_result_is_gone_on_with_in_the_form_that_it_has(strict: Path) -> None:
    job = Job(NFC, strict / "a.mp4", strict / "out", Drawn(False, False))
    assert job.folder == strict / "out" / NFC
    (strict / "out" / NFD).mkdir(parents=True)
    assert job.folder == strict / "out" / NFD


def test_released_features_are_named_in_one_form(strict: Path) -> None:
    for crop in range(2):
        np.save(strict / f"robo\u0301__{crop}.npy", np.zeros((3, 4), np.float32))
    np.save(strict / "ca\u0301mara_i3d.npy", np.zeros((3, 2, 4), np.float32))
    features = ReleasedFeatures(strict)
    assert features.videos() == ["c\u00e1mara", "rob\u00f3"]
    assert {video: features.read(video)["clip"].shape for video in features.videos()} == {
        "c\u00e1mara": (3, 2, 4),
        "rob\u00f3": (3, 2, 4),
    }


def test_a_checkpoint_of_names_in_the_other_form_knows_its_videos() -> None:
    checkpoint = Checkpoint({}, {}, {}, {}, {"train_videos": [NFD]})
    assert (checkpoint.videos("train"), checkpoint.videos("val")) == ([NFC], [])
