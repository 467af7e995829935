"""The feature store: whole videos, one recipe, and nothing that is damaged passes for features."""

import json
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.stores import META, RECIPE, add, features, jittered, source

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.opening import create_store, open_store
from ssrl_pipeline.features.store import FeatureStore


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return create_store(tmp_path / "features", RECIPE)


@contextmanager
def refused(*mentions: str) -> Iterator[None]:
    """A StoreError of one line that mentions what a user needs to know."""
    with pytest.raises(StoreError) as caught:
        yield
    message = str(caught.value)
    assert [mention for mention in mentions if mention not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_come_back_from_the_disk(tmp_path: Path, dtype: str) -> None:
    expected = features()
    store = create_store(tmp_path / "features", RECIPE, dtype)
    with store.writer("a.mp4") as writer:
        for i in range(3):
            writer.append({name: values[i : i + 1] for name, values in expected.items()})
        writer.meta = META
    read = open_store(tmp_path / "features").read("a.mp4")
    assert list(read) == ["clip", "patch2x3"]
    for name, values in read.items():
        assert isinstance(values, np.memmap)
        np.testing.assert_array_equal(values, expected[name].astype(dtype), strict=True)


def test_layout_is_the_documented_one(store: FeatureStore) -> None:
    add(store, "robbery/cam1.mp4")
    folder = store.root / "robbery" / "cam1.mp4"
    assert {path.name for path in folder.iterdir()} == {"clip.npy", "patch2x3.npy", "meta.json"}
    assert np.load(folder / "clip.npy", allow_pickle=False).shape == (3, 1, 4)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    assert (meta["frames"], meta["snippets"], meta["fps"], meta["decoder"]) == (40, 3, 12.5, "pyav")
    contents = {name: values.astype("<f4").tobytes() for name, values in features().items()}
    assert meta["crc32"] == {name: f"{zlib.crc32(content):08x}" for name, content in contents.items()}
    recipe = json.loads((store.root / "store.json").read_text(encoding="utf-8"))
    assert recipe == {"recipe": RECIPE, "dtype": "float32"}


def test_meta_comes_back(store: FeatureStore) -> None:
    add(store, "a.mp4")
    assert replace(open_store(store.root).meta("a.mp4"), crc32={}) == META


NAMES = ["a.mp4", "one/cam.mp4", "two/cam.mp4", "two/deep/er/cam.mp4", "Straße 1/交通 b.mp4", "a..b.mp4"]


def test_names_mirror_paths_and_equal_file_names_do_not_collide(store: FeatureStore) -> None:
    for number, name in enumerate(NAMES):
        add(store, name, number)
    again = open_store(store.root)
    for number, name in enumerate(NAMES):
        assert again.read(name)["clip"][0, 0, 0] == number
    assert again.videos() == sorted(NAMES)


def test_an_empty_store_lists_nothing(store: FeatureStore) -> None:
    assert store.videos() == []


def test_a_video_is_not_listed_while_it_is_written(store: FeatureStore) -> None:
    with store.writer("one/cam.mp4") as writer:
        writer.append(features())
        writer.meta = META
        assert store.videos() == []
        with refused("one/cam.mp4"):
            store.read("one/cam.mp4")
    assert store.videos() == ["one/cam.mp4"]


@pytest.mark.parametrize("left", [".cam.mp4.12345678.part", "one/.cam.mp4.12345678.part", ".trash/cam.mp4"])
def test_leftovers_of_a_killed_run_are_not_listed(store: FeatureStore, left: str) -> None:
    add(store, "one/cam.mp4")
    (store.root / left).mkdir(parents=True)
    (store.root / left / "meta.json").write_text("{}", encoding="utf-8")
    assert store.videos() == ["one/cam.mp4"]


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("appended", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_changes_nothing(
    store: FeatureStore, stored: bool, appended: bool, error: type[BaseException]
) -> None:
    add(store, "one/other.mp4")
    if stored:
        add(store, "one/cam.mp4", 1.0)
    before = tree(store.root)
    with pytest.raises(error), store.writer("one/cam.mp4") as writer:
        if appended:
            writer.append(features(2.0))
        writer.meta = META
        raise error
    assert tree(store.root) == before


def test_a_video_without_meta_is_not_stored(store: FeatureStore) -> None:
    with pytest.raises(AssertionError), store.writer("a.mp4") as writer:
        writer.append(features())
    assert set(tree(store.root)) == {"store.json"}


def test_a_video_is_replaced_whole(store: FeatureStore) -> None:
    add(store, "a.mp4", 1.0)
    (store.root / "a.mp4" / "stale.npy").write_bytes(b"")
    add(store, "a.mp4", 2.0)
    assert store.read("a.mp4")["clip"][0, 0, 0] == 2.0
    assert {path.name for path in store.root.iterdir()} == {"store.json", "a.mp4"}
    assert not (store.root / "a.mp4" / "stale.npy").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "..", "/abs", "", ".", "./"])
@pytest.mark.parametrize("method", ["meta", "read", "writer"])
def test_names_that_are_no_paths_below_the_store_are_refused(
    tmp_path: Path, store: FeatureStore, name: str, method: str
) -> None:
    add(store, "a.mp4")
    before = tree(tmp_path)
    with refused(repr(name)):
        if method == "writer":
            with store.writer(name) as writer:
                writer.append(features())
                writer.meta = META
        else:
            getattr(store, method)(name)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("preset", "paper"),
        ("backbone", "i3d_r50"),
        ("weights_sha256", "fedcba9876543210"),
        ("feature_size", 8),
        ("views", {"patch2x3": 6, "clip": 2}),
        ("geometry", {"clip": "short side 128", "patch2x3": "480x840"}),
    ],
)
def test_a_second_recipe_is_refused_naming_both(store: FeatureStore, key: str, other: Any) -> None:
    add(store, "a.mp4")
    before = tree(store.root)
    with refused(key, str(store.root), *named(RECIPE), *named({**RECIPE, key: other})):
        create_store(store.root, {**RECIPE, key: other})
    assert tree(store.root) == before


def named(recipe: Mapping[str, Any]) -> list[str]:
    """What a message that describes a recipe says."""
    views = [f"{name} {count}" for name, count in recipe["views"].items()]
    return [
        recipe["preset"],
        recipe["backbone"],
        recipe["weights_sha256"][:8],
        str(recipe["feature_size"]),
        *views,
    ]


def test_a_recipe_with_a_key_more_is_another(store: FeatureStore) -> None:
    with refused("stride"):
        create_store(store.root, {**RECIPE, "stride": 2})


def test_another_type_is_refused(store: FeatureStore) -> None:
    with refused("float32", "float16", str(store.root)):
        create_store(store.root, RECIPE, "float16")


def test_the_same_recipe_opens_the_same_store(store: FeatureStore) -> None:
    add(store, "a.mp4")
    again = create_store(store.root, dict(reversed(RECIPE.items())))
    assert again.videos() == ["a.mp4"]


def test_a_store_cannot_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "features").write_bytes(b"precious")
    with refused(str(tmp_path / "features")):
        create_store(tmp_path / "features", RECIPE)
    assert tree(tmp_path) == {"features": b"precious"}


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with refused(str(tmp_path), "extract"):
        open_store(tmp_path)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"null",
        b"\xff\xfe\x00",
        b'{"recipe": {"views": {"clip": 1}, "feature_size": 4}}',
        b'{"recipe": {"views": {"clip": 1}, "feature_size": 4}, "dtype": "object"}',
        b'{"recipe": {"views": {"clip": "one"}, "feature_size": 4}, "dtype": "float32"}',
        b'{"recipe": {"views": [1, 10], "feature_size": 4}, "dtype": "float32"}',
        b'{"recipe": {"views": {"clip": 1}, "feature_size": "many"}, "dtype": "float32"}',
        b'{"recipe": {"views": {"clip": 1}}, "dtype": "float32"}',
        b'{"recipe": {"views": {"clip": 1}, "feature_size": 4, "sizes": {"clip": 0}}, "dtype": "float32"}',
        b'{"recipe": {"views": {"clip": 1}, "feature_size": 4, "sizes": {"way": 2}}, "dtype": "float32"}',
        b'{"recipe": {"views": {"clip": 1}, "feature_size": 4, "sizes": [4]}, "dtype": "float32"}',
        b'{"recipe": "paper", "dtype": "float32"}',
    ],
)
def test_damaged_store_json(store: FeatureStore, content: bytes) -> None:
    (store.root / "store.json").write_bytes(content)
    with refused("store.json", "damaged"):
        open_store(store.root)
    with refused("store.json", "damaged"):
        create_store(store.root, RECIPE)


WHOLE_META = json.dumps(vars(META)).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        WHOLE_META[:-20],
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        WHOLE_META.replace(b'"frames": 40, ', b""),
        WHOLE_META.replace(b"{", b'{"more": 1, ', 1),
    ],
)
def test_damaged_meta(store: FeatureStore, tmp_path: Path, content: bytes) -> None:
    add(store, "a.mp4")
    (store.root / "a.mp4" / "meta.json").write_bytes(content)
    with refused(str(store.root / "a.mp4" / "meta.json")):
        store.meta("a.mp4")
    with refused(str(store.root / "a.mp4" / "meta.json")):
        store.read("a.mp4")
    assert not store.is_current("a.mp4", source(tmp_path))


def test_times_are_kept_where_the_rate_does_not_give_them(store: FeatureStore, tmp_path: Path) -> None:
    add(store, "a.mp4", stamps=jittered())
    add(store, "b.mp4")
    path = store.root / "a.mp4" / "times.npy"
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), jittered(), strict=True)
    again = open_store(store.root)
    times = again.times("a.mp4")
    assert times.fps == 12.5 and times.stamps is not None
    np.testing.assert_array_equal(times.stamps, jittered(), strict=True)
    assert sorted(again.read("a.mp4")) == ["clip", "patch2x3"]
    assert again.is_current("a.mp4", source(tmp_path))
    assert not (store.root / "b.mp4" / "times.npy").exists()
    assert (again.times("b.mp4").fps, again.times("b.mp4").stamps) == (12.5, None)
    add(store, "a.mp4")  # replaced by one of a steady rate
    assert not path.exists() and again.times("a.mp4").stamps is None


def test_a_rate_that_no_camera_has_is_unknown(store: FeatureStore) -> None:
    """As stores of former versions keep it, of containers that say their clock's."""
    with store.writer("a.ts") as writer:
        writer.append(features())
        writer.meta = replace(META, fps=90000.0)
    assert store.meta("a.ts").fps == 90000 and not store.times("a.ts").known


TIMES_DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a frame less": lambda path: np.save(path, jittered()[:-1]),
    "other type": lambda path: np.save(path, jittered().astype(np.float32)),
    "a column": lambda path: np.save(path, jittered()[:, None]),
    "a link out of the store": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("damage", TIMES_DAMAGES)
def test_damaged_times(store: FeatureStore, tmp_path: Path, damage: str) -> None:
    add(store, "a.mp4", stamps=jittered())
    path = store.root / "a.mp4" / "times.npy"
    TIMES_DAMAGES[damage](path)
    with refused(str(path), "extract again"):
        store.times("a.mp4")
    assert not store.is_current("a.mp4", source(tmp_path))


@pytest.mark.parametrize(
    ("frame", "value", "mention"), [(3, np.nan, "frame 3"), (4, np.inf, "frame 4"), (5, 0.0, "frame 5")]
)
def test_times_that_are_none(store: FeatureStore, frame: int, value: float, mention: str) -> None:
    """Of a file whose checksum is right, or was never taken."""
    stamps = jittered()
    stamps[frame] = value
    with refused(mention), store.writer("a.mp4") as writer:
        writer.append(features())
        writer.meta, writer.stamps = META, stamps
    assert store.videos() == []
    add(store, "a.mp4", stamps=jittered())
    folder = store.root / "a.mp4"
    np.save(folder / "times.npy", stamps)
    with refused(str(folder / "times.npy"), "checksum"):
        store.times("a.mp4")
    content = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    del content["crc32"]
    (folder / "meta.json").write_text(json.dumps(content), encoding="utf-8")
    with refused(str(folder / "times.npy"), mention):
        store.times("a.mp4")


def test_times_of_another_number_of_frames_are_not_stored(store: FeatureStore) -> None:
    with refused("40 frames"):
        add(store, "a.mp4", stamps=jittered()[:39])
    assert store.videos() == []


@pytest.mark.parametrize(
    "wrong", [{"times": 1}, {"times": "yes"}, {"times": None}, {"times": True, "fps": 0}]
)
def test_meta_whose_times_are_none(store: FeatureStore, wrong: dict[str, Any]) -> None:
    add(store, "a.mp4")
    path = store.root / "a.mp4" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | wrong))
    with refused(str(path), "damaged"):
        store.meta("a.mp4")


def test_a_store_of_before_times_were_kept_is_read(store: FeatureStore, tmp_path: Path) -> None:
    add(store, "a.mp4")
    path = store.root / "a.mp4" / "meta.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["times"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert (store.times("a.mp4").fps, store.times("a.mp4").stamps) == (12.5, None)
    assert store.is_current("a.mp4", source(tmp_path))


def test_a_store_without_checksums_is_read(store: FeatureStore, tmp_path: Path) -> None:
    """As those were written before there were any."""
    add(store, "a.mp4")
    path = store.root / "a.mp4" / "meta.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["crc32"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert store.meta("a.mp4") == META
    np.testing.assert_array_equal(store.read("a.mp4")["clip"], features()["clip"])
    assert store.is_current("a.mp4", source(tmp_path))


@pytest.mark.parametrize("crc32", [None, [], ["00000000"], {"clip": 5}, {"clip": ""}, {"clip": "0000000G"}])
def test_checksums_that_are_none(store: FeatureStore, crc32: object) -> None:
    add(store, "a.mp4")
    path = store.root / "a.mp4" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"crc32": crc32}))
    with refused(str(path), "damaged"):
        store.meta("a.mp4")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("view", ["clip", "patch2x3"])
def test_a_changed_bit_is_noticed_wherever_it_is(tmp_path: Path, view: str, dtype: str) -> None:
    store = create_store(tmp_path / "features", RECIPE, dtype)
    add(store, "a.mp4")
    path = store.root / "a.mp4" / f"{view}.npy"
    whole = path.read_bytes()
    for place in (128, 150, len(whole) - 1):  # the first of the rows, one amidst, and the last
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with refused(str(path), "checksum", "extract again"):
                store.read("a.mp4")
            with refused(str(path)):
                store.read("a.mp4", [view])
    other = ({"clip", "patch2x3"} - {view}).pop()
    assert list(store.read("a.mp4", [other])) == [other]  # what is not wanted is not read
    assert view in store.read("a.mp4", check=False)
    path.write_bytes(whole)
    store.read("a.mp4")


def save_objects(path: Path) -> None:
    np.save(path, np.array([Bomb()], object), allow_pickle=True)


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle inside a feature file was run",))


def save_zip(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, clip=features()["clip"])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated in the data": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "truncated in the header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "overwritten": lambda path: path.write_bytes(b"not an array\n" * 50),
    "header garbled": lambda path: path.write_bytes(path.read_bytes().replace(b"'shape'", b"(((((((")),
    "fewer snippets": lambda path: np.save(path, np.zeros((2, 1, 4), "float32")),
    "more crops": lambda path: np.save(path, np.zeros((3, 2, 4), "float32")),
    "other feature size": lambda path: np.save(path, np.zeros((3, 1, 5), "float32")),
    "fewer dimensions": lambda path: np.save(path, np.zeros((3, 4), "float32")),
    "other type": lambda path: np.save(path, np.zeros((3, 1, 4), "float64")),
    "pickled objects": save_objects,
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "a zip of arrays": save_zip,
    "half a zip": lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_features(store: FeatureStore, tmp_path: Path, damage: str) -> None:
    add(store, "a.mp4")
    add(store, "b.mp4")
    DAMAGES[damage](store.root / "a.mp4" / "clip.npy")
    with refused(str(store.root / "a.mp4" / "clip.npy")):
        store.read("a.mp4")
    assert not store.is_current("a.mp4", source(tmp_path))
    assert store.is_current("b.mp4", source(tmp_path))


@pytest.mark.parametrize(
    ("content", "mtime_ns", "current"),
    [
        (b"hello world", 0, True),
        (b"hello world", 5 * 10**9, True),  # copied or touched: the content decides
        (b"HELLO WORLD", 5 * 10**9, False),
        (b"hello worlds", 0, False),
        (b"hello world!", 5 * 10**9, False),
        (b"", 0, False),
    ],
)
def test_a_source_is_current_while_its_content_is_the_same(
    store: FeatureStore, tmp_path: Path, content: bytes, mtime_ns: int, current: bool
) -> None:
    add(store, "a.mp4")
    assert store.is_current("a.mp4", source(tmp_path, content, mtime_ns)) is current


def test_an_untouched_source_and_its_features_are_not_read_again(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else going on after a stop would begin with reading all videos, which may be terabytes."""
    add(store, "a.mp4")
    monkeypatch.setattr("ssrl_pipeline.disk.identity.file_sha256", lambda path: pytest.fail("source read"))
    monkeypatch.setattr(
        "ssrl_pipeline.features.video_files.rows_crc32", lambda path: pytest.fail("the features were read")
    )
    assert store.is_current("a.mp4", source(tmp_path))


def test_a_video_that_is_not_stored_is_not_current(store: FeatureStore, tmp_path: Path) -> None:
    add(store, "a.mp4")
    assert not store.is_current("b.mp4", source(tmp_path))
    assert not store.is_current("one/a.mp4", source(tmp_path))


def test_a_missing_video_is_named(store: FeatureStore) -> None:
    with refused(str(store.root), "'b.mp4'"):
        store.read("b.mp4")


def test_planted_direction_is_in_the_planted_snippets_alone(tiny_store: Callable[..., FeatureStore]) -> None:
    """Of the fixture that other tests train on."""
    store = tiny_store({"n.mp4": 4, "x.mp4": 6}, {"x.mp4": [2, 3]})
    strong = np.linalg.norm(store.read("x.mp4")["patch2x3"].mean(axis=1), axis=1)
    assert set(np.argsort(strong)[-2:]) == {2, 3}
    assert store.videos() == ["n.mp4", "x.mp4"]
    again = tiny_store({"n.mp4": 4, "x.mp4": 6}, {"x.mp4": [2, 3]})
    np.testing.assert_array_equal(store.read("n.mp4")["clip"], again.read("n.mp4")["clip"])
