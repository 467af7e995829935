"""Extractions as processes: killed ones, and two at the same time, end with the store of a single one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.folders import contents

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the script forks"),
]
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "endurance" / "kill_extract.py"
EXTRACT = """
import json, multiprocessing, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kill_extract import extract, make_extractor
folder, extractor = Path(sys.argv[2]), make_extractor()
def run(number, store):
    outcomes = extract(folder / "videos", folder / store, extractor)[1]
    (folder / f"{number}.json").write_text(json.dumps([outcome.status for outcome in outcomes]))
fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=run, args=job) for job in enumerate(("single", "shared", "shared"))]
for process in processes:
    process.start()
for process in processes:
    process.join()
"""


def test_killed_extractions_end_with_the_same_store() -> None:
    arguments = ("--kills", "3", "--videos", "3", "--frames", "64", "--seed", "3")
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the stores are equal, byte for byte"
    assert "kill 3: " in done.stdout


def test_two_extractions_at_the_same_time_share_the_work(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(6):
        make_video(tmp_path / "videos" / f"{number % 2}" / f"{number}.mp4", frames=40 + number)
    subprocess.run([sys.executable, "-c", EXTRACT, SCRIPT.parent, tmp_path], check=True)
    single, *two = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(3))
    assert single == ["done"] * 6
    assert [sorted(pair) for pair in zip(*two, strict=True)] == [["done", "skipped"]] * 6
    assert contents(tmp_path / "shared") == contents(tmp_path / "single")
