"""Extraction on a Ray cluster: the store of a local run, also when workers die."""

import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.clusters import Recorded, Sink
from helpers.folders import contents

from ssrl_pipeline.cluster.progress import ClusterProgress
from ssrl_pipeline.cluster.ray import Cluster, ClusterOptions, connected
from ssrl_pipeline.cluster.workers import TRIES, Post, Work
from ssrl_pipeline.console.progress import Outcome, Progress, Workload
from ssrl_pipeline.errors import ConfigError, DiskError, PipelineError, StoreError
from ssrl_pipeline.extraction.elsewhere import extract_elsewhere
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.extraction.start import extract_videos
from ssrl_pipeline.extraction.videos import find_videos
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.settings import ExtractSettings, Settings

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_network")]
OPTIONS = ExtractorOptions(preset="live", weights="random", engine="eager")
LONG = 8  # snippets of the video whose worker is killed


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, frames in enumerate((20, 33, 17)):
        make_video(folder / f"gate{number % 2}" / f"{number}.mp4", frames=frames)
    make_video(folder / "long.mp4", frames=16 * LONG)
    return folder


@pytest.fixture(scope="module")
def local(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a local run, with the one thread that a task has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("local") / "features"
    extract(videos, root, OPTIONS.build("cpu"))
    torch.set_num_threads(threads)
    return root


def extract_on_cluster(
    videos: Path, features: Path, options: ExtractorOptions, cluster: Cluster, **more: Any
) -> tuple[FeatureStore, list[Outcome]]:
    return extract(videos, features, OPTIONS.planner(), place=extract_elsewhere(cluster, options), **more)


def kill_worker(store: Path, video: str, killed: list[int], gate: Path) -> None:
    """Kills the process that extracts the video, once it has written some and stands before the gate."""
    end = time.monotonic() + 300
    while time.monotonic() < end and not killed:
        written = sum(path.stat().st_size for path in store.glob(f".{video}.*.part/*.npy"))
        if written > 7 * 1024 * 4 * 4:  # four snippets
            note = json.loads((store / f".{video}.lock").read_text())
            os.kill(note["pid"], signal.SIGKILL)
            killed.append(note["pid"])
        time.sleep(0.02)
    gate.unlink()


def test_killed_worker_leaves_the_store_of_a_local_run(
    three_workers: Cluster,
    gate: Path,
    videos: Path,
    local: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress, plans, killed = Recorded(), list[Workload](), list[int]()

    def begin(plan: Workload) -> Progress:
        plans.append(plan)
        return progress

    gate.touch()
    killer = threading.Thread(target=kill_worker, args=(tmp_path / "features", "long.mp4", killed, gate))
    killer.start()
    store, outcomes = extract_on_cluster(videos, tmp_path / "features", OPTIONS, three_workers, begin=begin)
    killer.join()
    assert len(killed) == 1
    assert killed[0] != os.getpid()
    assert "long.mp4: its worker was lost" in caplog.text
    assert contents(store.root) == contents(local)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert [outcome.video for outcome in outcomes] == open_store(local).videos()
    assert [plan[:3] for plan in plans] == [(4, 4, LONG + 2 + 3 + 2)]
    assert progress.snippets == plans[0].snippets  # the killed worker's are not counted twice
    assert sorted(progress.started) == sorted(outcome.video for outcome in outcomes)
    assert progress.closed

    again = extract_on_cluster(videos, tmp_path / "features", OPTIONS, three_workers)[1]
    assert {outcome.status for outcome in again} == {"skipped"}
    assert [outcome.snippets for outcome in again] == [outcome.snippets for outcome in outcomes]


def test_a_bad_video_fails_with_its_reason_and_the_others_are_stored(
    three_workers: Cluster, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    make_video(tmp_path / "videos" / "good.mp4", frames=16)
    (tmp_path / "videos" / "bad.mp4").write_text("no video\n" * 50)
    store, outcomes = extract_on_cluster(tmp_path / "videos", tmp_path / "features", OPTIONS, three_workers)
    bad, good = outcomes
    assert (bad.video, bad.status) == ("bad.mp4", "failed")
    assert str(tmp_path / "videos" / "bad.mp4") in bad.reason
    assert "\n" not in bad.reason
    assert (good.status, store.videos()) == ("done", ["good.mp4"])


def test_longest_first_and_lost_videos_fail(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink: Any = Sink()
    outcomes = extract_on_cluster(videos, tmp_path / "features", OPTIONS, sink)[1]
    assert sink.videos == ["long.mp4", "gate1/1.mp4", "gate0/0.mp4", "gate0/2.mp4"]
    assert {(outcome.status, outcome.reason) for outcome in outcomes} == {
        ("failed", f"{video}: lost") for video in sink.videos
    }
    monkeypatch.setattr("ssrl_pipeline.cluster.progress.VISIBLE", 0)
    sink.map = lambda tasks, work, progress: [Outcome(video, "done", 1) for video in tasks]
    with pytest.raises(StoreError, match="all nodes share"):
        extract_on_cluster(videos, tmp_path / "features", OPTIONS, sink)


def test_weights_that_the_nodes_lack_end_the_run(
    three_workers: Cluster, make_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "videos" / "a.mp4", frames=16)
    extractor = OPTIONS.build("cpu")  # the driver's alone
    monkeypatch.setattr(ExtractorOptions, "build", lambda options, device: extractor)
    options = OPTIONS._replace(weights=str(tmp_path / "missing.safetensors"))
    with pytest.raises(PipelineError, match=r"on the node .*missing\.safetensors"):
        extract_on_cluster(tmp_path / "videos", tmp_path / "features", options, three_workers)


def test_a_node_without_the_precision_is_told_before_a_store_is_begun(
    three_workers: Cluster, videos: Path, tmp_path: Path
) -> None:
    features, chosen = tmp_path / "features", ExtractSettings(preset="live", precision="float16")
    with pytest.raises(ConfigError, match=r"on the node .*: precision 'float16' is not for cpu"):
        extract_videos(Settings(extract=chosen), find_videos(videos), features, cluster=ClusterOptions())
    assert not features.exists()


# What the tests below do on the workers.


def die(marks: Path, times: int, post: Post) -> None:
    """Its process is killed the first `times` times; each leaves a mark."""
    for video, _ in filter(None, post.tasks()):
        count = len(list(marks.iterdir()))
        if count < times:
            (marks / str(count)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        post.finish(Outcome(video, "done"))


def be_busy(marks: Path, post: Post) -> None:
    for video, _ in filter(None, post.tasks()):
        if any(marks.iterdir()):
            post.finish(Outcome(video, "done"))
        else:
            (marks / "busy").touch()
            post.busy(video)


def fail(error: Exception, post: Post) -> None:
    raise error


def lack(device: str) -> None:
    raise ConfigError(f"precision int8 needs NNCF on {device}")


def tell_process(post: Post) -> None:
    for video, _ in filter(None, post.tasks()):
        post.finish(Outcome(video, "done", reason=str(os.getpid())))


def by_value(function: Callable[..., None], *arguments: Any) -> Callable[[Any], None]:
    """Workers cannot import this module: the function travels whole."""
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(__import__(function.__module__))
    return functools.partial(function, *arguments)


def run(cluster: Cluster, work: Work, *videos: str) -> list[Outcome]:
    return list(cluster.map(dict.fromkeys(videos), work, Progress()))


@pytest.mark.parametrize("times", [0, TRIES - 1, TRIES])
def test_a_task_that_kills_its_worker_is_tried_some_times(
    three_workers: Cluster, tmp_path: Path, times: int
) -> None:
    (outcome,) = run(three_workers, by_value(die, tmp_path, times), "a.mp4")
    assert outcome.video == "a.mp4"
    assert len(list(tmp_path.iterdir())) == times
    if times < TRIES:
        assert outcome.status == "done"
    else:
        assert outcome.status == "failed"
        assert outcome.reason.startswith("a.mp4: its worker was lost")
        assert outcome.reason.endswith(f"{TRIES} times")
        assert "\n" not in outcome.reason


def test_what_another_process_is_at_is_tried_later(three_workers: Cluster, tmp_path: Path) -> None:
    assert run(three_workers, by_value(be_busy, tmp_path), "a.mp4") == [Outcome("a.mp4", "done")]


def test_errors_of_a_task_are_ours_again(three_workers: Cluster) -> None:
    with pytest.raises(DiskError, match="on the node .*: no room"):
        run(three_workers, by_value(fail, DiskError("no room")), "a.mp4")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(three_workers, by_value(fail, ZeroDivisionError("a bug")), "a.mp4")


def test_what_a_node_lacks_is_asked_of_all(three_workers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="on the node .*: precision int8 needs NNCF on cpu"):
        three_workers.require(by_value(lack))
    three_workers.require(str)
    monkeypatch.setattr(three_workers, "device", "cuda")
    three_workers.require(by_value(lack))  # which a GPU cannot


def test_processes_are_kept_for_the_next_task(three_workers: Cluster) -> None:
    outcomes = run(three_workers, by_value(tell_process), *map(str, range(30)))
    assert len(outcomes) == 30
    assert len({outcome.reason for outcome in outcomes}) < 10


def test_tasks_that_no_node_can_run_are_refused(three_workers: Cluster) -> None:
    with pytest.raises(PipelineError, match="no node .*64"), connected(ClusterOptions(cpus=64), "cpu"):
        pass
    with pytest.raises(ConfigError, match="cuda:1"), connected(ClusterOptions(), "cuda:1"):
        pass
    with pytest.raises(PipelineError, match="GPU"), connected(ClusterOptions(), "cuda"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:none", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(PipelineError, match=address), connected(ClusterOptions(address), "cpu"):
        pass


def test_late_and_repeated_counts_are_shown_once() -> None:
    progress = Recorded()
    shown = ClusterProgress(progress)
    for count in (0, 3, 2, 5, 5):
        shown.count("a.mp4", count)
    shown.finish(Outcome("a.mp4", "done", 6))
    shown.finish(Outcome("b.mp4", "failed", reason="damaged"))
    assert progress.snippets == 6
    assert progress.started == ["a.mp4", "b.mp4"]
    assert [outcome.video for outcome in progress.finished] == ["a.mp4", "b.mp4"]
