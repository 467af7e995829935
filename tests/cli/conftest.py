"""Commands, as the tests of the command line run them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Result, captured


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """run("train", "--seed", 1) -> Result, in an empty folder; native code's output is in it too."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return captured(capfd)
