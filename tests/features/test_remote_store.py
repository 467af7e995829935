"""A store on an object store: the same arrays as in a folder, and never half a video."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import captured
from helpers.folders import contents
from helpers.stores import META, RECIPE, add, features, jittered, source

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.features.cache import CACHE, CACHE_GB, Cache
from ssrl_pipeline.features.opening import create_store, is_store, location, open_store
from ssrl_pipeline.features.remote_store import RemoteFiles, connect

pytestmark = pytest.mark.usefixtures("quick_network")
moto_server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
SECRET = "not-to-be-told"
OPTIONS = ExtractorOptions(preset="live", weights="random", engine="eager")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket on a server of our own."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
        server.stop()


@pytest.fixture
def url(bucket: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return f"{bucket}/{request.node.name}"


def keys(url: str) -> list[str]:
    """All objects below a URL."""
    import fsspec

    files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return sorted(name.removeprefix(f"{path}/") for name in files.find(path))


def test_what_is_written_is_read_back_by_another(url: str) -> None:
    store = create_store(url, RECIPE)
    add(store, "a/b.mp4")
    add(store, "c.mp4", 7.0)
    other = open_store(url)
    assert (other.root, other.recipe, other.dtype) == (url, RECIPE, "float32")
    assert other.videos() == ["a/b.mp4", "c.mp4"]
    assert replace(other.meta("c.mp4"), crc32={}) == META
    for name, values in features(7.0).items():
        read = other.read("c.mp4")[name]
        np.testing.assert_array_equal(read, values.astype(np.float32))
        assert isinstance(read, np.memmap)
    # The layout of a folder: copied to one, it is that store.
    views = [f"a/b.mp4/{name}" for name in ("clip.npy", "meta.json", "patch2x3.npy")]
    assert keys(url) == [*views, *(name.replace("a/b", "c") for name in views), "store.json"]


def test_times_are_read_back_and_noticed_when_damaged(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_store(url, RECIPE)
    add(store, "a.mp4", stamps=jittered())
    add(store, "b.mp4")
    other = open_store(url)
    times = other.times("a.mp4")
    assert times.fps == 12.5 and times.stamps is not None
    np.testing.assert_array_equal(times.stamps, jittered(), strict=True)
    assert other.times("b.mp4").stamps is None
    assert all(other.is_current(video, source(tmp_path)) for video in ("a.mp4", "b.mp4"))
    files, path = connect(url)
    content = files.cat_file(f"{path}/a.mp4/times.npy")
    files.pipe_file(f"{path}/a.mp4/times.npy", content[:-1] + b"\1")
    with pytest.raises(StoreError, match=r"a\.mp4/times\.npy.*checksum"):
        other.times("a.mp4")
    files.rm_file(f"{path}/a.mp4/times.npy")
    with pytest.raises(StoreError, match=r"a\.mp4/times\.npy: missing"):
        other.times("a.mp4")
    assert not other.is_current("a.mp4", source(tmp_path))
    assert other.is_current("b.mp4", source(tmp_path))


def test_a_second_recipe_or_type_is_refused(url: str) -> None:
    create_store(url, RECIPE)
    with pytest.raises(StoreError, match="recipes differ in preset"):
        create_store(url, {**RECIPE, "preset": "paper"})
    with pytest.raises(StoreError, match="float32, not float16"):
        create_store(url, RECIPE, "float16")
    assert open_store(url).recipe == RECIPE


def test_a_store_that_another_run_makes_meanwhile_is_not_replaced(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_store(url, {**RECIPE, "preset": "paper"})
    monkeypatch.setattr(connect(url)[0], "exists", lambda path: False)  # as it was a moment before
    with pytest.raises(StoreError, match="recipes differ in preset"):
        create_store(url, RECIPE)


def test_replacing_a_video_brings_new_arrays(url: str) -> None:
    store = create_store(url, RECIPE)
    add(store, "a.mp4", 1.0)
    before = store.read("a.mp4")["clip"]
    add(store, "a.mp4", 2.0)
    np.testing.assert_array_equal(store.read("a.mp4")["clip"], features(2.0)["clip"].astype(np.float32))
    np.testing.assert_array_equal(before, features(1.0)["clip"].astype(np.float32))


@pytest.mark.parametrize("broken", ["clip.npy", "patch2x3.npy", "meta.json"])
def test_an_upload_that_ends_in_the_middle_leaves_no_video(
    url: str, broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = create_store(url, RECIPE)
    add(store, "a.mp4")
    files = connect(url)[0]
    put = files.put_file

    def fail(path: str, key: str) -> None:
        if key.endswith(broken):
            raise OSError("the network is gone")
        put(path, key)

    monkeypatch.setattr(files, "put_file", fail)
    with pytest.raises(StoreError, match="the network is gone"):
        add(store, "a.mp4", 2.0)
    assert store.videos() == []
    with pytest.raises(StoreError, match=r"holds no video 'a\.mp4'"):
        store.read("a.mp4")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_video_is_current_while_its_source_and_all_its_arrays_are(url: str, tmp_path: Path) -> None:
    import fsspec

    source = tmp_path / "a.mp4"
    source.write_bytes(b"hello world")
    store = create_store(url, RECIPE)
    assert not store.is_current("a.mp4", source)
    add(store, "a.mp4")
    assert store.is_current("a.mp4", source)
    source.write_bytes(b"hello there")
    assert not store.is_current("a.mp4", source)
    source.write_bytes(b"hello world")
    fsspec.filesystem("s3").pipe_file(f"{url}/a.mp4/clip.npy", b"cut")
    assert not store.is_current("a.mp4", source)
    with pytest.raises(StoreError, match=r"clip\.npy: missing or damaged"):
        store.read("a.mp4")
    fsspec.filesystem("s3").rm_file(f"{url}/a.mp4/clip.npy")
    with pytest.raises(StoreError, match=r"clip\.npy: missing"):
        store.read("a.mp4")


def test_reading_again_fetches_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create_store(url, RECIPE)
    add(store, "a.mp4")
    first = store.read("a.mp4")
    monkeypatch.setattr(RemoteFiles, "_fetch", None)
    again = open_store(url).read("a.mp4")
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_changed_bit_in_the_cache_is_mended_and_in_the_bucket_named(url: str, tmp_path: Path) -> None:
    import fsspec

    store, expected = create_store(url, RECIPE), features()["clip"].astype(np.float32)
    add(store, "a.mp4")
    store.read("a.mp4")
    cached = sorted((tmp_path / "cache").glob("*.npy"))
    assert len(cached) == 2
    for path in cached:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
    np.testing.assert_array_equal(store.read("a.mp4")["clip"], expected)
    files, key = fsspec.filesystem("s3"), f"{url}/a.mp4/clip.npy"
    whole = files.cat_file(key)
    files.pipe_file(key, whole[:-1] + bytes([whole[-1] ^ 4]))
    with pytest.raises(StoreError, match=r"a\.mp4/clip\.npy: .* checksum .* delete the folder"):
        store.read("a.mp4")
    assert list(store.read("a.mp4", ["patch2x3"])) == ["patch2x3"]


def test_the_longest_unread_leaves_a_full_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=250)
    for number, key in enumerate(("a", "b", "a", "c")):
        with cache.kept(key, lambda to: to.write_bytes(bytes(100))) as path:
            os.utime(path, ns=(number, number))
    assert len(list(tmp_path.glob("*.npy"))) == 2
    fetched = []
    for key in ("a", "c", "b"):
        with cache.kept(key, lambda to, key=key: (fetched.append(key), to.write_bytes(bytes(100)))):
            pass
    assert fetched == ["b"]


def test_what_is_wrong_is_said_in_one_line_without_the_credentials(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line(name: str) -> str:
        with pytest.raises(StoreError) as error:
            open_store(name)
        assert "\n" not in str(error.value)
        assert SECRET not in str(error.value)
        return str(error.value)

    assert f"{url}: no feature store here" in line(url)
    assert "no-such-bucket" in line("s3://no-such-bucket/features")
    assert "environment" in line(f"s3://key:{SECRET}@bucket/features")
    assert "nonsense" in line("nonsense://bucket/features")
    monkeypatch.setenv(CACHE_GB, "much")
    with pytest.raises(StoreError, match="CACHE_GB.*'much'"):
        create_store(url, RECIPE)


def test_names_that_lead_out_are_refused(url: str) -> None:
    store = create_store(url, RECIPE)
    with pytest.raises(StoreError, match="not the name"):
        store.meta("../other/a.mp4")


def test_urls_and_folders_are_told_apart(url: str) -> None:
    assert location("s3://bucket/features") == "s3://bucket/features"
    assert location("features") == Path("features")
    assert location("C:/features") == Path("C:/features")
    assert not is_store(url)
    create_store(url, RECIPE)
    assert is_store(url)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        make_video(folder / "normal" / f"{number}.mp4", frames=20 + number)
        make_video(folder / "abnormal" / f"{number}.mp4", frames=30 + number)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssrl_pipeline", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_extract_train_evaluate_and_score_from_an_object_store(
    url: str,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    call = captured(capfd)
    extractor = OPTIONS.build("cpu")
    local, _ = extract(videos, tmp_path / "features", extractor)
    remote, outcomes = extract(videos, url, extractor)
    assert [outcome.status for outcome in outcomes] == ["done"] * 4
    assert remote.videos() == local.videos()
    for video in local.videos():
        assert remote.meta(video) == local.meta(video)
        for name, array in local.read(video).items():
            np.testing.assert_array_equal(remote.read(video)[name], array)
    assert {outcome.status for outcome in extract(videos, url, extractor)[1]} == {"skipped"}

    settings = ("-o", "train.steps=4", "-o", "train.evaluate_every=2", "-o", "train.segments=2")
    for name, place in (("local", "features"), ("remote", url)):
        done = call("train", "--name", name, "--features", place, "--device", "cpu", *settings)
        assert done.code == 0, done.err
        assert SECRET not in done.out + done.err
    metrics = [(tmp_path / "runs" / name / "metrics.jsonl").read_text() for name in ("local", "remote")]
    assert metrics[0] == metrics[1]

    rows = [f"{video},{video.partition('/')[0]},test\n" for video in local.videos()]
    (tmp_path / "test.csv").write_text("".join(["video,label,split\n", *rows]))
    (tmp_path / "intervals.csv").write_text("video,start,end\nabnormal/0.mp4,3,20\nabnormal/1.mp4,5,30\n")
    told = []
    for out, place in (("here", "features"), ("there", url)):
        on = ("--checkpoint", "runs/local/best.pt", "--features", place, "--device", "cpu")
        judged = call("evaluate", *on, "--labels", "test.csv", "--intervals", "intervals.csv", "--json")
        scored = call("score", videos, *on, "--engine", "eager", "--out", out, "--json")
        for done in (judged, scored):
            assert done.code == 0, done.err
            assert SECRET not in done.out + done.err
        assert {one["status"] for one in json.loads(scored.out)} == {"stored"}
        told.append(json.loads(judged.out))
    assert told[0]["auc"] == told[1]["auc"]
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.slow
def test_a_killed_extraction_leaves_whole_videos_alone(
    url: str, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    make_video(tmp_path / "videos" / "b.mp4", frames=1600)
    make_video(tmp_path / "videos" / "a.mp4", frames=16)
    options = ("--preset", "live", "--weights", "random", "--engine", "eager", "--device", "cpu")
    command = [sys.executable, "-m", "ssrl_pipeline", "extract", "--features", url, *options]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    uploads = tmp_path / "cache" / "uploads"
    while not any(uploads.glob(".*/clip.npy")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert any(uploads.iterdir())
    assert open_store(url).videos() == []
    make_video(tmp_path / "videos" / "b.mp4", frames=16)
    done = run(tmp_path, "extract", "--features", url, *options)
    assert done.returncode == 0, done.stderr
    assert open_store(url).videos() == ["a.mp4", "b.mp4"]
    assert list(uploads.iterdir()) == []
