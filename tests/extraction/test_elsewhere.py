"""Several processes that extract into one store: as one would have, also where they die."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.folders import contents

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.cluster import devices as by_devices
from ssrl_pipeline.cluster.devices import Devices, _Member
from ssrl_pipeline.console.progress import Outcome, Progress
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.extraction.elsewhere import extract_elsewhere
from ssrl_pipeline.extraction.stage import ExtractorOptions, extract
from ssrl_pipeline.features.store import FeatureStore

pytestmark = pytest.mark.usefixtures("quick_network")

OPTIONS = ExtractorOptions("i3d", "live", "random", engine="eager")
LENGTHS = {"a.mp4": 9, "b.mp4": 40, "c.mp4": 5, "deep/a.mp4": 20}  # frames
TWO = ("cpu", "cpu")


@pytest.fixture(scope="module")
def videos(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, frames in LENGTHS.items():
        make_video(root / name, frames)
    return root


@pytest.fixture(scope="module")
def by_one(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    """With as many threads as each of two processes has: the last bits of PyTorch's results depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        store, _ = extract(videos, tmp_path_factory.mktemp("one") / "features", OPTIONS.build("cpu"))
    finally:
        torch.set_num_threads(threads)
    return contents(store.root)


def extract_on_devices(
    videos: Path, features: Path, options: ExtractorOptions, devices: Sequence[str], **more: Any
) -> tuple[FeatureStore, list[Outcome]]:
    place = extract_elsewhere(Devices(devices), options)
    return extract(videos, features, OPTIONS.planner(), place=place, **more)


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> list[_Member]:
    """The processes that are started."""
    started: list[_Member] = []
    start = _Member.__init__

    def note(member: _Member, *arguments: Any) -> None:
        start(member, *arguments)
        started.append(member)

    monkeypatch.setattr(_Member, "__init__", note)
    return started


def test_two_processes_fill_the_store_as_one_does(
    videos: Path, by_one: dict[str, bytes | None], members: list[_Member], tmp_path: Path
) -> None:
    class Noting(Progress):
        snippets, closed = 0, False

        def __init__(self) -> None:
            self.started: list[str] = []

        def start(self, video: str) -> None:
            self.started.append(video)

        def snippet(self) -> None:
            self.snippets += 1

        def close(self) -> None:
            self.closed = True

    noted = Noting()
    features = tmp_path / "features"
    store, outcomes = extract_on_devices(videos, features, OPTIONS, TWO, begin=lambda plan: noted)
    assert [(o.video, o.status, o.snippets) for o in outcomes] == [
        *(("a.mp4", "done", 1), ("b.mp4", "done", 3), ("c.mp4", "done", 1), ("deep/a.mp4", "done", 2)),
    ]
    assert contents(store.root) == by_one
    assert set(noted.started[:2]) == {"b.mp4", "deep/a.mp4"}  # the longest first, one each
    assert (noted.snippets, noted.closed) == (7, True)
    assert [member.process.returncode for member in members] == [0, 0]

    _, outcomes = extract_on_devices(videos, features, OPTIONS, TWO)
    assert {outcome.status for outcome in outcomes} == {"skipped"} and len(members) == 2


@pytest.mark.slow
def test_what_a_killed_process_was_at_is_done_all_the_same(
    videos: Path, by_one: dict[str, bytes | None], members: list[_Member], tmp_path: Path
) -> None:
    class Killing(Progress):
        def __init__(self) -> None:
            self.killed: list[str] = []

        def snippet(self) -> None:
            if not self.killed and "b.mp4" in members[0].videos | members[1].videos:
                victim = members["b.mp4" in members[1].videos]
                self.killed.extend(victim.videos)
                victim.process.kill()

    killing = Killing()
    features = tmp_path / "features"
    store, outcomes = extract_on_devices(videos, features, OPTIONS, TWO, begin=lambda plan: killing)
    assert killing.killed == ["b.mp4"]
    assert [outcome.status for outcome in outcomes] == ["done"] * 4
    left = {path: content for path, content in contents(store.root).items() if not is_scratch(path)}
    assert left == by_one
    assert len(members) == 3 and sorted(m.process.returncode for m in members) == [-9, 0, 0]


def is_scratch(path: str) -> bool:
    """What a killed process leaves, which the next extraction clears."""
    return any(part.startswith(".") for part in path.split("/"))


@pytest.mark.slow
def test_a_video_that_takes_its_process_down_costs_itself_alone(
    videos: Path, by_one: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tell = _Member.tell

    def deadly(member: _Member, message: Any) -> None:
        if isinstance(message, tuple) and message[0] == "deep/a.mp4":
            member.process.kill()
        tell(member, message)

    monkeypatch.setattr(_Member, "tell", deadly)
    store, outcomes = extract_on_devices(videos, tmp_path / "features", OPTIONS, ("cpu",))
    assert [outcome.status for outcome in outcomes] == ["done"] * 3 + ["failed"]
    assert outcomes[3].reason == "deep/a.mp4: its process was ended by SIGKILL, 3 times"
    assert store.videos() == ["a.mp4", "b.mp4", "c.mp4"]


def test_processes_that_do_not_start_are_an_error(
    videos: Path, members: list[_Member], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(by_devices.sys, "executable", "/bin/false")
    with pytest.raises(PipelineError, match="ended with exit code 1 before it took a video"):
        extract_on_devices(videos, tmp_path / "features", OPTIONS, TWO)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(videos: Path, members: list[_Member], tmp_path: Path) -> None:
    wrong = OPTIONS._replace(engine="warp")
    with pytest.raises(PipelineError, match="unknown engine 'warp'"):
        extract_on_devices(videos, tmp_path / "features", wrong, TWO)
    assert len(members) == 2 and None not in [member.process.returncode for member in members]


def test_the_command_fails_where_a_video_does_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("no video")
    arguments = ["--videos", str(tmp_path / "videos"), "--features", str(tmp_path / "features")]
    arguments += ["--preset", "live", "--weights", "random", "--engine", "eager"]
    done = CliRunner().invoke(cli, ["extract", *arguments, "--devices", "cpu,cpu"])
    assert isinstance(done.exception, PipelineError)
    assert str(done.exception).startswith("1 of 1 videos failed")
    assert "not a video that libav can open" in done.output
    for wrong in (["--devices", "two"], ["--cluster", "ray", "--dry-run"], ["--workers", "0"]):
        done = CliRunner().invoke(cli, ["extract", *arguments, "--device", "cpu", *wrong])
        assert isinstance(done.exception, ConfigError) or done.exit_code == 2, wrong
