"""Which checkpoint a run, or no name at all, stands for."""

import os
from pathlib import Path

import pytest

from ssrl_pipeline.disk.run_files import newest_checkpoint
from ssrl_pipeline.errors import CheckpointError


def test_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train one"):
        newest_checkpoint(tmp_path)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.pt").touch()
    os.utime(tmp_path / "b" / "best.pt", (1, 1))
    assert newest_checkpoint(tmp_path) == tmp_path / "a" / "best.pt"
