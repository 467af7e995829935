"""What an extraction will take, told before: against an extraction that is then done."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from byte_surgery import avi_lies
from click.testing import CliRunner

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.errors import PipelineError, StoreError
from ssrl_pipeline.extraction.estimate import estimate
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extraction.videos import Expected, expected_snippets
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import probe
from ssrl_pipeline.extractors.decoding.decoder import guess_frames

pytestmark = pytest.mark.usefixtures("quick_network")


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(preset="live", device="cpu", weights="random")


@pytest.fixture
def videos(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    make_video(tmp_path / "videos" / "a.mp4", frames=40)
    make_video(tmp_path / "videos" / "b.mp4", frames=16)
    return tmp_path / "videos"


def test_snippets_and_disk_space_are_those_of_the_extraction(
    videos: Path, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    found = estimate(videos, tmp_path / "features", extractor, "float16")
    assert not (tmp_path / "features").exists()
    store, _ = extract(videos, tmp_path / "features", extractor, "float16")
    assert found.snippets == sum(store.meta(video).snippets for video in store.videos()) == 4
    arrays = [array for video in store.videos() for array in store.read(video).values()]
    assert found.disk_bytes == sum(array.nbytes for array in arrays)
    low, high = found.seconds_spread
    assert 0 < low <= found.seconds <= high


def test_what_is_stored_is_not_counted(videos: Path, extractor: FeatureExtractor, tmp_path: Path) -> None:
    extract(videos / "a.mp4", tmp_path / "features", extractor)
    found = estimate(videos, tmp_path / "features", extractor)
    assert (found.videos, found.todo, found.snippets) == (2, 1, 1)
    extract(videos, tmp_path / "features", extractor)
    assert estimate(videos, tmp_path / "features", extractor).seconds == 0


def test_an_unreadable_video_is_named_and_costs_nothing(
    videos: Path, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    (videos / "broken.mp4").write_bytes(b"no video")
    found = estimate(videos, tmp_path / "features", extractor)
    assert (found.todo, found.unreadable, found.snippets) == (3, ["broken.mp4"], 4)
    (videos / "a.mp4").unlink(), (videos / "b.mp4").unlink()
    assert math.isnan(estimate(videos, tmp_path / "features", extractor).seconds)


def test_a_store_of_another_recipe_and_an_empty_folder_are_refused(
    videos: Path, extractor: FeatureExtractor, tiny_store: Callable[..., object], tmp_path: Path
) -> None:
    tiny_store({"a.mp4": 3}, root=tmp_path / "other")
    with pytest.raises(StoreError, match="recipes differ"):
        estimate(videos, tmp_path / "other", extractor)
    (tmp_path / "none").mkdir()
    with pytest.raises(PipelineError, match="no videos"):
        estimate(tmp_path / "none", tmp_path / "features", extractor)


def test_the_command_tells_it_as_a_table_and_as_json(videos: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "features")
    command = ["extract", "--videos", str(videos), "--features", store, "--preset", "live", "--dry-run"]
    command += ["--weights", "random", "--device", "cpu"]
    told = CliRunner().invoke(cli, command)
    assert told.exit_code == 0 and "2 of 2" in told.stdout and "time on this machine" in told.stdout
    found = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert (found["todo"], found["snippets"]) == (2, 4)
    assert not Path(store).exists()


def test_devices_share_the_time_and_processes_on_one_device_do_not(
    videos: Path, tmp_path: Path, extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssrl_pipeline.extraction.estimate._time_some", lambda *_: [6.0, 3.0])
    alone, shared = (estimate(videos, tmp_path / "features", extractor, devices=n) for n in (1, 3))
    assert (alone.seconds, alone.seconds_spread) == (4 * 4.5, (4 * 3, 4 * 6))
    assert (shared.seconds, shared.seconds_spread) == (6, (4, 8))
    command = ["extract", "--videos", str(videos), "--features", str(tmp_path / "f"), "--preset", "live"]
    command += ["--weights", "random", "--device", "cpu", "--devices", "2", "--dry-run", "--json"]
    assert json.loads(CliRunner().invoke(cli, command).stdout)["seconds"] == 4 * 4.5


def played(extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch, warm_up: float) -> list[list[Any]]:
    """By a clock of its own, the first group of some sizes takes `warm_up` seconds, others 0.25 a snippet."""
    groups: list[list[Any]] = []
    clock, seen = [0.0], set()

    def describe(snippets: Sequence[np.ndarray]) -> list[Any]:
        groups.append([snippet.shape for snippet in snippets])
        sizes = tuple(groups[-1])
        clock[0] += 0.25 * len(snippets) if sizes in seen else warm_up
        seen.add(sizes)
        return []

    monkeypatch.setattr(extractor, "describe", describe)
    monkeypatch.setattr("ssrl_pipeline.extraction.estimate.time.perf_counter", lambda: clock[0])
    return groups


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_full_groups_are_timed_that_were_described_before(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Also of a video that is shorter than a group."""
    extractor = FeatureExtractor(preset="live", device="cpu", weights="random", batch=batch)
    groups = played(extractor, monkeypatch, warm_up=100.0)
    found = estimate(videos, tmp_path / "features", extractor)
    assert found.seconds == 4 * 0.25
    assert groups == [[(16, 48, 64, 3)] * batch] * 6  # of two videos, each once to warm up and twice


def test_a_group_that_is_timed_has_no_more_bytes_than_one_of_an_extraction(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssrl_pipeline.extractors.reader.GROUP_BYTES", 3 * 16 * 64 * 48 * 3)
    extractor = FeatureExtractor(preset="live", device="cpu", weights="random", batch=8)
    groups = played(extractor, monkeypatch, warm_up=1.0)
    estimate(videos, tmp_path / "features", extractor)
    assert {len(group) for group in groups} == {3}


@pytest.mark.parametrize(
    ("device", "workers", "seconds"),
    [("cpu", 4, 6.25), ("cuda", 1, 6.0), ("cuda", 4, 1.5), ("cuda", 99, 0.25)],
)
def test_a_gpu_works_beside_those_that_read(
    videos: Path,
    extractor: FeatureExtractor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    workers: int,
    seconds: float,
) -> None:
    monkeypatch.setattr("ssrl_pipeline.extraction.estimate._read_group", lambda *_: ([np.zeros(1)], 6.0))
    monkeypatch.setattr("ssrl_pipeline.extraction.estimate.time_describing", lambda *_: 0.25)
    monkeypatch.setattr(extractor, "device", torch.device(device))
    found = estimate(videos, tmp_path / "features", extractor, workers=workers)
    assert found.seconds == 4 * seconds


def test_promise_of_more_frames_than_there_are_bytes_for(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_video(tmp_path / "a.avi", frames=40)
    content = avi_lies(10_000_000)(bytearray(path.read_bytes()))
    path.write_bytes(content)
    (info,) = probe([path])
    assert info and info.reported_frames > len(content)
    assert list(expected_snippets([path, tmp_path / "none.avi"])) == [
        Expected(math.ceil(len(content) // 8 / 16)),
        Expected(0, opens=False),
    ]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw stream of 40 frames, which has no header."""
    av = pytest.importorskip("av")
    path = tmp_path / "raw" / "raw.m2v"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    with av.open(str(path), "w", format="mpeg2video") as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode())
    return path


def test_a_video_without_a_length_is_counted_and_told_from_a_broken_one(
    raw: Path, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    (raw.parent / "text.264").write_bytes(b"no video")
    (info,) = probe([raw])
    assert info and info.reported_frames <= 0
    found = estimate(raw.parent, tmp_path / "features", extractor)
    assert (found.guessed, found.unreadable, found.empty) == ([raw.name], ["text.264"], [])
    assert found.snippets == 3
    command = ["extract", "--videos", str(raw.parent), "--features", str(tmp_path / "f"), "--preset", "live"]
    told = CliRunner().invoke(cli, [*command, "--weights", "random", "--device", "cpu", "--dry-run"])
    assert "no sure length in 1" in told.stderr and "cannot be opened, not counted: text.264" in told.stderr


def test_a_long_video_is_reckoned_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames of one size.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48 F25:1\n" + 40 * (b"FRAME\n" + bytes(64 * 48 * 3 // 2)))
    assert guess_frames(path) == 40
    monkeypatch.setattr("ssrl_pipeline.extractors.decoding.decoder.GUESSED_BY", 50_000)
    assert guess_frames(path) == 40


def test_a_video_shorter_than_a_snippet_opens(
    make_video: Callable[..., Path],
    extractor: FeatureExtractor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the preset leaves out what does not fill one."""
    make_video(tmp_path / "videos" / "short.mp4", frames=9)
    monkeypatch.setattr(extractor, "preset", replace(extractor.preset, drop_last=True))
    found = estimate(tmp_path / "videos", tmp_path / "features", extractor)
    assert (found.empty, found.unreadable, found.snippets) == (["short.mp4"], [], 0)
