"""Scores in other processes, here or on a Ray cluster: the results of a run in one, also when some die."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.clusters import Recorded, Sink
from helpers.folders import contents

from ssrl_pipeline.checkpoint import Checkpoint, save_checkpoint
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.cluster.devices import Devices, _Member
from ssrl_pipeline.cluster.ray import Cluster
from ssrl_pipeline.console.progress import Progress, Workload
from ssrl_pipeline.errors import ConfigError, PipelineError, StoreError
from ssrl_pipeline.events.rule import EventSettings
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.models import SSRL
from ssrl_pipeline.scoring.elsewhere import _Bench, _set_up, score_elsewhere
from ssrl_pipeline.scoring.reuse import open_index
from ssrl_pipeline.scoring.score import score_many
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions
from ssrl_pipeline.scoring.start import score_videos
from ssrl_pipeline.settings import ExtractSettings, Settings

pytestmark = pytest.mark.usefixtures("quick_network")

LONG = 8  # snippets of the video whose worker is killed
OPTIONS = ScorerOptions(Path("best.pt"), events=EventSettings(threshold=0.01), engine="eager")
VIDEOS = {name: Path("videos", name) for name in ("bad.mp4", "gate/short.mp4", "long.mp4")}


@contextmanager
def threads_of_a_task() -> Iterator[None]:
    """Sums are rounded in the order in which threads take their parts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """best.pt, videos/ and in local/ their results of a run on this machine; to be entered."""
    root = tmp_path_factory.mktemp("project")
    make_video(root / "videos/gate/short.mp4", frames=20)
    make_video(root / "videos/long.mp4", frames=16 * LONG)
    (root / "videos/bad.mp4").write_text("no video\n" * 50)
    recipe = FeatureExtractor("i3d", "live", device="cpu", weights="random").recipe
    arguments = {"feature_size": 1024, "scales": ["2x3"], "crops": 1, "dropout": 0.7}
    torch.manual_seed(0)
    save_checkpoint(root / "best.pt", Checkpoint(SSRL(**arguments).state_dict(), arguments, recipe, {}, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with threads_of_a_task():
            score_many(OPTIONS.build("cpu"), VIDEOS, Path("out"))
        Path("out").rename("local")
    return root


@pytest.fixture
def scorer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scorer]:
    """In that folder, with out/ not there."""
    monkeypatch.chdir(folder)
    shutil.rmtree("out", ignore_errors=True)
    with threads_of_a_task():
        yield OPTIONS.build("cpu")


def kill_a_worker(monkeypatch: pytest.MonkeyPatch, video: str) -> list[_Member]:
    """The process that is first given the video is killed while it is at it; returns all that are started."""
    started: list[_Member] = []
    tell = _Member.tell

    def note(member: _Member, message: Any) -> None:
        if member not in started:
            started.append(member)
        tell(member, message)
        if isinstance(message, tuple) and message[0] == video and len(started) < 3:
            member.process.kill()

    monkeypatch.setattr(_Member, "tell", note)
    return started


def test_two_processes_leave_the_results_of_one(scorer: Scorer) -> None:
    out, progress, plans = Path("out"), Recorded(), list[Workload]()

    def begin(plan: Workload) -> Progress:
        plans.append(plan)
        return progress

    place = score_elsewhere(Devices(["cpu", "cpu"]), OPTIONS)
    outcomes = score_many(OPTIONS.planner(), VIDEOS, out, begin=begin, place=place)
    assert [outcome.status for outcome in outcomes] == ["failed", "extracted", "extracted"]
    assert "videos/bad.mp4" in outcomes[0].reason
    assert contents(out) == contents(Path("local"))
    assert plans == [Workload(3, 3, LONG + 2)]
    assert set(progress.started[:2]) == {"long.mp4", "gate/short.mp4"}  # the longest first, one each
    assert [one.video for one in sorted(progress.finished, key=lambda one: one.video)] == list(VIDEOS)
    assert (progress.snippets, progress.closed) == (LONG + 2, True)


def test_a_killed_process_loses_no_video(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = kill_a_worker(monkeypatch, "long.mp4")
    place = score_elsewhere(Devices(["cpu", "cpu"]), OPTIONS)
    outcomes = score_many(OPTIONS.planner(), VIDEOS, Path("out"), place=place)
    assert [outcome.status for outcome in outcomes] == ["failed", "extracted", "extracted"]
    assert contents(Path("out")) == contents(Path("local"))
    assert sorted(member.process.returncode for member in started) == [-signal.SIGKILL, 0, 0]
    assert "was ended by SIGKILL, while it was at long.mp4" in caplog.text


def test_an_error_of_a_process_ends_the_run_as_it_is(scorer: Scorer, tmp_path: Path) -> None:
    """A full disk leaves no report: it would fare no better."""
    wrong = OPTIONS._replace(events=EventSettings(threshold=0.5))
    place = score_elsewhere(Devices(["cpu"]), wrong)
    with pytest.raises(PipelineError, match=r"best\.pt: it is not the checkpoint"):
        score_many(OPTIONS.planner(), {"long.mp4": VIDEOS["long.mp4"]}, Path("out"), place=place)


def test_the_command_takes_devices_as_extract_does(scorer: Scorer) -> None:
    """The videos' table is that of one process, and what it cannot do is refused."""
    arguments = ["videos/gate", "--checkpoint", "best.pt", "--engine", "eager", "-o", "events.threshold=0.01"]
    tables = []
    for where in (["--device", "cpu"], ["--device", "cpu", "--devices", "2"], ["--devices", "cpu,cpu"]):
        shutil.rmtree("out", ignore_errors=True)
        done = CliRunner().invoke(cli, ["score", *arguments, *where, "--out", "out", "--json"])
        assert done.exit_code == 0, done.output
        tables.append(done.stdout)
    assert tables[0] == tables[1] == tables[2]
    for wrong in (["--devices", "two"], ["--devices", "cpu", "--cluster", "ray"]):
        done = CliRunner().invoke(cli, ["score", *arguments, *wrong])
        assert isinstance(done.exception, ConfigError) or done.exit_code == 2, wrong


def children(pid: int) -> list[tuple[int, str]]:
    """Process and title."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [(child, Path(f"/proc/{child}/cmdline").read_text()) for child in found]


def kill_last_worker(done: Path, progress: Recorded, killed: list[int], gate: Path) -> None:
    """Kills the process of the only task that is left, which has told of snippets, before the gate."""
    end = time.monotonic() + 300
    while time.monotonic() < end and not killed:
        if done.exists() and progress.snippets > 2:
            (raylet,) = [pid for pid, title in children(os.getpid()) if "raylet/raylet" in title]
            working = [pid for pid, title in children(raylet) if "_run" in title]
            if len(working) == 1:
                os.kill(working[0], signal.SIGKILL)
                killed.append(working[0])
        time.sleep(0.02)
    gate.unlink()


@pytest.mark.slow
def test_killed_worker_leaves_the_results_of_a_local_run(
    three_workers: Cluster, gate: Path, scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    out, progress, plans, killed = Path("out"), Recorded(), list[Workload](), list[int]()

    def begin(plan: Workload) -> Progress:
        plans.append(plan)
        return progress

    killer = threading.Thread(
        target=kill_last_worker, args=(out / "gate/short.mp4/scores.json", progress, killed, gate)
    )
    gate.touch()
    killer.start()
    outcomes = score_many(scorer, VIDEOS, out, begin=begin, place=score_elsewhere(three_workers, OPTIONS))
    killer.join()
    assert len(killed) == 1
    assert "long.mp4: its worker was lost" in caplog.text
    assert contents(out) == contents(Path("local"))
    assert [outcome.status for outcome in outcomes] == ["failed", "extracted", "extracted"]
    assert "videos/bad.mp4" in outcomes[0].reason
    assert plans == [Workload(3, 3, LONG + 2)]
    assert progress.snippets == LONG + 2  # the killed worker's are not counted twice
    assert progress.closed

    again = score_many(scorer, VIDEOS, out, place=score_elsewhere(three_workers, OPTIONS))
    assert [outcome.status for outcome in again] == ["failed", "skipped", "skipped"]
    assert contents(out) == contents(Path("local"))


@pytest.mark.slow
def test_stored_features_and_other_rules_as_on_one_machine(three_workers: Cluster, scorer: Scorer) -> None:
    videos = {"short.mp4": Path("videos/gate/short.mp4")}
    extract(videos["short.mp4"], Path("features"), scorer.extractor)
    high = OPTIONS._replace(events=EventSettings(threshold=0.9))
    expected = []
    for place in ({}, {"place": score_elsewhere(three_workers, OPTIONS)}):
        index = open_index(Path("features"), scorer, True, print)
        (first,) = score_many(scorer, videos, Path("out"), index=index, **place)
        assert first.status == "stored"
        place = {"place": score_elsewhere(three_workers, high)} if place else {}
        notes: list[str] = []
        (second,) = score_many(
            *(high.build("cpu"), videos, Path("out")),
            **{"intervals": {"short.mp4": [(70, 90)]}, "note": notes.append, **place},
        )
        assert second.status == "events updated"
        assert notes == ["short.mp4: has 20 frames, but an anomalous interval is 70 to 90; not shown"]
        expected.append(contents(Path("out")))
        shutil.rmtree("out")
    assert expected[0] == expected[1]


def test_longest_first_and_lost_videos_fail(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sink: Any = Sink()
    outcomes = score_many(scorer, VIDEOS, Path("out"), place=score_elsewhere(sink, OPTIONS))
    assert sink.videos == ["long.mp4", "gate/short.mp4", "bad.mp4"]
    assert [(one.status, one.reason) for one in outcomes] == [
        ("failed", f"{video}: lost") for video in VIDEOS
    ]


def test_a_precision_that_devices_lack_is_told_before_any_work(scorer: Scorer) -> None:
    settings = Settings(extract=ExtractSettings(precision="float16", engine="eager"))
    with pytest.raises(ConfigError, match="'float16' is not for cpu"):
        score_videos(settings, VIDEOS, Path("out"), scorer.path, devices="cpu,cpu")
    assert not Path("out").exists()


@pytest.mark.slow
def test_results_that_lie_elsewhere_end_the_run(
    three_workers: Cluster, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = {"short.mp4": Path("videos/gate/short.mp4")}
    monkeypatch.setattr("ssrl_pipeline.cluster.progress.VISIBLE", 0)

    class Elsewhere:
        elsewhere = True

        def map(self, *arguments: Any) -> Any:
            for outcome in three_workers.map(*arguments):
                shutil.rmtree("out")
                yield outcome

    elsewhere: Any = Elsewhere()
    with pytest.raises(StoreError, match=r"out/short\.mp4: .* all nodes share"):
        score_many(scorer, videos, Path("out"), place=score_elsewhere(elsewhere, OPTIONS))


@pytest.mark.slow
def test_what_a_node_lacks_ends_the_run(three_workers: Cluster, scorer: Scorer, tmp_path: Path) -> None:
    other = OPTIONS._replace(events=EventSettings(threshold=0.5))
    videos = {"short.mp4": Path("videos/gate/short.mp4")}
    with pytest.raises(PipelineError, match=r"on the node .*best\.pt: it is not the checkpoint"):
        score_many(scorer, videos, Path("out"), place=score_elsewhere(three_workers, other))
    decides, threads = (scorer.checkpoint_sha256, scorer.chosen), torch.get_num_threads()
    bench = _Bench(OPTIONS, decides, None, tmp_path / "none", Path("out"))
    with pytest.raises(PipelineError, match=r"none: .* that all nodes see"):
        _set_up(bench, "cpu", threads)
    with pytest.raises(PipelineError, match=r"out: .* where all nodes see them"):
        _set_up(bench._replace(here=tmp_path), "cpu", threads)
